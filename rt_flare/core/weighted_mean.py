"""Federated averaging's mean: sum(n_i w_i) / sum(n_i), accumulated in place, one model of memory for any N."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from rt_flare.core.pieces import pieces
from rt_flare.core.state_dict import StateDict, TensorSpec, describe, is_finite
from rt_flare.core.wire_dtype import RestoredState
from rt_flare.errors import NoAcceptedUpdateError, UpdateError

__all__ = ["COUNTER_SUFFIX", "WeightedMean", "accumulation_dtype"]

COUNTER_SUFFIX = "num_batches_tracked"
"""Integer buffers whose name ends so count steps: their maximum is taken."""


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype | None:
    """The dtype that values of ``dtype`` are summed in; None for integers and bools, which are never averaged."""
    if dtype in (torch.float64, torch.complex128):
        return dtype
    if dtype.is_complex:
        return torch.complex64
    return torch.float32 if dtype.is_floating_point else None


class WeightedMean:
    """The sample-weighted mean of state dicts (McMahan et al. 2017, arXiv:1602.05629, algorithm 1).

    Floating-point entries are summed in float32, complex ones in complex64 (float64 and complex128 in their own
    width), and cast back to their dtype. Counts are scaled by the power of two that brings the first of them near 1:
    sums stay in range, and because such a scale is exact, multiplying all counts by a power of two changes no bit of
    the result. The mean of one update is that update, bit for bit.

    Integer and bool entries are never averaged: step counters (names ending in ``num_batches_tracked``) take the
    maximum, all others come from the site with most samples (of equals, the first by name).

    The result depends on the order of additions by rounding only; see `OrderedMean` for one that does not at all.
    """

    def __init__(self) -> None:
        self.total_samples = 0
        self.sites: list[str] = []
        self._sums: StateDict = {}
        self._exact: StateDict = {}
        self._specs: dict[str, TensorSpec] = {}
        self._scale_exponent = 0
        self._leader: tuple[int, str] = (0, "")

    def add(self, site: str, state: Mapping[str, torch.Tensor], num_samples: int) -> None:
        """Add one site's checked update.

        Args:
            site: the site's name.
            state: dense CPU tensors, of the same names, shapes and dtypes in every call; not kept, not changed.
            num_samples: samples behind the update, at least 1.
        """
        if not self.sites:
            self._scale_exponent = math.frexp(num_samples)[1]
            self._specs = state.specs() if isinstance(state, RestoredState) else describe(state)
        leads = num_samples > self._leader[0] or (num_samples == self._leader[0] and site < self._leader[1])
        weight = math.ldexp(num_samples, -self._scale_exponent)
        if len(self.sites) == 1:
            # Not before: x * w / w is not always x, and a site that stays alone gets its own weights back.
            factor = math.ldexp(self.total_samples, -self._scale_exponent)
            for held in self._sums.values():
                for (piece,) in pieces(held):
                    piece.mul_(factor)
        for name, (shape, dtype) in self._specs.items():
            wide = accumulation_dtype(dtype)
            if wide is None:
                self._take_exact(name, state[name], leads=leads)
            elif name in self._sums:
                for (held,), addend in zip(pieces(self._sums[name]), _pieces_of(state, name), strict=True):
                    held.add_(addend.to(wide), alpha=weight)
            else:
                self._sums[name] = torch.empty(shape, dtype=wide)
                for (held,), first in zip(pieces(self._sums[name]), _pieces_of(state, name), strict=True):
                    held.copy_(first)
        if leads:
            self._leader = (num_samples, site)
        self.sites.append(site)
        self.total_samples += num_samples

    def skip(self, site: str) -> None:
        """Note that no update of ``site`` will come. A plain mean does not care."""

    def result(self) -> StateDict:
        """Return the mean and forget the sums. Names, shapes and dtypes are those of the updates.

        Raises:
            NoAcceptedUpdateError: nothing was added.
            UpdateError: a sum left the range of its dtype (reason ``mean_overflow``).
        """
        if not self.sites:
            raise NoAcceptedUpdateError("no update was accepted in this round: the global model stays as it was")
        total = math.ldexp(self.total_samples, -self._scale_exponent) if len(self.sites) > 1 else 1.0
        mean: StateDict = {}
        for name, (_, dtype) in self._specs.items():
            if name in self._exact:
                mean[name] = self._exact[name]
                continue
            value = self._sums.pop(name)
            for (piece,) in pieces(value):
                piece.div_(total)
            if not is_finite(value):
                raise UpdateError("mean_overflow", f"{name}: the sum of finite updates overflowed {value.dtype}")
            mean[name] = value.to(dtype)
        return mean

    def _take_exact(self, name: str, tensor: torch.Tensor, *, leads: bool) -> None:
        held = self._exact.get(name)
        if held is None:
            self._exact[name] = tensor.clone()
        elif name.endswith(COUNTER_SUFFIX):
            self._exact[name] = torch.maximum(held, tensor)
        elif leads:
            held.copy_(tensor)


def _pieces_of(state: Mapping[str, torch.Tensor], name: str) -> Iterator[torch.Tensor]:
    return state.pieces(name) if isinstance(state, RestoredState) else (piece for (piece,) in pieces(state[name]))
