"""Combines state dicts coordinate by coordinate, by an order statistic of the sites' values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt
import torch

from rt_flare.core.state_dict import StateDict, TensorSpec, describe
from rt_flare.core.weighted_mean import accumulation_dtype
from rt_flare.errors import NoAcceptedUpdateError, UpdateError
from rt_flare_robust.held_updates import HeldUpdates
from rt_flare_robust.order_statistics import OrderStatistic, lower_median

__all__ = ["CoordinateCombination"]

_CHUNK_VALUES = 1 << 24
"""Values that are sorted at a time: 64 MiB of float32."""


class CoordinateCombination:
    """The `UpdateAccumulator` of the robust aggregators.

    Floating-point entries are combined by ``statistic`` (complex ones in their two parts) and cast back to their
    dtype. Integer and bool entries take the middle value, the lower of two, so that it is one that a site sent: a
    site cannot decide it by a huge value or number of samples, as it could by a maximum or as the largest site.

    Numbers of samples are counted and have no weight: they are what a bad site would lie about.

    Args:
        statistic: from the sites' sorted values to one.
        max_held_bytes: memory for the updates; more go to temporary files.
    """

    def __init__(self, statistic: OrderStatistic, *, max_held_bytes: int) -> None:
        self.sites: list[str] = []
        self.total_samples = 0
        self._statistic = statistic
        self._updates = HeldUpdates(max_held_bytes)
        self._specs: dict[str, TensorSpec] = {}

    def add(self, site: str, state: Mapping[str, torch.Tensor], num_samples: int) -> None:
        """Keep one site's checked update until the round's end."""
        self._specs = self._specs or describe(state)
        self._updates.put(site, state)
        self.sites.append(site)
        self.total_samples += num_samples

    def skip(self, site: str) -> None:
        """Note that no update of ``site`` will come; nothing waits for it."""

    def result(self) -> StateDict:
        """Return the combination and forget the updates.

        Raises:
            NoAcceptedUpdateError: nothing was added.
            UpdateError: a combined value left the range of its dtype (reason ``mean_overflow``).
        """
        if not self.sites:
            raise NoAcceptedUpdateError("no update was accepted in this round: the global model stays as it was")
        try:
            return {name: self._combined(name, spec) for name, spec in self._specs.items()}
        finally:
            self._updates.close()

    def _combined(self, name: str, spec: TensorSpec) -> torch.Tensor:
        tensors = self._updates.tensors(name)
        wide = accumulation_dtype(spec.dtype)
        if wide is None:
            return _by_chunks(tensors, spec.dtype, lower_median).reshape(spec.shape)
        if wide.is_complex:
            parts = [torch.view_as_real(tensor.to(wide)) for tensor in tensors]
            middle = torch.view_as_complex(_by_chunks(parts, parts[0].dtype, self._statistic).reshape(parts[0].shape))
        else:
            middle = _by_chunks(tensors, wide, self._statistic).reshape(spec.shape)
        if not torch.isfinite(middle).all():
            raise UpdateError("mean_overflow", f"{name}: the combination of finite updates left the range of {wide}")
        return middle.to(spec.dtype)


def _by_chunks(
    tensors: list[torch.Tensor], dtype: torch.dtype, combine: Callable[[Any], npt.NDArray[Any]]
) -> torch.Tensor:
    """Sort the tensors' values coordinate by coordinate, as ``dtype``, and combine them; flat."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    size = max(1, _CHUNK_VALUES // len(flat))
    parts: list[torch.Tensor] = []
    for start in range(0, max(1, len(flat[0])), size):
        values = torch.stack([tensor[start : start + size].to(dtype) for tensor in flat]).numpy()
        # NumPy sorts short columns several times as fast as torch does.
        values.sort(axis=0)
        parts.append(torch.from_numpy(combine(values)).to(dtype))
    return torch.cat(parts)
