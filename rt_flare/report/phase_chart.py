"""The rounds' phases as stacked bars over the rounds, and as one bar in a row of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rt_flare.core.round_record import RoundRecord
from rt_flare.report.line_chart import Plot
from rt_flare.report.round_phases import PHASES, Phase, SiteTime, round_phases
from rt_flare.report.scale import scale_for
from rt_flare.report.shown_text import shown_number

__all__ = ["Bar", "PhaseChart", "phase_bar", "phase_chart", "site_bar"]

MAX_BARS = 120
BAR_WIDTH = 120


@dataclass(frozen=True)
class Bar:
    """A rectangle: its style, its corner and size in the image's units, and what it stands for."""

    style: str
    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class PhaseChart:
    """Stacked bars, one per round, or per few rounds when there are many.

    Attributes:
        plot: where to draw.
        bars: from the first round to the last.
        used: the phases that occur: name and meaning.
        x_ticks, y_ticks: (position, text).
        data: labels, positions and values of the phases, as in `LineChart`.
        rounds_per_bar: above 1, a bar shows the mean of so many rounds.
    """

    plot: Plot
    bars: tuple[Bar, ...]
    used: tuple[tuple[str, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    data: dict[str, Any]
    rounds_per_bar: int


def phase_chart(records: Sequence[RoundRecord]) -> PhaseChart | None:
    """Draw where the rounds' time went; None without rounds."""
    if not records:
        return None
    size = math.ceil(len(records) / MAX_BARS)
    groups = [records[start : start + size] for start in range(0, len(records), size)]
    means = [_mean_phases(group) for group in groups]
    plot = Plot(width=720, right=712)
    scale = scale_for([sum(parts.values()) for parts in means], from_zero=True)
    slot = (plot.right - plot.left) / len(groups)
    bars: list[Bar] = []
    for number, (group, parts) in enumerate(zip(groups, means, strict=True)):
        below, label = 0.0, _label(group)
        for name, seconds in parts.items():
            top, bottom = plot.y(scale.share(below + seconds)), plot.y(scale.share(below))
            below += seconds
            text = f"{label}: {name} {shown_number(seconds)} s"
            x = round(plot.left + (number + 0.1) * slot, 2)
            bars.append(Bar(name, x, top, round(slot * 0.8, 2), round(bottom - top, 1), text))
    used = [name for name in PHASES if any(name in parts for parts in means)]
    centres = [round(plot.left + (number + 0.5) * slot, 1) for number in range(len(groups))]
    step = max(1, -(-len(groups) // 12))
    return PhaseChart(
        plot=plot,
        bars=tuple(bars),
        used=tuple((name, PHASES[name]) for name in used),
        x_ticks=tuple((x, str(group[0].round)) for x, group in list(zip(centres, groups, strict=True))[::step]),
        y_ticks=tuple((plot.y(scale.share(tick)), shown_number(tick)) for tick in scale.ticks),
        data={
            "labels": [_label(group) for group in groups],
            "x": centres,
            "values": [[shown_number(parts.get(name, 0.0)) for parts in means] for name in used],
        },
        rounds_per_bar=size,
    )


def phase_bar(phases: Sequence[Phase], longest: float) -> list[Bar]:
    """One round as a bar of 120 units for ``longest`` seconds."""
    return _row([(phase.name, phase.name, phase.seconds) for phase in phases], longest)


def site_bar(times: SiteTime, longest: float) -> list[Bar]:
    """One site's part of a round as a bar of 120 units for ``longest`` seconds."""
    until = "until its answer came" if times.work_seconds is None else "on the way and waiting"
    parts = [
        ("collecting" if times.work_seconds is None else "waiting", until, times.travel_seconds),
        ("training", "user code", times.work_seconds or 0.0),
        ("other", "until the last answer came", times.idle_seconds),
    ]
    return _row(parts, longest)


def _row(parts: Sequence[tuple[str, str, float]], longest: float) -> list[Bar]:
    bars, x = [], 0.0
    for style, name, seconds in parts:
        width = round(seconds / longest * BAR_WIDTH, 2) if longest > 0 else 0.0
        if width > 0:
            bars.append(Bar(style, round(x, 2), 0, width, 10, f"{name}: {shown_number(seconds)} s"))
        x += width
    return bars


def _mean_phases(group: Sequence[RoundRecord]) -> dict[str, float]:
    sums = dict.fromkeys(PHASES, 0.0)
    for record in group:
        for phase in round_phases(record):
            sums[phase.name] += phase.seconds / len(group)
    return {name: seconds for name, seconds in sums.items() if seconds > 0}


def _label(group: Sequence[RoundRecord]) -> str:
    first, last = group[0].round, group[-1].round
    return f"round {first}" if first == last else f"rounds {first} to {last}, mean"
