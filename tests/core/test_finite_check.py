"""No value that is not finite passes, and no other is taken for one (X2)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.finite_check import first_not_finite, is_finite

FLOATS_8 = tuple(
    dtype for name, dtype in vars(torch).items() if name.startswith("float8") and isinstance(dtype, torch.dtype)
)
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = (*REAL, torch.complex32, torch.complex64, torch.complex128)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float8_e4m3fn, torch.float8_e5m2])
def test_nan_is_found_in_every_dtype(dtype: torch.dtype) -> None:
    """X2"""
    assert is_finite(torch.tensor([1.0, 0.0]).to(dtype))
    assert not is_finite(torch.tensor([1.0, float("nan")]).to(dtype))


@pytest.mark.parametrize("dtype", FLOATS_8)
def test_every_8_bit_float_is_looked_at(dtype: torch.dtype) -> None:
    """X2"""
    assert is_finite(torch.ones(3).to(dtype))


def test_exact_and_empty_tensors_are_finite() -> None:
    """X2"""
    assert is_finite(torch.tensor([2**62]))
    assert is_finite(torch.tensor([True]))
    assert is_finite(torch.empty(0))


@pytest.mark.parametrize("dtype", REAL)
def test_the_largest_numbers_are_finite(dtype: torch.dtype) -> None:
    """X2: their sum is not."""
    assert is_finite(torch.full((1000,), torch.finfo(dtype).max, dtype=dtype))


@given(values=st.lists(st.floats(width=32), max_size=8))
def test_it_is_what_every_value_says(values: list[float]) -> None:
    """X2: infinities of both signs side by side too."""
    assert is_finite(torch.tensor(values, dtype=torch.float32)) == all(map(math.isfinite, values))


@pytest.mark.parametrize("place", [0, 5_000_000, 9_999_999])
def test_one_value_among_millions_is_found_by_its_entry(place: int) -> None:
    """X2: in whichever piece it lies."""
    state = {"small": torch.ones(3), "count": torch.tensor(7), "large": torch.ones(10_000_000), "last": torch.ones(5)}
    assert first_not_finite(state) is None
    state["large"][place] = math.inf
    assert first_not_finite(state) == "large"


def test_a_small_entry_among_many_is_named() -> None:
    """X2: they are looked at together."""
    state = {f"bias.{number}": torch.ones(4) for number in range(50)}
    state["bias.37"][2] = math.nan
    assert first_not_finite(state) == "bias.37"
