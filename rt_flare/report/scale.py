"""The vertical axis of a chart: a range that holds every finite value, and round numbers on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Scale", "scale_for"]

_LARGEST = 1e300
_TICKS = 4


@dataclass(frozen=True)
class Scale:
    """A range of values.

    Attributes:
        low, high: its ends; ``low < high``, both finite.
        ticks: round numbers from ``low`` to ``high``, ascending.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where a finite ``value`` stands: 0 at ``low``, 1 at ``high``, kept between them."""
        low, high = self.low / 2, self.high / 2  # their difference may be beyond every float
        return min(1.0, max(0.0, (value / 2 - low) / (high - low)))


def scale_for(values: Iterable[float], *, from_zero: bool = False) -> Scale:
    """Return the scale of ``values``, which may hold anything; what is not finite does not count.

    Args:
        values: the values to be drawn.
        from_zero: start at 0, for bars.
    """
    finite = [min(_LARGEST, max(-_LARGEST, value)) for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if from_zero:
        low = min(low, 0.0)
    if math.isclose(low, high, rel_tol=1e-9):
        room = abs(low) * 0.05 or 0.5
        low, high = low - (0.0 if from_zero and low == 0 else room), high + room
    step = _round_step((high - low) / _TICKS)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = tuple(float(f"{number * step:.12g}") for number in range(first, last + 1))
    return Scale(min(ticks[0], low), max(ticks[-1], high), ticks)


def _round_step(step: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(step)) if step >= 1e-300 else 1e-300
    return next((size * magnitude for size in (1, 2, 2.5, 5) if size * magnitude >= step), 10 * magnitude)
