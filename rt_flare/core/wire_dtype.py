"""Updates that travel as differences to the model that they started from, in half the bytes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from rt_flare.core.pieces import pieces
from rt_flare.core.state_dict import StateDict
from rt_flare.errors import StateDictError

__all__ = ["BFLOAT16", "MAX_RELATIVE_ERROR", "WIRE_DTYPES", "from_difference", "is_rounded", "to_difference"]

BFLOAT16 = "bfloat16"
WIRE_DTYPES = ("", BFLOAT16)
"""What a job may name: "" sends weights as they are."""

MAX_RELATIVE_ERROR = 2.0**-8
"""bfloat16 keeps 8 significant bits: rounding to the nearest changes a normal number by less than this share of it."""


def is_rounded(dtype: torch.dtype) -> bool:
    """Whether entries of ``dtype`` travel as differences; narrower floats, integers and bools travel as they are."""
    return dtype in (torch.float32, torch.float64)


def to_difference(new: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor]) -> tuple[StateDict, float]:
    """Return ``new - base`` with every float32 and float64 entry in bfloat16, the others as they are in ``new``.

    Args:
        new: contiguous CPU tensors.
        base: the same names and shapes.

    Returns:
        The difference, and the largest relative error ``|sent - exact| / |exact|`` of one of its rounded elements: less
        than `MAX_RELATIVE_ERROR`, unless a difference is below 2**-126, the least normal number of both dtypes.

    Raises:
        StateDictError: an entry of ``new`` has no counterpart of its shape and dtype in ``base``.
    """
    difference: StateDict = {}
    largest = 0.0
    for name, tensor in new.items():
        before = base.get(name)
        if before is None or before.shape != tensor.shape or before.dtype != tensor.dtype:
            raise StateDictError(f"{name}: the received model has none of this shape and dtype to differ from")
        if not is_rounded(tensor.dtype):
            difference[name] = tensor
            continue
        difference[name] = sent = torch.empty(tensor.shape, dtype=torch.bfloat16)
        for after, start, out in pieces(tensor, before, sent):
            exact = after - start
            out.copy_(exact)
            error = (out.to(exact.dtype) - exact).div_(exact).nan_to_num_(0.0, 0.0, 0.0).abs_()
            largest = max(largest, float(error.max()))
    return difference, largest


def from_difference(difference: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor]) -> StateDict:
    """Return ``base + difference`` in the dtypes of ``base``, as `to_difference` splits them.

    Raises:
        StateDictError: an entry has no counterpart of its shape in ``base``, or is not in the dtype that it travels in.
    """
    state: StateDict = {}
    for name, sent in difference.items():
        before = base.get(name)
        if before is None or before.shape != sent.shape:
            raise StateDictError(f"{name}: not in the global model with this shape, so its difference means nothing")
        if not is_rounded(before.dtype):
            state[name] = sent
            continue
        if sent.dtype != torch.bfloat16:
            raise StateDictError(f"{name}: a difference in {sent.dtype}, expected torch.bfloat16")
        state[name] = after = torch.empty(before.shape, dtype=before.dtype)
        for out, start, change in pieces(after, before, sent):
            torch.add(start, change.to(start.dtype), out=out)
    return state
