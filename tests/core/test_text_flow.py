"""How much of user code's text goes on, and without which folders."""

from __future__ import annotations

from pathlib import Path

from rt_flare.core.text_flow import BURST_LINES, LINES_PER_SECOND, LogFlow, without_folders


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_flood_is_cut_and_says_how_much_is_missing() -> None:
    """M3, J9: bounded lines per second; what comes later is logged again."""
    said: list[tuple[str, str]] = []
    clock = Clock()
    flow = LogFlow(lambda level, text: said.append((level, text)), clock)
    for number in range(BURST_LINES + 500):
        flow("info", f"line {number}")
    assert len(said) == BURST_LINES
    clock.now += 2.0
    flow("info", "after")
    assert said[-2][0] == "warning"
    assert said[-2][1].startswith("500 lines were left out here")
    assert said[-1] == ("info", "after")
    for _ in range(10_000):
        flow("info", "x")
    assert len(said) == BURST_LINES + 1 + 2 * int(LINES_PER_SECOND)
    flow.finish()
    assert said[-1][1].startswith("9901 lines were left out")
    flow.finish()
    assert len(said) == BURST_LINES + 2 + 2 * int(LINES_PER_SECOND)


def test_a_text_of_many_lines_counts_as_many() -> None:
    """M3, J9"""
    said: list[str] = []
    flow = LogFlow(lambda level, text: said.append(text), Clock())
    flow("info", "\n" * BURST_LINES)
    flow("info", "\n" * (BURST_LINES - 1))
    flow("info", "more")
    assert [len(text) for text in said] == [len(said[0]), BURST_LINES - 1]
    assert said[0].startswith(f"{BURST_LINES + 1} lines were left out")


def test_a_sites_folders_have_names_in_what_is_said_of_them() -> None:
    """J5: a path tells where a file is in the data, not where the data is at the site."""
    folders = {"data_root": "/srv/hospital/ward-3", "~": Path("/srv/hospital"), "run_dir": None, "root": "/"}
    said = "No such file: '/srv/hospital/ward-3/images/a.png', in /srv/hospital/x, /srv/hospital-2"
    assert without_folders(said, folders) == "No such file: 'data_root/images/a.png', in ~/x, /srv/hospital-2"
    assert without_folders("/srv/hospital/ward-3", folders) == "data_root"
    assert without_folders("see /mnt/srv/hospital", folders) == "see /mnt/srv/hospital"
    assert without_folders("a/b", {}) == "a/b"
