"""Federated averaging's mean: sum(n_i w_i) / sum(n_i), in one model of memory and a waiting update, for any N."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from rt_flare.core.state_dict import StateDict, describe
from rt_flare.core.weighted_sums import WeightedSums, accumulation_dtype
from rt_flare.core.wire_dtype import RestoredState
from rt_flare.errors import NoAcceptedUpdateError

__all__ = ["COUNTER_SUFFIX", "WeightedMean", "accumulation_dtype"]

COUNTER_SUFFIX = "num_batches_tracked"
"""Integer buffers whose name ends so count steps: their maximum is taken."""


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
        self._names: list[str] = []
        self._exact_names: list[str] = []
        self._exact: StateDict = {}
        self._sums = WeightedSums({})
        self._scale_exponent = 0
        self._leader: tuple[int, str] = (0, "")

    def add(self, site: str, state: Mapping[str, torch.Tensor], num_samples: int) -> None:
        """Add one site's checked update.

        Args:
            site: the site's name.
            state: dense CPU tensors, of the same names, shapes and dtypes in every call; not changed here, and not to
                be changed before the next call or `result`.
            num_samples: samples behind the update, at least 1.
        """
        if not self.sites:
            specs = state.specs() if isinstance(state, RestoredState) else describe(state)
            self._names = list(specs)
            self._exact_names = [name for name, spec in specs.items() if accumulation_dtype(spec.dtype) is None]
            self._scale_exponent = math.frexp(num_samples)[1]
            self._sums = WeightedSums(specs)
        leads = num_samples > self._leader[0] or (num_samples == self._leader[0] and site < self._leader[1])
        for name in self._exact_names:
            self._take_exact(name, state[name], leads=leads)
        self._sums.add(state, math.ldexp(num_samples, -self._scale_exponent))
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
        if len(self.sites) == 1:
            averaged = self._sums.only()
        else:
            averaged = self._sums.divided(math.ldexp(self.total_samples, -self._scale_exponent))
        found = self._exact | averaged
        return {name: found[name] for name in self._names}

    def _take_exact(self, name: str, tensor: torch.Tensor, *, leads: bool) -> None:
        held = self._exact.get(name)
        if held is None:
            self._exact[name] = tensor.clone()
        elif name.endswith(COUNTER_SUFFIX):
            self._exact[name] = torch.maximum(held, tensor)
        elif leads:
            held.copy_(tensor)
