"""The rule for a number of samples (M11)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.sample_count import MAX_SAMPLES, sample_count_problem


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@given(st.integers(1, MAX_SAMPLES))
def test_positive_integers_are_counts(value: int) -> None:
    """M11"""
    assert sample_count_problem(value) is None


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8, np.uint64])
def test_numpy_integers_are_counts(dtype: type[np.integer[Any]]) -> None:
    """M11"""
    assert sample_count_problem(dtype(7)) is None


@given(
    st.one_of(
        st.integers(max_value=0),
        st.integers(min_value=MAX_SAMPLES + 1),
        st.floats(),
        st.text(),
        st.none(),
        st.booleans(),
        st.binary(),
        st.lists(st.integers()),
        st.fractions(),
        st.complex_numbers(),
    )
)
def test_everything_else_is_refused_with_a_name_and_advice(value: Any) -> None:
    """M11"""
    problem = sample_count_problem(value)
    assert problem is not None
    reason, message = problem
    assert reason.startswith("samples_")
    for part in ("samples: found ", "expected an int from 1 to 2**53", "return the number of samples"):
        assert part in message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.float32("nan"), "samples_nan"),
        (np.float64(4), "samples_not_an_integer"),
        (np.bool_(True), "samples_bool"),
        (np.int64(0), "samples_zero"),
        (Decimal(4), "samples_not_a_number"),
        (torch.tensor(4), "samples_not_a_number"),
        (np.array(4), "samples_not_a_number"),
        (Unprintable(), "samples_not_a_number"),
    ],
)
def test_odd_values_have_their_own_names(value: Any, reason: str) -> None:
    """M11: also those that Python cannot print."""
    problem = sample_count_problem(value)
    assert problem is not None
    assert problem[0] == reason
    assert len(problem[1]) < 300


@pytest.mark.parametrize(("sign", "reason"), [(1, "samples_too_large"), (-1, "samples_negative")])
def test_integers_beyond_printing_are_refused(sign: int, reason: str) -> None:
    """M11: Python raises on printing integers of thousands of digits."""
    assert (sample_count_problem(sign * 10**5000) or ("", ""))[0] == reason


def test_the_message_shows_what_was_found() -> None:
    """M11"""
    assert "found '3'," in (sample_count_problem("3") or ("", ""))[1]
    assert "found none," in (sample_count_problem(None) or ("", ""))[1]
    assert "found an int of 16610 bits," in (sample_count_problem(10**5000) or ("", ""))[1]
