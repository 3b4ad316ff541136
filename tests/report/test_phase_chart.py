"""Phases as bars (X10)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from rt_flare.core.round_record import RoundRecord
from rt_flare.report.phase_chart import BAR_WIDTH, MAX_BARS, phase_bar, phase_chart, site_bar
from rt_flare.report.round_phases import Phase, SiteTime

Make = Callable[..., RoundRecord]


def test_bars_stand_on_each_other_inside_of_the_plot(make_record: Make) -> None:
    """X10"""
    chart = phase_chart([make_record(number, ["a"]) for number in range(3)])
    assert chart is not None
    stack = chart.bars[:5]
    assert len({bar.x for bar in stack}) == 1
    for below, above in pairwise(stack):
        assert above.y + above.height == pytest.approx(below.y)
    assert all(chart.plot.top <= bar.y and bar.y + bar.height <= chart.plot.bottom + 0.1 for bar in chart.bars)
    assert chart.data["labels"] == ["round 0", "round 1", "round 2"]
    assert [name for name, _ in chart.used] == ["waiting", "training", "aggregating", "saving", "other"]


@pytest.mark.parametrize(("num_rounds", "per_bar"), [(120, 1), (121, 2), (1_000, 9)])
def test_many_rounds_share_bars(make_record: Make, num_rounds: int, per_bar: int) -> None:
    """X10: 1,000 rounds in 720 pixels."""
    chart = phase_chart([make_record(number, ["a"]) for number in range(num_rounds)])
    assert chart is not None
    assert chart.rounds_per_bar == per_bar
    assert len(chart.data["labels"]) <= MAX_BARS
    first = "round 0" if per_bar == 1 else f"rounds 0 to {per_bar - 1}, mean"
    assert (chart.data["labels"][0], chart.data["labels"][-1]) == (first, f"round {num_rounds - 1}")


def test_without_rounds_there_is_no_chart() -> None:
    """X10"""
    assert phase_chart([]) is None


def test_a_bar_in_a_row_is_as_long_as_its_time() -> None:
    """X10: on one scale for all rows."""
    bars = phase_bar([Phase("training", 2.0), Phase("other", 1.0)], 6.0)
    assert [(bar.x, bar.width) for bar in bars] == [(0, BAR_WIDTH / 3), (BAR_WIDTH / 3, BAR_WIDTH / 6)]
    assert phase_bar([Phase("training", 2.0)], 0.0) == []
    assert [bar.style for bar in site_bar(SiteTime("a", "missing", 2.0, None, 0.0), 2.0)] == ["collecting"]
