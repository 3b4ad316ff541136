"""Which values of which site are drawn (X10, M5)."""

from __future__ import annotations

from collections.abc import Callable

from rt_flare.core.round_record import RoundRecord
from rt_flare.report.metric_series import MAX_LINES, MAX_POINTS, metric_names, metric_series

Make = Callable[..., RoundRecord]


def test_local_and_global_models_are_kept_apart(make_record: Make) -> None:
    """M5: what a site measured on a received model belongs to the model of the round before."""
    records = [
        make_record(
            number, ["a"], {}, {"a": {"train_metrics": {"acc": local}, "received_model_metrics": {"acc": seen}}}
        )
        for number, local, seen in ((0, 0.5, 0.1), (1, 0.7, 0.4))
    ]
    records = [record.model_copy(update={"train_metrics": {"acc": 0.6}}) for record in records]
    records[0] = records[0].model_copy(update={"global_metrics": {"acc": 0.45}})
    local = metric_series(records, "acc", of_global_model=False)
    seen = metric_series(records, "acc", of_global_model=True)
    assert local is not None
    assert seen is not None
    assert (local.rounds, local.lines[0].values, local.mean) == ((0, 1), (0.5, 0.7), (0.6, 0.6))
    assert (seen.rounds, seen.lines[0].values, seen.mean) == ((-1, 0), (0.1, 0.4), (None, 0.45))


def test_after_a_resume_the_model_before_is_that_of_the_last_recorded_round(make_record: Make) -> None:
    """M5, X8"""
    series = metric_series([make_record(3, ["a"]), make_record(7, ["a"])], "loss", of_global_model=True)
    assert series is not None
    assert series.rounds == (-1, 3, 7)


def test_a_site_that_gave_nothing_leaves_a_gap(make_record: Make) -> None:
    """X10"""
    records = [make_record(n, ["a", "b"], changes={"b": {"train_metrics": {}}} if n == 1 else {}) for n in range(3)]
    series = metric_series(records, "loss", of_global_model=False)
    assert series is not None
    assert [value is None for value in series.lines[1].values] == [False, True, False]


def test_of_many_sites_the_furthest_from_the_median_have_lines_and_the_range_holds_all(make_record: Make) -> None:
    """X10: 10,000 sites would be a blot."""
    sites = [f"s{number:03}" for number in range(200)]
    odd = {"s007": {"train_metrics": {"loss": 9.0}}, "s100": {"train_metrics": {"loss": float("nan")}}}
    series = metric_series([make_record(0, sites, {"loss": 1.0}, odd)], "loss", of_global_model=False)
    assert series is not None
    assert (series.low, series.median, series.high, series.num_sites) == ((1.0,), (1.0,), (9.0,), 200)
    assert len(series.lines) == MAX_LINES
    assert {"s007", "s100"} <= {line.site for line in series.lines}


def test_of_very_many_rounds_every_nth_is_drawn_and_the_last(make_record: Make) -> None:
    """X10"""
    records = [make_record(number, ["a"]) for number in range(2_500)]
    series = metric_series(records, "loss", of_global_model=False)
    assert series is not None
    assert len(series.rounds) <= MAX_POINTS + 1
    assert (series.rounds[0], series.rounds[-1]) == (0, 2_499)


def test_loss_and_accuracy_come_first(make_record: Make) -> None:
    """X10: then the alphabet; a metric that only one site reports counts."""
    extra = {"a": {"train_metrics": {"zeta": 1.0}, "received_model_metrics": {"alpha": 1.0}}}
    assert metric_names([make_record(0, ["a"], None, extra)]) == ["loss", "accuracy", "alpha", "zeta"]
    assert metric_series([make_record(0, ["a"])], "f1", of_global_model=False) is None
