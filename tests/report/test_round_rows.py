"""Rounds as rows (X1, X10)."""

from __future__ import annotations

from collections.abc import Callable

from rt_flare.core.round_record import RoundRecord, Verdict
from rt_flare.report.round_rows import MAX_DETAILS, round_details, round_rows, verdict_rows

Make = Callable[..., RoundRecord]


def test_every_round_has_a_row_and_those_not_ok_their_reasons(make_record: Make) -> None:
    """X1: the first reasons, and how many there are more."""
    bad = make_record(1, ["a"], verdict=Verdict.FAILED, verdict_reasons=[f"r{n}" for n in range(10)])
    records = [make_record(0, ["a"]), bad]
    assert [row.num_accepted for row in round_rows(records)] == [1, 1]
    (row,) = verdict_rows(records)
    assert (row.record.round, row.reasons[0], len(row.reasons), row.num_more) == (1, "r0", 8, 2)


def test_of_many_rounds_the_troubled_and_the_slow_have_details(make_record: Make) -> None:
    """X10: at most half for the troubled; in the order of the rounds."""
    records = [
        make_record(n, ["a"], seconds=2.5 + n / 100, verdict=Verdict.DEGRADED if n < 40 else Verdict.OK)
        for n in range(200)
    ]
    numbers = [detail.record.round for detail in round_details(records)]
    assert len(numbers) == MAX_DETAILS
    assert numbers == [*range(25, 40), *range(185, 200)]


def test_of_many_sites_the_slowest_are_named(make_record: Make) -> None:
    """X10"""
    (detail,) = round_details([make_record(0, [f"s{n}" for n in range(100)])])
    assert (len(detail.sites), detail.num_more) == (12, 88)
    assert round_details([make_record(0, [])]) == []
