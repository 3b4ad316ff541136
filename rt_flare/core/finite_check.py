"""Whether every value of a state dict is finite, exactly, at the speed of the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from rt_flare.core.entry_groups import gather, group_entries
from rt_flare.core.pieces import pieces, run_all
from rt_flare.core.state_dict import describe

__all__ = ["first_not_finite", "is_finite"]

_PIECE = 1 << 22
"""Nothing is written, so nothing needs to stay in a cache."""


def first_not_finite(state: Mapping[str, torch.Tensor], groups: list[list[str]] | None = None) -> str | None:
    """Return the name of an entry that holds NaN or infinite values; None if there is none.

    Args:
        state: dense, contiguous CPU tensors of any dtype.
        groups: names as `group_entries` puts them, for who has many such states to check.
    """
    groups = group_entries((name, *spec) for name, spec in describe(state).items()) if groups is None else groups
    if all(run_all(_checks(state, groups))):
        return None
    return next(name for group in groups for name in group if not all(run_all(_checks(state, [[name]]))))


def is_finite(values: torch.Tensor) -> bool:
    """Whether a plain, contiguous tensor of any dtype is free of NaN and infinities."""
    if values.is_complex():
        values = torch.view_as_real(values)
    elif not values.is_floating_point():
        return True
    if values.dtype.itemsize == 1:  # 8-bit floats have no sums
        values = values.float()
    # A sum with a NaN or an infinity in it is never finite; one that is not may have overflowed.
    return (
        math.isfinite(values.sum())
        or not values.numel()
        or math.isfinite(torch.stack(torch.aminmax(values)).abs().max())
    )


def _checks(state: Mapping[str, torch.Tensor], groups: list[list[str]]) -> Iterator[Callable[[], bool]]:
    for group in groups:
        for (piece,) in pieces(gather(state, group), size=_PIECE):
            yield partial(is_finite, piece)
