"""Sums of weighted floating-point entries: memory is the limit, not arithmetic, and each pass adds two updates."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from rt_flare.core.entry_groups import gather, group_entries, scatter
from rt_flare.core.finite_check import first_not_finite, is_finite
from rt_flare.core.pieces import SHARED_PIECE, pieces, run_all
from rt_flare.core.state_dict import StateDict, TensorSpec
from rt_flare.core.wire_dtype import RestoredState
from rt_flare.errors import UpdateError

__all__ = ["WeightedSums", "accumulation_dtype"]

_Parts = tuple[torch.Tensor, ...]
"""A piece of an update: one tensor, or two whose sum it is."""


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype | None:
    """The dtype that values of ``dtype`` are summed in; None for integers and bools, which are never averaged."""
    if dtype in (torch.float64, torch.complex128):
        return dtype
    if dtype.is_complex:
        return torch.complex64
    return torch.float32 if dtype.is_floating_point else None


class WeightedSums:
    """The floating-point entries of a `WeightedMean`.

    An update waits for the next one, so that both cost one pass over the sums. Where the sums are wider than the
    updates they take the memory that a waiting one would need, and each update is added at once.

    Args:
        specs: shape and dtype of the entries; integers and bools are passed over.
    """

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        self._specs = {name: spec for name, spec in specs.items() if accumulation_dtype(spec.dtype) is not None}
        self._groups = group_entries((name, *spec) for name, spec in self._specs.items())
        self._max_waiting = int(all(spec.dtype == accumulation_dtype(spec.dtype) for spec in self._specs.values()))
        self._sums: list[torch.Tensor] = []
        self._waiting: list[tuple[Mapping[str, torch.Tensor], float]] = []
        self._scale: float | None = None

    def add(self, state: Mapping[str, torch.Tensor], weight: float) -> None:
        """Add ``state`` times ``weight``; it must not change before the next call."""
        self._waiting.append((state, weight))
        if len(self._waiting) > self._max_waiting:
            self._add_waiting(None)

    def divided(self, divisor: float) -> StateDict:
        """Return the sums over ``divisor`` in the entries' own dtypes, and forget them.

        Raises:
            UpdateError: a sum left the range of its dtype (reason ``mean_overflow``).
        """
        if not self._add_waiting(divisor):
            name = first_not_finite(self._entries(cast=False))
            raise UpdateError("mean_overflow", f"{name}: the sum of finite updates overflowed")
        return self._entries()

    def only(self) -> StateDict:
        """Return the only update that was added, without its weight."""
        self._scale = None
        if self._waiting:
            self._waiting = [(self._waiting[0][0], 1.0)]
            self._add_waiting(None)
        return self._entries()

    def _add_waiting(self, divisor: float | None) -> bool:
        """Add what waits in one pass; with a divisor, also divide, and tell whether all sums are finite."""
        waiting, self._waiting = self._waiting, []
        starts, weights = not self._sums, [weight for _, weight in waiting]
        combine = partial(_start if starts else _continue, weights=weights, scale=self._scale, divisor=divisor)
        # x * w / w is not always x: the first is multiplied by its weight when a second comes.
        self._scale = weights[0] if starts and len(weights) == 1 else None
        if starts:
            self._sums = [self._empty_sum(group) for group in self._groups]

        def tasks() -> Iterator[Callable[[], bool]]:
            for held, group in zip(self._sums, self._groups, strict=True):
                addends = [_parts(state, group) for state, _ in waiting]
                for (piece,), *parts in zip(pieces(held, size=SHARED_PIECE), *addends, strict=True):
                    yield partial(combine, piece, *parts)

        return all(run_all(tasks()))

    def _empty_sum(self, group: list[str]) -> torch.Tensor:
        size = sum(math.prod(self._specs[name].shape) for name in group)
        return torch.empty(size, dtype=accumulation_dtype(self._specs[group[0]].dtype))

    def _entries(self, *, cast: bool = True) -> StateDict:
        """The sums by name, in their entries' dtypes or as they are; they are forgotten."""
        sums, self._sums = deque(self._sums), []
        shapes = {name: spec.shape for name, spec in self._specs.items()}
        entries: StateDict = {}
        for group in self._groups:
            held = sums.popleft()
            entries |= scatter(_cast(held, self._specs[group[0]].dtype) if cast else held, group, shapes)
        return entries


def _parts(state: Mapping[str, torch.Tensor], group: list[str]) -> Iterator[_Parts]:
    if len(group) == 1 and isinstance(state, RestoredState):
        return state.parts(group[0], size=SHARED_PIECE)
    return pieces(gather(state, group), size=SHARED_PIECE)


def _start(
    held: torch.Tensor, first: _Parts, *others: _Parts, weights: list[float], scale: float | None, divisor: float | None
) -> bool:
    if others:
        torch.mul(_sum(first), weights[0], out=held)
    else:
        held.copy_(_sum(first))
    return _continue(held, *others, weights=weights[1:], scale=scale, divisor=divisor)


def _continue(
    held: torch.Tensor, *addends: _Parts, weights: list[float], scale: float | None, divisor: float | None
) -> bool:
    if scale is not None:
        held.mul_(scale)
    for addend, weight in zip(addends, weights, strict=True):
        held.add_(_sum(addend).to(held.dtype), alpha=weight)
    if divisor is None:
        return True
    held.div_(divisor)
    return is_finite(held)


def _sum(parts: _Parts) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _cast(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if values.dtype == dtype:
        return values
    cast = torch.empty(values.shape, dtype=dtype)
    run_all([partial(to.copy_, part) for to, part in pieces(cast, values, size=SHARED_PIECE)])
    return cast
