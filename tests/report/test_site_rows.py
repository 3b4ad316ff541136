"""Sites over the whole job (X10, X7)."""

from __future__ import annotations

from collections.abc import Callable

from rt_flare.core.round_record import ContributionStatus, Failure, RoundRecord
from rt_flare.report.site_rows import StatusRun, tally_sites

Make = Callable[..., RoundRecord]


def test_a_site_has_its_counts_samples_times_and_last_problem(make_record: Make) -> None:
    """X7, X10: troubled sites come first."""
    failure = Failure(kind="exception", message="boom", site="b", round=2)
    refused = {"b": {"status": ContributionStatus.REJECTED, "reason": "not_finite", "num_samples": None}}
    failed = {"b": {"status": ContributionStatus.FAILED, "failure": failure, "num_samples": None}}
    records = [make_record(n, ["a", "b"], changes=c) for n, c in enumerate([{}, refused, failed, {}])]
    records = [r.model_copy(update={"num_samples": sum(c.num_samples or 0 for c in r.accepted)}) for r in records]
    b, a = tally_sites(records).site_rows()
    assert (a.site, a.counts["accepted"], a.problem) == ("a", 4, "")
    assert b.counts == {"accepted": 2, "rejected": 1, "failed": 1, "missing": 0}
    assert (b.last_samples, b.total_samples, b.num_rounds) == (100, 200, 4)
    assert b.problem == "b, round 2: boom"
    assert round(a.share + b.share, 9) == 1.0
    assert a.runs == (StatusRun("accepted", 0, 4),)
    assert [run.status for run in b.runs] == ["accepted", "rejected", "failed", "accepted"]


def test_a_site_that_came_late_or_left_is_counted_where_it_was_expected(make_record: Make) -> None:
    """X10"""
    records = [make_record(0, ["a"]), make_record(1, ["a", "b"]), make_record(2, ["a"]), make_record(3, ["a", "b"])]
    b = next(row for row in tally_sites(records).site_rows() if row.site == "b")
    assert b.num_rounds == 2
    assert b.runs == (StatusRun("accepted", 1, 1), StatusRun("accepted", 3, 1))


def test_a_warning_is_told_once_with_its_sites(make_record: Make) -> None:
    """X10"""
    odd = {site: {"warnings": ["few samples"]} for site in "ab"}
    rows = tally_sites([make_record(0, list("ab")), make_record(1, list("ab"), changes=odd)]).warning_rows()
    assert [(row.text, row.count, row.sites, row.first_round) for row in rows] == [("few samples", 2, ("a", "b"), 1)]
    assert tally_sites([]).warning_rows() == []
