"""What this package registers with rt_flare."""

from __future__ import annotations

from collections.abc import Mapping

from rt_flare.hookspecs import ComponentEntry, hookimpl

__all__ = ["rt_flare_components"]

_HINT = "pip install rt-flare-robust"


@hookimpl
def rt_flare_components() -> Mapping[str, ComponentEntry]:
    """Return the aggregators of this package."""
    home = "rt_flare_robust.aggregators"
    return {
        "coordinate_median": ComponentEntry("aggregator", f"{home}:CoordinateMedianAggregator", _HINT),
        "trimmed_mean": ComponentEntry("aggregator", f"{home}:TrimmedMeanAggregator", _HINT),
    }
