"""The vertical axis (X10)."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.report.scale import scale_for


@given(st.lists(st.floats(), max_size=20), st.booleans())
def test_every_finite_value_has_its_place_between_round_numbers(values: list[float], from_zero: bool) -> None:
    """X10: whatever a site may send."""
    scale = scale_for(values, from_zero=from_zero)
    assert -math.inf < scale.low < scale.high < math.inf
    assert 2 <= len(scale.ticks) <= 12
    assert all(a < b for a, b in pairwise(scale.ticks))
    shares = [scale.share(value) for value in sorted(v for v in values if math.isfinite(v))]
    assert all(0 <= share <= 1 for share in shares)
    assert all(a <= b for a, b in pairwise(shares))
    if from_zero:
        assert scale.low <= 0


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], (0.0, 0.25, 0.5, 0.75, 1.0)),
        ([3.0, 97.0], (0.0, 25.0, 50.0, 75.0, 100.0)),
        ([], (0.0, 0.25, 0.5, 0.75, 1.0)),
    ],
)
def test_ticks_are_numbers_that_people_use(values: list[float], ticks: tuple[float, ...]) -> None:
    """X10"""
    assert scale_for(values).ticks == ticks


def test_a_constant_stands_in_the_middle() -> None:
    """X10"""
    assert 0.2 < scale_for([5.0, 5.0]).share(5.0) < 0.8
