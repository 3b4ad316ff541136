"""Updates that travel as differences to the model that they started from, in half the bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from rt_flare.core.finite_check import first_not_finite
from rt_flare.core.pieces import pieces
from rt_flare.core.state_dict import StateDict, TensorSpec, largest_magnitude
from rt_flare.errors import StateDictError

__all__ = [
    "BFLOAT16",
    "MAX_RELATIVE_ERROR",
    "WIRE_DTYPES",
    "RestoredState",
    "is_rounded",
    "to_difference",
    "travel_specs",
]

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
            error = out.to(exact.dtype).sub_(exact).div_(exact)
            extremes = torch.stack(torch.aminmax(error))
            if bool(extremes.isnan().any()):  # where nothing changed, 0 / 0
                extremes = torch.stack(torch.aminmax(error.nan_to_num_(0.0, 0.0, 0.0)))
            largest = max(largest, float(extremes.abs().max()))
    return difference, largest


def travel_specs(specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Return what the entries of a model described by ``specs`` are as a difference."""
    return {
        name: TensorSpec(spec.shape, torch.bfloat16) if is_rounded(spec.dtype) else spec for name, spec in specs.items()
    }


class RestoredState(Mapping[str, torch.Tensor]):
    """``base + difference`` in the dtypes of ``base``, as `to_difference` splits them.

    An entry is made when it is asked for, and not kept: a whole update needs no more memory than its difference. Who
    goes through all of them takes `parts`, whose sums never leave the processor's cache.

    Attributes:
        nbytes: memory of the difference.

    Args:
        difference: contiguous CPU tensors; not changed.
        base: the model that they differ from; not to be changed as long as this is used.

    Raises:
        StateDictError: an entry has no counterpart of its shape in ``base``, or is not in the dtype that it travels in.
    """

    def __init__(self, difference: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor]) -> None:
        for name, sent in difference.items():
            before = base.get(name)
            if before is None or before.shape != sent.shape:
                raise StateDictError(f"{name}: not in the global model with this shape, so its difference is no weight")
            if is_rounded(before.dtype) and sent.dtype != torch.bfloat16:
                raise StateDictError(f"{name}: a difference in {sent.dtype}, expected torch.bfloat16")
        self._difference = difference
        self._base = base
        self.nbytes = sum(sent.nbytes for sent in difference.values())

    def __getitem__(self, name: str) -> torch.Tensor:
        sent, before = self._difference[name], self._base[name]
        if not is_rounded(before.dtype):
            return sent
        restored = torch.empty_like(before)
        for (out,), (start, change) in zip(pieces(restored), self.parts(name), strict=True):
            torch.add(start, change, out=out)
        return restored

    def specs(self) -> dict[str, TensorSpec]:
        """Shape and dtype of every restored entry."""
        return {name: TensorSpec(tuple(sent.shape), self._base[name].dtype) for name, sent in self._difference.items()}

    def parts(self, name: str, **size: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """The restored entry in flat pieces, as `core.pieces.pieces` cuts: each is the sum of what is given for it."""
        sent, before = self._difference[name], self._base[name]
        return pieces(before, sent, **size) if is_rounded(before.dtype) else pieces(sent, **size)

    def __iter__(self) -> Iterator[str]:
        return iter(self._difference)

    def __len__(self) -> int:
        return len(self._difference)

    def not_finite(self, base_magnitudes: Mapping[str, float]) -> str | None:
        """Return the name of an entry that holds NaN or infinite values; None if there is none.

        Args:
            base_magnitudes: `largest_magnitude` of the entries of ``base`` that travel rounded.
        """
        for name, sent in self._difference.items():
            dtype = self._base[name].dtype
            if not is_rounded(dtype):
                finite = first_not_finite({name: sent}) is None
            else:
                # Below half of the largest number, the sum cannot leave the dtype; else it is looked at.
                magnitude = largest_magnitude(sent)
                small = max(magnitude, base_magnitudes[name]) <= torch.finfo(dtype).max / 2
                finite = small or (math.isfinite(magnitude) and first_not_finite({name: self[name]}) is None)
            if not finite:
                return name
        return None
