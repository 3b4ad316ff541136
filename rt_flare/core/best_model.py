"""Which round's global model is the best so far, and whether waiting for a better one is still worth it."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["BestModel"]


class BestModel:
    """Follows one metric of the global model over the rounds.

    Args:
        metric: its name; a leading minus sign, as in ``-loss``, means that less is better; "" follows nothing.
        patience: rounds without improvement that are tolerated; 0 tolerates any number.
    """

    def __init__(self, metric: str, patience: int = 0) -> None:
        self._name = metric.removeprefix("-")
        self._sign = -1.0 if metric.startswith("-") else 1.0
        self._patience = patience
        self._rounds_without = 0
        self.round: int | None = None
        self.value = math.nan

    @property
    def out_of_patience(self) -> bool:
        """Whether ``patience`` rounds have passed without improvement."""
        return bool(self._patience) and self._rounds_without >= self._patience

    def is_better(self, round_number: int, metrics: Mapping[str, float]) -> bool:
        """Note the metrics of a round's global model; True when it is the best so far. NaN is never better."""
        if not self._name:
            return False
        value = metrics.get(self._name, math.nan)
        if math.isnan(value) or (self.round is not None and self._sign * value <= self._sign * self.value):
            self._rounds_without += 1
            return False
        self.round, self.value, self._rounds_without = round_number, value, 0
        return True
