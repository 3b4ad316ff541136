"""From arriving contributions to a closed round (J10, X1, M5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rt_flare.core.round_builder import RoundBuilder
from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, Verdict

ACCEPTED, REJECTED, FAILED = ContributionStatus.ACCEPTED, ContributionStatus.REJECTED, ContributionStatus.FAILED


def accepted(site: str, num_samples: int, **metrics: float) -> Contribution:
    return Contribution(site=site, status=ACCEPTED, num_samples=num_samples, train_metrics=metrics)


def test_the_record_has_every_expected_site_in_order() -> None:
    """J10: with the silent ones as missing."""
    builder = RoundBuilder(4, ["c", "a", "b", "a"])
    builder.add(accepted("c", 3))
    builder.add(Contribution(site="a", status=REJECTED, reason="not_finite", num_samples=9))
    record = builder.close(1, missing="no answer within 60 s")
    assert [(c.site, c.status.value, c.reason) for c in record.contributions] == [
        ("a", "rejected", "not_finite"),
        ("b", "missing", "no answer within 60 s"),
        ("c", "accepted", None),
    ]
    assert (record.round, record.verdict, record.num_samples) == (4, Verdict.DEGRADED, 3)


def test_train_metrics_are_means_over_accepted_sites() -> None:
    """J10: weighted by samples; a rejected site's metrics do not count."""
    builder = RoundBuilder(0, "abc")
    builder.add(accepted("a", 1, loss=1.0))
    builder.add(accepted("b", 3, loss=2.0, acc=0.5))
    builder.add(Contribution(site="c", status=REJECTED, num_samples=100, train_metrics={"loss": 99.0}))
    assert builder.close(1).train_metrics == {"loss": 1.75, "acc": 0.5}


def test_metrics_of_the_received_model_are_weighted_by_the_validations_samples() -> None:
    """M5: of a rejected site too: it measured the model that all received."""
    builder = RoundBuilder(0, "abc")
    builder.add(Contribution(site="a", status=ACCEPTED, num_samples=5, received_model_metrics={"acc": 1.0}))
    measured = Contribution(site="b", status=REJECTED, num_samples=5, received_model_metrics={"acc": 0.0})
    builder.add(measured, validation_samples=15)
    builder.add(accepted("c", 100))
    assert builder.received_model_metrics() == {"acc": 0.25}


def test_without_a_validation_there_are_no_metrics_of_the_received_model() -> None:
    """M5"""
    builder = RoundBuilder(0, "a")
    builder.add(accepted("a", 5, loss=1.0))
    assert builder.received_model_metrics() is None


def test_the_first_contribution_of_a_site_counts() -> None:
    """X2: as at the gate, where the second one is a duplicate."""
    builder = RoundBuilder(0, "ab")
    builder.add(accepted("a", 3))
    builder.add(Contribution(site="a", status=REJECTED, reason="duplicate"))
    assert builder.contributions["a"].status is ACCEPTED
    assert (builder.num_accepted, builder.num_outstanding) == (1, 1)


def test_failures_are_kept_in_order_of_arrival() -> None:
    """J5: the first one is the root error."""
    builder = RoundBuilder(0, "ab")
    for site in ("b", "a"):
        failure = Failure(kind="exception", message=f"boom in {site}", site=site)
        builder.add(Contribution(site=site, status=FAILED, failure=failure))
    assert [failure.site for failure in builder.failures] == ["b", "a"]
    record = builder.close(1)
    assert record.verdict is Verdict.FAILED
    assert record.verdict_reasons[1:] == ["a failed: a: boom in a", "b failed: b: boom in b"]


def test_times_are_measured_from_the_rounds_start() -> None:
    """J10"""
    before = datetime.now(UTC)
    builder = RoundBuilder(0, "a")
    builder.add(accepted("a", 1).model_copy(update={"seconds": 99.0}))
    record = builder.close(1)
    seconds = record.contributions[0].seconds
    assert seconds is not None
    assert 0 <= seconds <= record.seconds < 5
    assert abs(datetime.fromisoformat(record.started_at) - before) < timedelta(seconds=5)


def test_the_end_of_collecting_is_recorded_where_it_was_noted() -> None:
    """X10: what a report draws as waiting and training; otherwise it is not known."""
    builder = RoundBuilder(0, "a")
    builder.add(accepted("a", 1))
    assert builder.close(1).collect_seconds is None
    builder.stop_collecting()
    record = builder.close(1)
    assert record.collect_seconds is not None
    assert 0 <= record.collect_seconds <= record.seconds


@pytest.mark.parametrize("change", [None, 0.25])
def test_the_weight_change_is_recorded(change: float | None) -> None:
    """X1"""
    assert RoundBuilder(0, "a").close(1, weight_change=change).weight_change == change
