"""Where a round's time went, as far as its record tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rt_flare.core.round_record import Contribution, RoundRecord

__all__ = ["PHASES", "Phase", "SiteTime", "round_phases", "site_times"]

PHASES = {
    "waiting": "waiting: tasks and updates on their way, sites that were slow or silent",
    "training": "training: the longest time that user code took at a site, validation included",
    "collecting": "waiting and training, in records that do not tell them apart",
    "aggregating": "aggregating: what was left of it when the last update had come",
    "saving": "saving: giving the model to the thread that writes it",
    "other": "the rest",
}
"""Name and meaning of every phase, in the order in which they are drawn."""


@dataclass(frozen=True)
class Phase:
    """A part of a round: one of `PHASES`, and its seconds."""

    name: str
    seconds: float


@dataclass(frozen=True)
class SiteTime:
    """One site's part of a round's time.

    Attributes:
        site: its name.
        status: what became of its contribution.
        travel_seconds: until its answer was there, without its work: the task and the update on their way, and waits.
        work_seconds: user code at the site; None when the site did not say.
        idle_seconds: from its answer until the last one was there.
    """

    site: str
    status: str
    travel_seconds: float
    work_seconds: float | None
    idle_seconds: float


def round_phases(record: RoundRecord) -> tuple[Phase, ...]:
    """Divide a round; the phases add up to its seconds, and those without any time are left out."""
    total = _time(record.seconds)
    collect = min(_time(record.collect_seconds), total) if record.collect_seconds is not None else None
    aggregate = min(_time(record.aggregate_seconds), total - (collect or 0.0))
    save = min(_time(record.save_seconds), total - (collect or 0.0) - aggregate)
    parts = dict.fromkeys(PHASES, 0.0)
    work = _longest_work(record)
    if collect is None:
        parts["collecting"] = total
    else:
        parts |= {"aggregating": aggregate, "saving": save, "other": total - collect - aggregate - save}
        if work is not None:
            parts["training"] = min(work, collect)
            parts["waiting"] = collect - parts["training"]
        else:
            parts["collecting"] = collect
    return tuple(Phase(name, seconds) for name, seconds in parts.items() if seconds > 0.0005)


def site_times(record: RoundRecord, contributions: Sequence[Contribution], *, limit: int) -> list[SiteTime]:
    """The sites' times of one round, the slowest first, silent ones before them; at most ``limit``.

    Args:
        record: the round.
        contributions: all of the round.
        limit: see above.
    """
    collect = _time(record.seconds if record.collect_seconds is None else record.collect_seconds)
    ranked = sorted(contributions, key=lambda c: (-_arrival(c), c.site))
    return [_site_time(contribution, collect) for contribution in ranked[:limit]]


def _longest_work(record: RoundRecord) -> float | None:
    if record.paged is not None:
        spread = record.paged.work_seconds
        return None if spread is None else _time(spread.high)
    return max((_time(c.work_seconds) for c in record.contributions if c.work_seconds is not None), default=None)


def _site_time(contribution: Contribution, collect: float) -> SiteTime:
    if contribution.seconds is None:
        return SiteTime(contribution.site, contribution.status.value, collect, None, 0.0)
    arrived = min(_time(contribution.seconds), collect)
    work = None if contribution.work_seconds is None else min(_time(contribution.work_seconds), arrived)
    return SiteTime(
        site=contribution.site,
        status=contribution.status.value,
        travel_seconds=arrived - (work or 0.0),
        work_seconds=work,
        idle_seconds=collect - arrived,
    )


def _arrival(contribution: Contribution) -> float:
    return math.inf if contribution.seconds is None else _time(contribution.seconds)


def _time(seconds: float | None) -> float:
    """A duration that can be drawn: records may hold anything that a float can be."""
    return min(seconds, 1e9) if seconds is not None and math.isfinite(seconds) and seconds > 0 else 0.0
