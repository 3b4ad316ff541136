"""A metric's curves as paths of an SVG image, and the values that its reader may ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rt_flare.report.metric_series import MetricSeries
from rt_flare.report.scale import Scale, scale_for
from rt_flare.report.shown_text import shown, shown_number

__all__ = ["Curve", "LineChart", "Plot", "line_chart", "series_scale"]


@dataclass(frozen=True)
class Plot:
    """The drawing area inside of an image, in the image's own units; y grows downwards."""

    width: int = 360
    height: int = 210
    left: int = 50
    right: int = 352
    top: int = 12
    bottom: int = 182

    def y(self, share: float) -> float:
        """The height at which a share of the scale stands."""
        return round(self.bottom - share * (self.bottom - self.top), 1)


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        name: what the legend says.
        style: its CSS class: ``mean``, ``median`` or ``s0`` to ``s9``.
        path: the line, as an SVG path; "" when there is no finite value.
        dots: points without a neighbour to be joined with, as an SVG path.
        marks: where the value is NaN or infinite, as an SVG path along the upper edge.
    """

    name: str
    style: str
    path: str
    dots: str
    marks: str


@dataclass(frozen=True)
class LineChart:
    """What a template needs to draw one metric.

    Attributes:
        key: unique in the page; letters and digits.
        title: the metric's name.
        subtitle: on which model it was measured.
        plot: where to draw.
        curves: the mean first.
        band: the range of all sites as an SVG path; "" when every site has a line.
        x_ticks, y_ticks: (position, text).
        data: what the page's script shows of a round: labels, positions, and each curve's values as text.
        note: which sites have a line, when not all have; "" otherwise.
    """

    key: str
    title: str
    subtitle: str
    plot: Plot
    curves: tuple[Curve, ...]
    band: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    data: dict[str, Any]
    note: str


def line_chart(series: MetricSeries, *, key: str, subtitle: str, shared: Scale | None = None) -> LineChart:
    """Draw one series.

    Args:
        series: at least one point.
        key: see `LineChart`.
        subtitle: see `LineChart`.
        shared: scale of the other chart of the same metric, so that both can be compared; None takes one of its own.
    """
    plot, scale = Plot(), shared or series_scale(series)
    xs = _positions(series.rounds, plot)
    named = [("mean of the sites, by samples", "mean", series.mean)]
    if series.median:
        named.append((f"median of {series.num_sites} sites", "median", series.median))
    named += [(shown(line.site), f"s{number % 10}", line.values) for number, line in enumerate(series.lines)]
    named = [(name, style, values) for name, style, values in named if any(value is not None for value in values)]
    curves = tuple(Curve(name, style, *_drawn(xs, values, scale, plot)) for name, style, values in named)
    labels = ["at the start" if number < 0 else f"round {number}" for number in series.rounds]
    return LineChart(
        key=key,
        title=series.metric,
        subtitle=subtitle,
        plot=plot,
        curves=curves,
        band=_band(xs, series, scale, plot),
        x_ticks=_x_ticks(series.rounds, xs),
        y_ticks=tuple((plot.y(scale.share(tick)), shown_number(tick)) for tick in scale.ticks),
        data={
            "labels": labels,
            "x": xs,
            "values": [[shown_number(value, 6) for value in values] for _, _, values in named],
        },
        note=_note(series),
    )


def _note(series: MetricSeries) -> str:
    if not series.median:
        return ""
    if not series.lines:
        return f"The area holds all {series.num_sites} sites."
    return f"The {len(series.lines)} sites furthest from the median of {series.num_sites}; the area holds all sites."


def series_scale(*series: MetricSeries) -> Scale:
    """The scale that holds everything drawn of ``series``."""
    drawn = [values for s in series for values in (s.mean, s.low, s.high, *(line.values for line in s.lines))]
    return scale_for(value for values in drawn for value in values if value is not None)


def _positions(rounds: Sequence[int], plot: Plot) -> list[float]:
    first, span = rounds[0], rounds[-1] - rounds[0]
    if not span:
        return [round((plot.left + plot.right) / 2, 1)]
    return [round(plot.left + (number - first) / span * (plot.right - plot.left), 1) for number in rounds]


def _drawn(xs: Sequence[float], values: Sequence[float | None], scale: Scale, plot: Plot) -> tuple[str, str, str]:
    path, dots, marks = [], [], []
    finite = [value is not None and math.isfinite(value) for value in values]
    for number, (x, value) in enumerate(zip(xs, values, strict=True)):
        if value is None:
            continue
        if not finite[number]:
            marks.append(f"M{x - 2:g} {plot.top}l4 4m0-4l-4 4")
            continue
        joined = number > 0 and finite[number - 1]
        path.append(f"{'L' if joined else 'M'}{x:g} {plot.y(scale.share(value)):g}")
        if not joined and not (number + 1 < len(xs) and finite[number + 1]):
            dots.append(f"M{x:g} {plot.y(scale.share(value)):g}h.1")
    return "".join(path), "".join(dots), "".join(marks)


def _band(xs: Sequence[float], series: MetricSeries, scale: Scale, plot: Plot) -> str:
    if not series.low:
        return ""
    edges = [
        (x, plot.y(scale.share(low)), plot.y(scale.share(high)))
        for x, low, high in zip(xs, series.low, series.high, strict=True)
        if low is not None and high is not None
    ]
    if not edges:
        return ""
    corners = [(x, high) for x, _, high in edges] + [(x, low) for x, low, _ in reversed(edges)]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners) + "Z"


def _x_ticks(rounds: Sequence[int], xs: Sequence[float]) -> tuple[tuple[float, str], ...]:
    step = max(1, -(-len(rounds) // 6))
    return tuple((x, "start" if n < 0 else str(n)) for n, x in list(zip(rounds, xs, strict=True))[::step])
