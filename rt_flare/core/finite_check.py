"""Whether every value of a state dict is finite, exactly, at the speed of the memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from rt_flare.core.entry_groups import gather, group_entries
from rt_flare.core.pieces import pieces, run_all

__all__ = ["extremes", "first_not_finite"]

_PIECE = 1 << 22
"""Nothing is written, so nothing needs to stay in a cache."""


def first_not_finite(state: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of an entry that holds NaN or infinite values; None if there is none.

    Args:
        state: dense, contiguous CPU tensors of any dtype.
    """
    names = [name for name, tensor in state.items() if tensor.is_floating_point() or tensor.is_complex()]
    if not _all_finite(state, names):
        return next(name for name in names if not _all_finite(state, [name]))
    return None


def extremes(values: torch.Tensor) -> torch.Tensor:
    """Least and greatest of the real numbers in a flat tensor that is not empty; NaN if it holds one."""
    if values.is_complex():
        values = torch.view_as_real(values)
    # One pass, nothing allocated. 8-bit floats and complex halves have no such kernel.
    return torch.stack(torch.aminmax(values.float() if values.dtype.itemsize == 1 else values))


def _all_finite(state: Mapping[str, torch.Tensor], names: list[str]) -> bool:
    groups = group_entries((name, tuple(state[name].shape), state[name].dtype) for name in names)
    flat = [gather(state, group) for group in groups]
    tasks = [partial(extremes, piece) for tensor in flat if tensor.numel() for (piece,) in pieces(tensor, size=_PIECE)]
    return not tasks or bool(torch.cat(run_all(tasks)).isfinite().all())
