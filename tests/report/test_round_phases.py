"""Where a round's time went (X10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.round_record import Contribution, ContributionStatus, RoundRecord, Verdict
from rt_flare.report.round_phases import PHASES, round_phases, site_times

Make = Callable[..., RoundRecord]
times = st.none() | st.floats() | st.floats(0, 100)


def _parts(record: RoundRecord) -> dict[str, float]:
    return {phase.name: round(phase.seconds, 3) for phase in round_phases(record)}


def test_a_round_is_waiting_training_aggregating_saving_and_the_rest(make_record: Make) -> None:
    """X10: training is the longest user code of the round."""
    record = make_record(0, ["a", "b"], changes={"b": {"work_seconds": 1.5}})
    assert _parts(record) == {"waiting": 0.5, "training": 1.5, "aggregating": 0.3, "saving": 0.1, "other": 0.1}
    assert list(_parts(record)) == [name for name in PHASES if name in _parts(record)]


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"collect_seconds": None, "aggregate_seconds": None, "save_seconds": None}, {"collecting": 2.5}),
        ({"aggregate_seconds": None, "save_seconds": None}, {"waiting": 1.2, "training": 0.8, "other": 0.5}),
    ],
)
def test_what_a_record_does_not_tell_is_not_made_up(
    make_record: Make, fields: dict[str, None], parts: dict[str, float]
) -> None:
    """X10: older records, and those of NVFlare's own controllers."""
    assert _parts(make_record(0, ["a"], **fields)) == parts


def test_without_the_sites_own_times_waiting_and_training_stay_together(make_record: Make) -> None:
    """X10"""
    record = make_record(0, ["a"], changes={"a": {"work_seconds": None}})
    assert _parts(record)["collecting"] == 2.0


@given(st.floats(), times, times, times, st.lists(st.tuples(times, times), max_size=3))
def test_the_phases_add_up_to_the_round_whatever_the_record_says(
    seconds: float,
    collect: float | None,
    aggregate: float | None,
    save: float | None,
    sites: list[tuple[float | None, float | None]],
) -> None:
    """X10: NaN, infinity, negative times, a site whose clock is wrong."""
    contributions = [
        Contribution(site=str(number), status=ContributionStatus.ACCEPTED, seconds=arrived, work_seconds=work)
        for number, (arrived, work) in enumerate(sites)
    ]
    record = RoundRecord(
        round=0,
        verdict=Verdict.OK,
        started_at="",
        seconds=seconds,
        num_samples=0,
        collect_seconds=collect,
        aggregate_seconds=aggregate,
        save_seconds=save,
        contributions=contributions,
    )
    total = min(seconds, 1e9) if seconds > 0 and seconds < float("inf") else 0.0
    assert sum(phase.seconds for phase in round_phases(record)) == pytest.approx(total, abs=0.004)
    assert all(0 < phase.seconds <= max(total, 0) for phase in round_phases(record))
    for site in site_times(record, record.contributions, limit=2):
        assert min(site.travel_seconds, site.work_seconds or 0.0, site.idle_seconds) >= 0


def test_the_slowest_sites_come_first_and_silent_ones_before_them(make_record: Make) -> None:
    """X10, X7"""
    changes = {"b": {"seconds": 1.9}, "c": {"seconds": None, "status": ContributionStatus.MISSING}}
    record = make_record(0, ["a", "b", "c", "d"], changes=changes)
    found = site_times(record, record.contributions, limit=3)
    assert [site.site for site in found] == ["c", "b", "d"]
    assert (found[0].travel_seconds, found[0].work_seconds) == (2.0, None)
    assert (round(found[1].travel_seconds, 3), found[1].work_seconds, round(found[1].idle_seconds, 3)) == (
        1.1,
        0.8,
        0.1,
    )
