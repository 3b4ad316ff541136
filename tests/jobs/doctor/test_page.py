"""docs/troubleshooting.md shows the table of known failures as it is."""

from __future__ import annotations

import re
from pathlib import Path

from rt_flare.jobs.doctor import load_failure_table
from rt_flare.jobs.doctor.clocks import CLOCK_TOLERANCE_SECONDS
from rt_flare.jobs.doctor.evidence import MAX_TRACEBACK
from rt_flare.jobs.doctor.log_records import MAX_LOG_BYTES

PAGE = (Path(__file__).parents[3] / "docs" / "troubleshooting.md").read_text()


def test_the_pages_table_is_that_of_the_code() -> None:
    """J12: every row, word by word."""
    shown = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| `[a-z0-9_]+` \|", line)]
    assert shown == [
        [
            f"`{row.id}`",
            row.title,
            row.weight.value,
            row.cause,
            row.fix,
            "; ".join(source.describe() for source in row.source),
        ]
        for row in load_failure_table().rows
    ]


def test_the_pages_limits_are_those_of_the_code() -> None:
    """X6"""
    assert f"first {MAX_LOG_BYTES >> 20} MiB" in PAGE
    assert f"{CLOCK_TOLERANCE_SECONDS:.0f} seconds count" in PAGE
    assert f"{MAX_TRACEBACK:,} characters" in PAGE
