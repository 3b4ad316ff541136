"""A disk that is full for a moment (J11)."""

from __future__ import annotations

import errno

import pytest

from rt_flare.core.full_disk import outlast_full_disk


class Disk:
    """Refuses the first writes."""

    def __init__(self, refusals: int, number: int = errno.ENOSPC) -> None:
        self.refusals, self.number, self.writes = refusals, number, 0

    def write(self) -> None:
        self.writes += 1
        if self.writes <= self.refusals:
            raise OSError(self.number, "refused")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt_flare.core.full_disk._PAUSE_SECONDS", 0.001)


def test_it_is_written_once_there_is_room(caplog: pytest.LogCaptureFixture) -> None:
    """J11: with one warning, however often it is tried."""
    disk = Disk(3)
    outlast_full_disk(disk.write)
    assert disk.writes == 4
    assert [record.getMessage() for record in caplog.records] == [
        "the disk is full, waiting up to 60 s for room: [Errno 28] refused"
    ]


def test_a_disk_that_stays_full_is_an_error() -> None:
    """J11"""
    disk = Disk(10**9)
    with pytest.raises(OSError, match="refused"):
        outlast_full_disk(disk.write, patience_seconds=0.01)
    assert disk.writes > 1


def test_no_other_error_is_waited_for() -> None:
    """J11"""
    disk = Disk(1, errno.EACCES)
    with pytest.raises(OSError, match="refused"):
        outlast_full_disk(disk.write)
    assert disk.writes == 1
