"""A file that is still being written is read in step with its writer (K2)."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.data.following_file import FollowingFile

CONTENT = bytes(range(100))


def test_waits_for_exactly_the_bytes_of_each_read(tmp_path: Path) -> None:
    """K2"""
    (tmp_path / "a").write_bytes(CONTENT)
    waits: list[tuple[int, int]] = []
    with FollowingFile(tmp_path / "a", lambda start, stop: waits.append((start, stop))) as file:
        assert file.read(10) == CONTENT[:10]
        file.seek(-5, io.SEEK_END)
        assert file.read() == CONTENT[95:]
        assert file.read_at(3, 4) == CONTENT[3:7]
        assert file.tell() == 100
    assert waits == [(0, 10), (95, 100), (3, 7)]


def test_what_the_wait_raises_reaches_the_reader(tmp_path: Path) -> None:
    """K2"""
    (tmp_path / "a").write_bytes(CONTENT)

    def fail(start: int, stop: int) -> None:
        raise RuntimeError("cut")

    with FollowingFile(tmp_path / "a", fail) as file, pytest.raises(RuntimeError, match="cut"):
        file.read(1)


MOVES = st.tuples(st.sampled_from(["seek", "read", "at"]), st.integers(0, 120), st.sampled_from([0, 1, 2]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MOVES, max_size=8))
def test_reads_like_a_plain_file(tmp_path: Path, moves: list[tuple[str, int, int]]) -> None:
    """K2"""
    (tmp_path / "a").write_bytes(CONTENT)
    plain = io.BytesIO(CONTENT)
    with FollowingFile(tmp_path / "a") as file:
        for kind, number, whence in moves:
            if kind == "seek":
                offset = number if whence == 0 else number - 60
                if whence == 1 and plain.tell() + offset < 0:
                    continue
                assert file.seek(offset, whence) == plain.seek(offset, whence)
            elif kind == "read":
                assert file.read(number) == plain.read(number)
            else:
                assert file.read_at(number, 7) == CONTENT[number : number + 7]
