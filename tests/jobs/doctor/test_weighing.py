"""The first cause wins: not the last, not what followed from it, not what was survived."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from rt_flare.jobs.doctor import load_failure_table
from rt_flare.jobs.doctor.evidence import Evidence, Weight
from rt_flare.jobs.doctor.weighing import Weighed, weigh

TABLE = load_failure_table()


def trace(
    message: str,
    time: float | None,
    *,
    site: str | None = None,
    weight: Weight = Weight.CAUSE,
    row: str | None = None,
    round_number: int | None = None,
) -> Evidence:
    return Evidence(
        process=site or "server",
        site=site,
        time=time,
        stamp=str(time),
        weight=weight,
        row=TABLE.row(row) if row else None,
        message=message,
        round=round_number,
    )


def ordered(
    *traces: Evidence,
    offsets: Mapping[str, float] | None = None,
    one_clock: bool = True,
    finished: bool = False,
    failed_round: int | None = None,
) -> list[Weighed]:
    return weigh(
        [(t, 1) for t in traces],
        TABLE,
        offsets=offsets or {},
        one_clock=one_clock,
        finished=finished,
        failed_round=failed_round,
    )


def root(*traces: Evidence, **settings: object) -> str:
    return ordered(*traces, **settings)[0].trace.message  # type: ignore[arg-type]


def test_of_two_causes_the_earlier_one_is_the_root() -> None:
    """X6"""
    assert root(trace("late", 9, site="a"), trace("early", 3, site="b")) == "early"


def test_a_cause_goes_before_what_was_lost_because_of_it_even_if_that_was_logged_earlier() -> None:
    """X6: heartbeats, aborts, timeouts."""
    lost = trace("no heartbeat", 1, weight=Weight.FAILURE, row="heartbeat_timeout")
    assert root(lost, trace("killed", 5, site="a", row="process_killed")) == "killed"


def test_a_consequence_is_the_root_only_alone() -> None:
    """X6"""
    aborted = trace("aborted", 1, weight=Weight.CONSEQUENCE)
    assert root(aborted) == "aborted"
    assert root(aborted, trace("some error", 2, weight=Weight.LINE)) == "some error"


def test_what_happened_before_the_round_that_failed_was_survived() -> None:
    """X6: the job went on after it."""
    first, second = ordered(
        trace("out of memory", 1, site="a", round_number=1, row="out_of_memory"),
        trace("bad label", 9, site="b", round_number=4),
        failed_round=4,
    )
    assert (first.trace.message, first.survived) == ("bad label", False)
    assert (second.trace.message, second.survived) == ("out of memory", True)


def test_a_finished_job_survived_everything() -> None:
    """X6"""
    assert all(weighed.survived for weighed in ordered(trace("x", 1), finished=True))


def test_a_site_whose_clock_is_wrong_is_put_in_order_by_its_tasks() -> None:
    """X6: an hour ahead, as in another zone."""
    ahead, right = trace("first", 3600 + 3, site="a"), trace("second", 9, site="b")
    assert root(ahead, right, offsets={"server": 0.0, "a": -3600.0, "b": 0.0}, one_clock=False) == "first"


def test_within_the_tolerance_of_clocks_that_cannot_be_compared_the_earlier_round_goes_first() -> None:
    """X6: five seconds; then a site before the server."""
    late, early = trace("round 1", 12, site="a", round_number=1), trace("round 2", 9, site="b", round_number=2)
    assert root(late, early, one_clock=False) == "round 1"
    assert root(late, early, one_clock=True) == "round 2"
    assert root(trace("server", 9), trace("site", 13, site="a"), one_clock=False) == "site"
    assert root(trace("server", 9), trace("site", 15, site="a"), one_clock=False) == "server"


def test_the_same_failure_in_three_places_is_one_finding() -> None:
    """X6: the site's log, the server's log, the round summary."""
    (weighed,) = ordered(
        trace("ValueError: bad", 5.0, site="a", round_number=1),
        trace("ValueError: bad", 5.1, site="a", round_number=1),
        trace("ValueError:  bad", None, site="a"),
    )
    assert (weighed.trace.time, weighed.trace.round) == (5.0, 1)


def test_a_missing_import_is_the_servers_alone_unless_a_site_has_it_too() -> None:
    """J12"""
    at_server = trace("No module named 'x'", 1, row="import_missing")
    at_site = trace("No module named 'x'", 2, site="a", row="import_missing")
    assert [w.trace.row.id for w in ordered(at_server) if w.trace.row] == ["import_missing_on_server"]
    assert {w.trace.row.id for w in ordered(at_server, at_site) if w.trace.row} == {"import_missing"}


TRACES = st.builds(
    trace,
    st.sampled_from(["x", "y", "z"]),
    st.none() | st.floats(0, 100),
    site=st.sampled_from([None, "a", "b"]),
    weight=st.sampled_from(list(Weight)),
    row=st.sampled_from([None, "out_of_memory", "import_missing"]),
    round_number=st.none() | st.integers(0, 3),
)


@given(st.lists(TRACES, max_size=12), st.booleans(), st.none() | st.integers(0, 3))
def test_the_root_is_never_lighter_than_another_failure(
    traces: list[Evidence], one_clock: bool, failed_round: int | None
) -> None:
    """X6: and nothing is lost or told twice, whatever was found."""
    weighed = ordered(*traces, one_clock=one_clock, failed_round=failed_round)
    assert bool(weighed) == bool(traces)
    ranks = [(w.survived, w.trace.weight) for w in weighed]
    assert ranks == sorted(ranks)
    assert {w.trace.message for w in weighed} == {t.message for t in traces}
