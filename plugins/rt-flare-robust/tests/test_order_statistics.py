"""The arithmetic, against exact fractions (P4)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare_robust.order_statistics import lower_median, median, num_trimmed, trimmed_mean

SINGLE = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9)
DOUBLE = st.lists(st.floats(-1e300, 1e300, allow_nan=False), min_size=1, max_size=9)


def sorted_column(values: list[float], dtype: type[np.floating]) -> npt.NDArray[np.floating]:
    return np.sort(np.array(values, dtype)[:, None], axis=0)


@given(values=SINGLE)
def test_the_median_of_single_precision_is_right_to_the_last_bit(values: list[float]) -> None:
    """P4: rounded once, to double precision."""
    column = sorted_column(values, np.float32)
    low, high = column[(len(values) - 1) // 2, 0], column[len(values) // 2, 0]
    assert median(column)[0] == float((Fraction(float(low)) + Fraction(float(high))) / 2)


@given(values=DOUBLE)
def test_the_median_of_double_precision_neither_overflows_nor_leaves_its_range(values: list[float]) -> None:
    """P4"""
    column = sorted_column(values, np.float64)
    low, high = column[(len(values) - 1) // 2, 0], column[len(values) // 2, 0]
    result = median(column)[0]
    assert low <= result <= high
    assert math.isclose(
        result, float((Fraction(float(low)) + Fraction(float(high))) / 2), rel_tol=1e-15, abs_tol=1e-320
    )


@given(values=SINGLE, fraction=st.floats(0.01, 0.49))
def test_the_trimmed_mean_is_the_mean_of_what_is_kept(values: list[float], fraction: float) -> None:
    """P4"""
    column = sorted_column(values, np.float32)
    trimmed = num_trimmed(len(values), fraction)
    kept = [Fraction(float(value)) for value in column[trimmed : len(values) - trimmed, 0]]
    exact = sum(kept, Fraction(0)) / len(kept)
    bound = len(kept) * np.finfo(np.float64).eps * float(max(abs(value) for value in kept))
    assert abs(Fraction(float(trimmed_mean(column, fraction)[0])) - exact) <= Fraction(bound)


@given(value=st.floats(allow_nan=False, allow_infinity=False), num_sites=st.integers(1, 9))
def test_values_that_agree_are_the_result(value: float, num_sites: int) -> None:
    """P4: bit for bit, the sign of a zero included."""
    column = sorted_column([value] * num_sites, np.float64)
    assert median(column).tobytes() == trimmed_mean(column, 0.2).tobytes() == column[0].tobytes()


def test_a_mean_that_overflows_is_not_finite() -> None:
    """P4: it is refused further up, not cut off."""
    column = sorted_column([-1.7e308, 1.5e308, 1.6e308, 1.7e308], np.float64)
    wide = np.concatenate([column, column[-1:]])
    assert not np.isfinite(trimmed_mean(np.vstack([wide[:1], wide]), 0.01)).all()


@pytest.mark.parametrize(
    ("num_sites", "fraction", "expected"),
    [(4, 0.25, 1), (4, 0.1, 1), (30, 0.1, 3), (10, 0.2, 2), (1, 0.4, 0), (2, 0.4, 0), (3, 0.4, 1), (5, 0.49, 2)],
)
def test_the_fraction_is_rounded_up_and_leaves_one_or_two(num_sites: int, fraction: float, expected: int) -> None:
    """P4: 0.1 of 30 is 3, though 0.1 * 30 is more in binary."""
    assert num_trimmed(num_sites, fraction) == expected


@given(num_sites=st.integers(1, 1000), fraction=st.floats(0.001, 0.499))
def test_at_least_the_fraction_is_dropped_where_it_can_be(num_sites: int, fraction: float) -> None:
    """P4"""
    trimmed = num_trimmed(num_sites, fraction)
    assert trimmed >= min(Fraction(str(fraction)) * num_sites, Fraction((num_sites - 1) // 2))
    assert num_sites - 2 * trimmed >= 1


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int64, np.uint16])
def test_integers_take_a_value_that_is_there(dtype: type[np.generic]) -> None:
    """P4: the lower of two middle ones."""
    values = np.sort(np.array([[1, 0], [0, 1], [1, 1], [0, 0]]).astype(dtype), axis=0)
    assert lower_median(values).tolist() == [0, 0]
