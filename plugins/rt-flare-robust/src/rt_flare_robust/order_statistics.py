"""The coordinate-wise median and trimmed mean of sorted values (Yin et al. 2018, arXiv:1803.01498)."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["OrderStatistic", "lower_median", "median", "num_trimmed", "trimmed_mean"]

Values = npt.NDArray[np.float32] | npt.NDArray[np.float64]

OrderStatistic = Callable[[Values], npt.NDArray[np.float64]]
"""From values of shape (sites, coordinates), sorted along the sites, to one number per coordinate."""


def median(values: Values) -> npt.NDArray[np.float64]:
    """Return the middle value of each coordinate, or the mean of the two middle ones.

    Args:
        values: finite float32 or float64 of shape (sites, coordinates), sorted along the sites.

    Returns:
        float64 of shape (coordinates,).
    """
    num_sites = len(values)
    return _middle(values[(num_sites - 1) // 2], values[num_sites // 2])


def trimmed_mean(values: Values, trim_fraction: float) -> npt.NDArray[np.float64]:
    """Return the mean of each coordinate without its smallest and its largest values.

    Args:
        values: finite float32 or float64 of shape (sites, coordinates), sorted along the sites.
        trim_fraction: see `num_trimmed`.

    Returns:
        float64 of shape (coordinates,); not finite where float64 values are too far apart to be summed.
    """
    trimmed = num_trimmed(len(values), trim_fraction)
    kept = values[trimmed : len(values) - trimmed].astype(np.float64)
    low, high = kept[0], kept[-1]
    base = _middle(low, high)
    # Differences from the middle keep the last bits of values that nearly agree.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = base + (kept - base).sum(axis=0) / len(kept)
    result: npt.NDArray[np.float64] = np.where(low == high, low, mean)
    return result


def num_trimmed(num_sites: int, trim_fraction: float) -> int:
    """Return how many values fall at each end: ``trim_fraction`` of the sites, rounded up.

    One value (two, if the number of sites is even) is always kept: the trimmed mean is then the median.
    """
    # By its decimal digits: 0.1 * 30 is more than 3 in binary.
    wanted = math.ceil(Fraction(str(trim_fraction)) * num_sites)
    return min(wanted, (num_sites - 1) // 2)


def lower_median(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the middle value of each coordinate, the lower of two: always one that a site sent."""
    middle: npt.NDArray[Any] = values[(len(values) - 1) // 2]
    return middle


def _middle(low: npt.NDArray[np.floating], high: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    low, high = low.astype(np.float64), high.astype(np.float64)
    # Halves first: the sum of two large float64 may overflow. Halving the smallest ones rounds, unless they agree.
    return np.where(low == high, low, low / 2 + high / 2)
