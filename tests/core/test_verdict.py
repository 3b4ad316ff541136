"""The verdict on a round, and the change of the global model (X1)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, Verdict
from rt_flare.core.verdict import judge, weight_change

statuses = st.lists(st.sampled_from(ContributionStatus), min_size=1, max_size=8)


def contributions(found: list[ContributionStatus]) -> list[Contribution]:
    return [Contribution(site=f"site-{number}", status=status) for number, status in enumerate(found)]


@given(statuses, st.integers(-1, 9))
def test_the_verdict_follows_expected_and_accepted_sites(found: list[ContributionStatus], min_clients: int) -> None:
    """X1"""
    verdict, reasons = judge(contributions(found), min_clients)
    num_accepted = found.count(ContributionStatus.ACCEPTED)
    if num_accepted < max(min_clients, 1):
        assert verdict is Verdict.FAILED
        assert f"{num_accepted} of {len(found)} updates accepted, at least {max(min_clients, 1)} needed" == reasons[0]
    else:
        assert verdict is (Verdict.OK if num_accepted == len(found) else Verdict.DEGRADED)
    assert len(reasons) == len(found) - num_accepted + (verdict is Verdict.FAILED)


def test_a_round_without_an_accepted_update_fails_whatever_the_minimum() -> None:
    """X1: the last good model stays."""
    assert judge(contributions([ContributionStatus.MISSING]), 0)[0] is Verdict.FAILED
    assert judge([], 0)[0] is Verdict.FAILED


def test_each_site_that_was_not_accepted_has_its_reason() -> None:
    """X1"""
    failure = Failure(kind="exception", message="boom", site="b", file="model_def.py", line=3)
    found = [
        Contribution(site="a", status=ContributionStatus.REJECTED, reason="NaN in w"),
        Contribution(site="b", status=ContributionStatus.FAILED, failure=failure),
        Contribution(site="c", status=ContributionStatus.MISSING),
        Contribution(site="d", status=ContributionStatus.ACCEPTED),
    ]
    assert judge(found, 1)[1] == [
        "a rejected: NaN in w",
        "b failed: b: boom (model_def.py:3)",
        "c missing: no reason given",
    ]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=6))
def test_the_change_is_relative_in_the_l2_norm(pairs: list[tuple[float, float]]) -> None:
    """X1: over all floating-point entries, against numpy."""
    old, new = (np.array([pair[index] for pair in pairs]) for index in (0, 1))
    states = [{"a": torch.tensor(values[:1]), "b": torch.tensor(values[1:])} for values in (old, new)]
    found = weight_change(*states)
    norm, change = float(np.linalg.norm(old)), float(np.linalg.norm(new - old))
    if norm == 0:
        assert found == (math.inf if change else 0.0)
    elif norm > 1e-100 and (change > 1e-100 or change == 0):
        assert found == pytest.approx(change / norm, rel=1e-9)


def test_counters_do_not_count_as_change() -> None:
    """X1: and half precision does not overflow."""
    old = {"w": torch.full((10,), 60000.0).half(), "steps": torch.tensor(1)}
    new = {"w": torch.full((10,), 60000.0).half(), "steps": torch.tensor(10**9)}
    assert weight_change(old, new) == 0.0


def test_without_an_old_or_a_new_model_there_is_no_change() -> None:
    """X1, M8"""
    state = {"w": torch.ones(2)}
    assert weight_change({}, state) is None
    assert weight_change(state, {}) is None
