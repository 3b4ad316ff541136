"""What a tensor's shape stands for, against what there is of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

__all__ = ["claims_more_than_it_holds"]


def claims_more_than_it_holds(value: Any) -> bool:
    """Whether a tensor's or array's shape stands for more bytes than there are, as views with repeated elements do.

    Its copy would take what its shape says, which can be any number.
    """
    if isinstance(value, torch.Tensor):
        # Contiguous ones, the usual case, hold what they claim; other layouts are refused as what they are.
        if is_lazy(value) or value.layout is not torch.strided or value.is_nested or value.is_contiguous():
            return False
        strides, unit = value.stride(), 1
    elif isinstance(value, np.ndarray):
        strides, unit = value.strides, value.itemsize
    else:
        return False
    count = math.prod(value.shape)
    span = sum((size - 1) * abs(stride) for size, stride in zip(value.shape, strides, strict=True)) + unit
    return bool(count > 0 and span < count * unit)
