"""Files that are read at any position (K2)."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.data.positioned_file import LocalFile

CONTENT = bytes(range(100))


def test_reads_at_positions_leave_the_files_own_alone(tmp_path: Path) -> None:
    """K2"""
    (tmp_path / "a").write_bytes(CONTENT)
    with LocalFile(tmp_path / "a") as file:
        assert file.read(10) == CONTENT[:10]
        assert file.read_at(3, 4) == file.peek_at(3, 4) == CONTENT[3:7]
        assert file.read_at(200, 4) == b""
        assert file.tell() == 10
        file.seek(-5, io.SEEK_END)
        assert file.read() == CONTENT[95:]
        with pytest.raises(OSError, match="negative position -1"):
            file.seek(-1)


MOVES = st.tuples(st.sampled_from(["seek", "read", "at"]), st.integers(0, 120), st.sampled_from([0, 1, 2]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MOVES, max_size=8))
def test_reads_like_a_plain_file(tmp_path: Path, moves: list[tuple[str, int, int]]) -> None:
    """K2"""
    (tmp_path / "a").write_bytes(CONTENT)
    plain = io.BytesIO(CONTENT)
    with LocalFile(tmp_path / "a") as file:
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
