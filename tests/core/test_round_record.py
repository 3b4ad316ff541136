"""The record of a round, and the means of metrics over sites (J10, X1)."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rt_flare.core.durable_io import to_strict_json
from rt_flare.core.round_record import Contribution, ContributionStatus, RoundRecord, Verdict, mean_metrics

finite = st.floats(-1e290, 1e290)
sites = st.lists(
    st.tuples(st.integers(0, 10**6), st.dictionaries(st.sampled_from(["loss", "acc", "f1"]), finite)), max_size=6
)


@given(sites)
def test_each_metric_is_the_weighted_mean_over_the_sites_that_report_it(
    drawn: list[tuple[int, dict[str, float]]],
) -> None:
    """J10: against exact fractions."""
    means = mean_metrics(drawn)
    for name in ("loss", "acc", "f1"):
        terms = [(num_samples, Fraction(values[name])) for num_samples, values in drawn if name in values]
        total = sum(num_samples for num_samples, _ in terms)
        if not total:
            assert name not in means
            continue
        exact = sum((num_samples * value for num_samples, value in terms), Fraction(0)) / total
        magnitude = sum((num_samples * abs(value) for num_samples, value in terms), Fraction(0)) / total
        assert abs(Fraction(means[name]) - exact) <= 4 * Fraction(2**-52) * magnitude + Fraction(5e-324)


@given(st.data(), sites)
def test_the_order_of_sites_changes_no_mean(data: st.DataObject, drawn: list[tuple[int, dict[str, float]]]) -> None:
    """X3"""
    assert mean_metrics(drawn) == mean_metrics(data.draw(st.permutations(drawn)))


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([math.nan, 1.0], math.nan),
        ([math.inf, 1.0], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([1.7e308, 1.7e308], math.inf),
    ],
)
def test_what_is_not_finite_is_shown(values: list[float], mean: float) -> None:
    """J10: never hidden, never an error."""
    assert repr(mean_metrics([(2, {"loss": value}) for value in values])) == repr({"loss": mean})


def test_sites_without_samples_carry_no_weight() -> None:
    """J10"""
    assert mean_metrics([(0, {"loss": math.nan}), (5, {"loss": 2.0})]) == {"loss": 2.0}
    assert mean_metrics([(0, {"loss": 1.0})]) == mean_metrics([]) == {}


def test_a_record_as_json_has_plain_values_only() -> None:
    """J10: names instead of enumerations."""
    contribution = Contribution(site="a", status=ContributionStatus.MISSING, seconds=math.nan)
    record = RoundRecord(
        round=0, verdict=Verdict.FAILED, started_at="now", seconds=1.0, num_samples=0, contributions=[contribution]
    )
    document = to_strict_json(record.to_json())
    assert (document["verdict"], document["contributions"][0]["status"]) == ("FAILED", "missing")
    assert type(document["verdict"]) is str
    assert document["contributions"][0]["seconds"] == "NaN"
    assert record.accepted == []


def test_records_cannot_be_changed_and_hold_no_unknown_field() -> None:
    """J10"""
    contribution = Contribution(site="a", status=ContributionStatus.ACCEPTED)
    with pytest.raises(ValidationError):
        contribution.site = "b"
    with pytest.raises(ValidationError):
        Contribution.model_validate({"site": "a", "status": "accepted", "color": "red"})
    with pytest.raises(ValidationError):
        Contribution.model_validate({"site": "a", "status": "lost"})
