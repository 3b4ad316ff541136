"""All traces of a job's failures together: each failure once, what was survived apart, the root first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rt_flare.jobs.doctor.clocks import CLOCK_TOLERANCE_SECONDS
from rt_flare.jobs.doctor.evidence import Evidence
from rt_flare.jobs.doctor.failure_rows import FailureTable

__all__ = ["Weighed", "weigh"]

_SPACES = re.compile(r"[\s/]+")
_COMPARED = 120


@dataclass(frozen=True)
class Weighed:
    """One failure: its trace, how often it came, and whether the job went on."""

    trace: Evidence
    count: int
    survived: bool


def weigh(
    traces: Sequence[tuple[Evidence, int]],
    table: FailureTable,
    *,
    offsets: Mapping[str, float],
    one_clock: bool = False,
    finished: bool = False,
    failed_round: int | None = None,
) -> list[Weighed]:
    """Put failures in order: the root first, then the others of its weight by time, then lighter ones.

    Args:
        traces: (trace, how often it came).
        table: the known failures.
        offsets: see `clocks.clock_offsets`.
        one_clock: all processes ran on one machine.
        finished: the job finished: everything was survived.
        failed_round: the round that failed the job: what happened in earlier ones was survived.
    """
    timed = [(replace(t, time=_server_time(t, offsets)), count) for t, count in traces]
    refined = _refine(_merged(timed), table)
    weighed = [Weighed(t, count, finished or _is_before(t, failed_round)) for t, count in refined]
    weighed.sort(key=lambda w: (w.survived, w.trace.weight, _time(w.trace)))
    if not weighed:
        return []
    first = weighed[0]
    equals = [w for w in weighed if (w.survived, w.trace.weight) == (first.survived, first.trace.weight)]

    def is_as_early(other: Weighed) -> bool:
        a, b = first.trace, other.trace
        comparable = one_clock or a.process == b.process or {a.process, b.process} <= offsets.keys()
        return _time(b) - _time(a) <= (0.0 if comparable else CLOCK_TOLERANCE_SECONDS)

    early = [w for w in equals if w is first or is_as_early(w)]
    root = min(early, key=lambda w: (_round(w.trace), w.trace.site is None, _time(w.trace)))
    return [root, *(w for w in weighed if w is not root)]


def _merged(traces: Sequence[tuple[Evidence, int]]) -> list[tuple[Evidence, int]]:
    """The same failure, as the site, the server and the round summary tell it, once."""
    merged: list[tuple[Evidence, int]] = []
    places: dict[tuple[str | None, str], list[int]] = {}
    for trace, count in sorted(traces, key=lambda t: (t[0].weight, _time(t[0]))):
        key = (trace.site, _SPACES.sub(" ", trace.message[:_COMPARED]).strip())
        for place in places.setdefault(key, []):
            known, known_count = merged[place]
            if known.round is None or trace.round is None or known.round == trace.round:
                merged[place] = (_joined(known, trace), max(known_count, count))
                break
        else:
            places[key].append(len(merged))
            merged.append((trace, count))
    return merged


def _joined(a: Evidence, b: Evidence) -> Evidence:
    own = next((t for t in (a, b) if t.process == (t.site or t.process) and t.log_line), a)
    early = min((a, b), key=_time)
    place = a if a.file else b
    return replace(
        own,
        time=early.time,
        stamp=own.stamp or early.stamp,
        weight=min(a.weight, b.weight),
        row=a.row or b.row,
        round=a.round if a.round is not None else b.round,
        file=place.file,
        line=place.line,
        traceback=a.traceback or b.traceback,
    )


def _refine(traces: list[tuple[Evidence, int]], table: FailureTable) -> list[tuple[Evidence, int]]:
    """Give rows that mean "on the server only" the traces that only the server has."""
    finer = {row.refines: row for row in table.rows if row.refines}
    at_sites = {t.row.id for t, _ in traces if t.row is not None and t.site is not None}
    return [
        (replace(t, row=finer[t.row.id]), count)
        if t.row is not None and t.row.id in finer and t.site is None and t.row.id not in at_sites
        else (t, count)
        for t, count in traces
    ]


def _server_time(trace: Evidence, offsets: Mapping[str, float]) -> float | None:
    return None if trace.time is None else trace.time + offsets.get(trace.process, 0.0)


def _is_before(trace: Evidence, failed_round: int | None) -> bool:
    return failed_round is not None and trace.round is not None and trace.round < failed_round


def _time(trace: Evidence) -> float:
    return math.inf if trace.time is None else trace.time


def _round(trace: Evidence) -> float:
    return math.inf if trace.round is None else trace.round
