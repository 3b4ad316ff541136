"""Large tensors in pieces (T2)."""

from __future__ import annotations

import pytest
import torch

from rt_flare.core.pieces import pieces


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (32_768,), (32_769,), (3, 40_000)])
def test_pieces_cover_the_tensors_and_are_views_of_them(shape: tuple[int, ...]) -> None:
    """T2: every element once; what is written to a piece is in the tensor."""
    left, right = torch.zeros(shape), torch.ones(shape)
    for to, source in pieces(left, right):
        assert to.numel() <= 32_768
        to.add_(source)
    assert torch.equal(left, right)


def test_tensors_of_different_sizes_are_an_error() -> None:
    """T2"""
    with pytest.raises(ValueError, match="argument 2 is"):
        list(pieces(torch.ones(100_000), torch.ones(10)))
