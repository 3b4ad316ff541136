"""The rounds as rows of tables: all of them, those whose verdict needs a reason, and some with their sites' times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rt_flare.core.round_record import Contribution, RoundRecord, Verdict
from rt_flare.report.phase_chart import Bar, phase_bar, site_bar
from rt_flare.report.round_phases import Phase, SiteTime, round_phases, site_times

__all__ = ["RoundDetail", "RoundRow", "VerdictRow", "round_details", "round_rows", "verdict_rows"]

MAX_DETAILS = 30
MAX_SITES = 12
MAX_REASONS = 8


@dataclass(frozen=True)
class RoundRow:
    """One round.

    Attributes:
        record: its record.
        num_accepted: accepted contributions.
        phases: where its time went.
        bars: the same as a bar, on one scale for all rounds.
    """

    record: RoundRecord
    num_accepted: int
    phases: tuple[Phase, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class VerdictRow:
    """A round that was not OK: the first reasons, and the number of those left out."""

    record: RoundRecord
    reasons: tuple[str, ...]
    num_more: int


@dataclass(frozen=True)
class RoundDetail:
    """The slowest sites of one round, each with its times and a bar, and the number of sites left out."""

    record: RoundRecord
    sites: tuple[tuple[SiteTime, tuple[Bar, ...]], ...]
    num_more: int


def round_rows(records: Sequence[RoundRecord]) -> list[RoundRow]:
    """Every round."""
    phases = [round_phases(record) for record in records]
    longest = max((sum(phase.seconds for phase in parts) for parts in phases), default=0.0)
    return [
        RoundRow(record, record.num_accepted, parts, tuple(phase_bar(parts, longest)))
        for record, parts in zip(records, phases, strict=True)
    ]


def verdict_rows(records: Sequence[RoundRecord]) -> list[VerdictRow]:
    """The rounds that were not OK."""
    return [
        VerdictRow(record, tuple(record.verdict_reasons[:MAX_REASONS]), _num_more(record))
        for record in records
        if record.verdict is not Verdict.OK
    ]


def _num_more(record: RoundRecord) -> int:
    num_reasons = len(record.verdict_reasons) if record.paged is None else record.num_sites - record.num_accepted
    return max(0, num_reasons - MAX_REASONS)


def round_details(
    records: Sequence[RoundRecord],
    contributions: Callable[[RoundRecord], Sequence[Contribution]] = lambda record: record.contributions,
) -> list[RoundDetail]:
    """The sites' times of up to 30 rounds: all, or those that were not OK and the longest of the others.

    Args:
        records: the rounds.
        contributions: gives those of a round, where its record does not hold them.
    """
    chosen = list(records)
    if len(records) > MAX_DETAILS:
        ranked = sorted(records, key=lambda r: (r.verdict is Verdict.OK, -_duration(r), r.round))
        troubled = sum(record.verdict is not Verdict.OK for record in records)
        # At most half of them for the verdicts, so that the slow rounds have their place.
        kept = min(troubled, MAX_DETAILS // 2)
        chosen = [*ranked[:kept], *ranked[troubled : troubled + MAX_DETAILS - kept]]
        chosen.sort(key=lambda record: record.round)
    parts = [(record, contributions(record)) for record in chosen]
    return [_detail(record, given) for record, given in parts if given]


def _detail(record: RoundRecord, contributions: Sequence[Contribution]) -> RoundDetail:
    times = site_times(record, contributions, limit=MAX_SITES)
    longest = max(t.travel_seconds + (t.work_seconds or 0.0) + t.idle_seconds for t in times)
    sites = tuple((time, tuple(site_bar(time, longest))) for time in times)
    return RoundDetail(record, sites, record.num_sites - len(times))


def _duration(record: RoundRecord) -> float:
    return record.seconds if math.isfinite(record.seconds) else 0.0
