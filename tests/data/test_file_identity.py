"""A file's status tells whether it was written since (X9)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rt_flare.data.file_identity import FileIdentity, identify, is_settled

SECOND = 1_000_000_000


def test_an_untouched_file_keeps_its_identity(tmp_path: Path) -> None:
    """X9"""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before = identify(path.stat())
    path.read_bytes()
    assert identify(path.stat()) == before


@pytest.mark.parametrize("replace", [False, True])
def test_other_contents_show_even_where_size_and_date_are_restored(tmp_path: Path, replace: bool) -> None:
    """X9"""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before = path.stat()
    time.sleep(0.03)
    target = tmp_path / "b" if replace else path
    target.write_bytes(b"2")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    target.replace(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert identify(path.stat()) != identify(before)


@pytest.mark.parametrize(
    ("identity", "read_at_ns", "settled"),
    [
        (FileIdentity(1, 5 * SECOND + 1, 5 * SECOND + 1), 5 * SECOND + 2, False),
        (FileIdentity(1, 5 * SECOND + 1, 5 * SECOND + 1), 5 * SECOND + 30_000_000, True),
        (FileIdentity(1, 1, 5 * SECOND + 1), 5 * SECOND + 2, False),
        (FileIdentity(1, 5 * SECOND, 5 * SECOND), 6 * SECOND, False),
        (FileIdentity(1, 5 * SECOND, 5 * SECOND), 8 * SECOND, True),
        (FileIdentity(1, 9 * SECOND + 1, 9 * SECOND + 1), 5 * SECOND, False),
    ],
)
def test_a_file_read_within_a_tick_of_its_last_write_is_not_settled(
    identity: FileIdentity, read_at_ns: int, settled: bool
) -> None:
    """X9: it may be written again in the same tick. Whole seconds are a coarse clock; a date to come is none."""
    assert is_settled(identity, read_at_ns) is settled
