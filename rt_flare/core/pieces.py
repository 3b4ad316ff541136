"""Large tensors in pieces that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch

__all__ = ["pieces"]

_PIECE = 1 << 15
"""torch starts no threads for so few values: with other busy processes around, threads that wait for one another take
longer than one alone, and memory, not arithmetic, is what limits all that is done here."""


def pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Go through contiguous tensors of one shape together: flat views of at most 32,768 values."""
    return zip(*(torch.split(tensor.reshape(-1), _PIECE) for tensor in tensors), strict=True)
