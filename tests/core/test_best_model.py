"""Which round's model is the best, and when to stop waiting for a better one (X4)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.best_model import BestModel


def follow(metric: str, values: list[float], patience: int = 0) -> BestModel:
    best = BestModel(metric, patience)
    for round_number, value in enumerate(values):
        best.is_better(round_number, {"acc": value, "loss": value})
    return best


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_it_is_the_first_round_with_the_highest_value(values: list[float]) -> None:
    """X4"""
    best = follow("acc", values)
    assert (best.round, best.value) == (values.index(max(values)), max(values))


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_a_minus_sign_asks_for_the_lowest_value(values: list[float]) -> None:
    """X4"""
    best = follow("-loss", values)
    assert (best.round, best.value) == (values.index(min(values)), min(values))


@pytest.mark.parametrize("metric", ["acc", "-acc"])
def test_nan_and_missing_metrics_are_never_better(metric: str) -> None:
    """X4"""
    best = BestModel(metric)
    assert not best.is_better(0, {"acc": math.nan})
    assert not best.is_better(1, {})
    assert best.round is None
    assert best.is_better(2, {"acc": -math.inf})
    assert not best.is_better(3, {"acc": math.nan})
    assert best.round == 2


def test_no_metric_follows_nothing() -> None:
    """X4"""
    best = BestModel("", patience=1)
    assert not best.is_better(0, {"acc": 1.0})
    assert not best.out_of_patience


@pytest.mark.parametrize(
    ("values", "patience", "out"),
    [
        ([0.5, 0.5, 0.4], 2, True),
        ([0.5, 0.4, 0.6, 0.5], 2, False),
        ([math.nan, math.nan], 2, True),
        ([0.5, 0.4, 0.3, 0.2], 0, False),
        ([0.5], 1, False),
    ],
)
def test_patience_ends_after_rounds_without_improvement(values: list[float], patience: int, out: bool) -> None:
    """X4"""
    assert follow("acc", values, patience).out_of_patience is out
