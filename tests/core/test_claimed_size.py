"""Which tensors stand for more than there is of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nested import nested_tensor
from torch.nn.parameter import UninitializedParameter

from rt_flare.core.claimed_size import claims_more_than_it_holds

BASE = torch.arange(12.0).view(3, 4)


@pytest.mark.parametrize(
    "value",
    [
        BASE,
        BASE.t(),
        BASE[:, ::2],
        BASE[1:, 1:],
        torch.tensor(1.0),
        torch.zeros(0, 10**12),
        torch.ones(1).expand(1, 1),
        torch.ones(3, 4, device="meta"),
        BASE.to_sparse(),
        UninitializedParameter(),
        np.ones((3, 4))[::-1, ::2],
        np.ones(()),
        np.ones((0, 5)),
        "text",
        None,
    ],
)
def test_what_holds_its_elements_is_fine(value: Any) -> None:
    """X2: views, other orders and empty ones too; what is no dense tensor is for others to refuse."""
    assert not claims_more_than_it_holds(value)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_nested_tensor_is_for_others_to_refuse() -> None:
    """X2"""
    assert not claims_more_than_it_holds(nested_tensor([torch.ones(1), torch.ones(2)]))


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(1).expand(2),
        torch.ones(1).expand(10**6, 10**6),
        torch.ones(3, 1).expand(3, 4),
        torch.ones(17).as_strided((9, 9), (1, 1)),
        torch.empty(1, device="meta").expand(10**9),
        np.broadcast_to(np.ones(1), (10**6, 10**6)),
        np.lib.stride_tricks.as_strided(np.ones(17), (9, 9), (8, 8)),
    ],
)
def test_repeated_elements_are_a_claim(value: Any) -> None:
    """X2: whatever the strides."""
    assert claims_more_than_it_holds(value)
