"""Every metric over the rounds: of the sites' locally trained models, and of the global model, kept apart."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rt_flare.core.round_record import RoundRecord, Spread

__all__ = ["MetricSeries", "SiteLine", "metric_names", "metric_series"]

MAX_LINES = 10
MAX_POINTS = 1_000
_FIRST = ("loss", "accuracy")


@dataclass(frozen=True)
class SiteLine:
    """One site's values, one per point of the series; None where the site gave none."""

    site: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class MetricSeries:
    """One metric of the local models or of the global model.

    Attributes:
        metric: its name.
        of_global_model: whether the sites measured it on the global model, else on their own trained models.
        rounds: the points: 0-based rounds that produced the models; -1 is the model that the job started from.
        mean: sample-weighted mean over the sites; None where the record has none.
        low, median, high: over the sites' finite values; given only when not every site has a line.
        lines: of the sites, by name; with more than 10 sites, of the 10 that are furthest from the median; none when
            the records do not hold the sites' values (see `PagedContributions`).
        num_sites: sites that reported the metric.
    """

    metric: str
    of_global_model: bool
    rounds: tuple[int, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    median: tuple[float | None, ...]
    high: tuple[float | None, ...]
    lines: tuple[SiteLine, ...]
    num_sites: int


def metric_names(records: Sequence[RoundRecord]) -> list[str]:
    """Names of all metrics: loss and accuracy first, the others by the alphabet."""
    names = {name for record in records for name in (*record.train_metrics, *(record.global_metrics or {}))}
    for record in records:
        if record.paged is not None:
            names |= record.paged.train_metrics.keys() | record.paged.received_model_metrics.keys()
        for contribution in record.contributions:
            names |= contribution.train_metrics.keys() | contribution.received_model_metrics.keys()
    return sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


def metric_series(records: Sequence[RoundRecord], metric: str, *, of_global_model: bool) -> MetricSeries | None:
    """Gather one metric; None when nobody reported it.

    What a site measured on the model that it received in round r belongs to the global model of the round before r.
    With more than 1,000 rounds every n-th is taken, and the last one.
    """
    sites: dict[str, dict[int, float]] = defaultdict(dict)
    spreads: dict[int, Spread] = {}
    means: dict[int, float] = {}
    before = -1
    for record in records:
        point = before if of_global_model else record.round
        if record.paged is not None:
            held = record.paged.received_model_metrics if of_global_model else record.paged.train_metrics
            if metric in held:
                spreads[point] = held[metric]
        for contribution in record.contributions if record.paged is None else ():
            found = contribution.received_model_metrics if of_global_model else contribution.train_metrics
            if metric in found:
                sites[contribution.site][point] = found[metric]
        mean = (record.global_metrics or {}) if of_global_model else record.train_metrics
        if metric in mean:
            means[record.round] = mean[metric]
        before = record.round
    rounds = _points({*means, *spreads, *(point for values in sites.values() for point in values)})
    if not rounds:
        return None
    middle = {point: _spread(sites, point) for point in rounds} if len(sites) > MAX_LINES else {}
    chosen = _furthest(sites, {point: spread[1] for point, spread in middle.items()}) if middle else sorted(sites)
    if spreads:
        held_values = {point: (s.low, s.median, s.high) for point, s in spreads.items()}
        middle = {point: held_values.get(point, (None, None, None)) for point in rounds}
    low, median, high = ([middle[point][part] for point in rounds] if middle else [] for part in range(3))
    return MetricSeries(
        metric=metric,
        of_global_model=of_global_model,
        rounds=tuple(rounds),
        mean=tuple(means.get(point) for point in rounds),
        low=tuple(low),
        median=tuple(median),
        high=tuple(high),
        lines=tuple(SiteLine(site, tuple(sites[site].get(point) for point in rounds)) for site in chosen),
        num_sites=max((spread.num_sites for spread in spreads.values()), default=len(sites)),
    )


def _points(rounds: set[int]) -> list[int]:
    points = sorted(rounds)
    step = math.ceil(len(points) / MAX_POINTS)
    return points if step <= 1 else sorted({*points[::step], points[-1]})


def _spread(sites: Mapping[str, Mapping[int, float]], point: int) -> tuple[float | None, float | None, float | None]:
    values = [v[point] for v in sites.values() if point in v and math.isfinite(v[point])]
    return (min(values), statistics.median(values), max(values)) if values else (None, None, None)


def _furthest(sites: Mapping[str, Mapping[int, float]], median: Mapping[int, float | None]) -> list[str]:
    def distance(site: str) -> float:
        gaps = [abs(value - (median.get(point) or 0.0)) for point, value in sites[site].items() if point in median]
        gaps = [gap if math.isfinite(gap) else math.inf for gap in gaps]
        return sum(gaps) / len(gaps) if gaps else 0.0

    ranked = sorted(sites, key=lambda site: (-distance(site), site))
    return sorted(ranked[:MAX_LINES])
