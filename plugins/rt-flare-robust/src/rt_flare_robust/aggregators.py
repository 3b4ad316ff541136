"""The robust aggregators, under RtFedAvg and NVFlare's ScatterAndGather and FedAvg."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import ClassVar

from rt_flare.components.gated_aggregator import GatedAggregator
from rt_flare.errors import ConfigError
from rt_flare_robust.coordinate_combination import CoordinateCombination
from rt_flare_robust.order_statistics import median, trimmed_mean

__all__ = ["CoordinateMedianAggregator", "TrimmedMeanAggregator"]


class CoordinateMedianAggregator(GatedAggregator):
    """Takes the median of the sites' values, coordinate by coordinate (Yin et al. 2018, arXiv:1803.01498).

    Fewer than half of the sites can send what they like without moving the result out of the range of the others.
    Sites have one vote each, whatever their numbers of samples. All updates of a round are held until its end.

    Args:
        max_held_bytes: memory for the updates of a round; more go to temporary files.
    """

    order_independent: ClassVar[bool] = True

    def __init__(self, max_held_bytes: int = 1 << 30) -> None:
        super().__init__()
        self.max_held_bytes = _checked_bytes(max_held_bytes)

    def new_accumulator(self, expected_sites: Collection[str]) -> CoordinateCombination:
        """Return the median of one round."""
        return CoordinateCombination(median, max_held_bytes=self.max_held_bytes)


class TrimmedMeanAggregator(GatedAggregator):
    """Takes the mean of the sites' values without the smallest and the largest (Yin et al. 2018, arXiv:1803.01498).

    Withstands as many bad sites as it drops values at each end, and is closer than the median to the mean of the
    good ones. Sites have one vote each, whatever their numbers of samples. All updates of a round are held until its
    end.

    Args:
        trim_fraction: part of the sites whose values are dropped at each end, rounded up; above 0 and below 0.5. One
            value, or two of an even number, is always kept.
        max_held_bytes: memory for the updates of a round; more go to temporary files.

    Raises:
        ConfigError: ``trim_fraction`` is out of range.
    """

    order_independent: ClassVar[bool] = True

    def __init__(self, trim_fraction: float = 0.2, max_held_bytes: int = 1 << 30) -> None:
        super().__init__()
        if type(trim_fraction) not in {int, float} or not 0 < trim_fraction < 0.5:
            raise ConfigError(
                f"TrimmedMeanAggregator: trim_fraction: found {trim_fraction!r}, expected a number above 0 and below "
                "0.5: at least the part of the sites that may be bad"
            )
        self.trim_fraction = trim_fraction
        self.max_held_bytes = _checked_bytes(max_held_bytes)

    def new_accumulator(self, expected_sites: Collection[str]) -> CoordinateCombination:
        """Return the trimmed mean of one round."""
        statistic = functools.partial(trimmed_mean, trim_fraction=self.trim_fraction)
        return CoordinateCombination(statistic, max_held_bytes=self.max_held_bytes)


def _checked_bytes(max_held_bytes: int) -> int:
    if type(max_held_bytes) is not int or max_held_bytes < 0:
        raise ConfigError(f"max_held_bytes: found {max_held_bytes!r}, expected a number of bytes from 0")
    return max_held_bytes
