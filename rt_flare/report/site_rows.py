"""What each site gave over the whole job."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rt_flare.core.round_record import Contribution, ContributionStatus, RoundRecord

__all__ = ["SiteRow", "StatusRun", "WarningRow", "site_rows", "warning_rows"]


@dataclass(frozen=True)
class StatusRun:
    """Consecutive rounds in which a site's contribution had the same status: first one and number of them."""

    status: str
    start: int
    length: int


@dataclass(frozen=True)
class SiteRow:
    """One site.

    Attributes:
        site: its name.
        counts: number of rounds by status.
        num_rounds: rounds in which it was expected.
        last_samples: samples of its last accepted update; None without one.
        total_samples: samples of all its accepted updates together.
        share: of all sites' accepted samples, from 0 to 1.
        seconds: median time from a round's start to its answer; None when none came.
        work_seconds: median time of its user code; None when it never said.
        runs: its statuses over the rounds; positions count the rounds of the record from 0.
        problem: the last reason why an update of it was not accepted; "" without one.
    """

    site: str
    counts: dict[str, int]
    num_rounds: int
    last_samples: int | None
    total_samples: int
    share: float
    seconds: float | None
    work_seconds: float | None
    runs: tuple[StatusRun, ...]
    problem: str


@dataclass(frozen=True)
class WarningRow:
    """A warning, the number of times that it came, the sites that it came from and the first round."""

    text: str
    count: int
    sites: tuple[str, ...]
    first_round: int


def site_rows(records: Sequence[RoundRecord]) -> list[SiteRow]:
    """Every site that was expected in any round: those with the most updates that were not accepted first."""
    gathered: dict[str, list[tuple[int, Contribution]]] = defaultdict(list)
    for position, record in enumerate(records):
        for contribution in record.contributions:
            gathered[contribution.site].append((position, contribution))
    total = sum(record.num_samples for record in records)
    rows = [_row(site, parts, total) for site, parts in gathered.items()]
    return sorted(rows, key=lambda row: (row.counts["accepted"] - row.num_rounds, row.site))


def warning_rows(records: Sequence[RoundRecord], *, limit: int = 100) -> list[WarningRow]:
    """The warnings of all contributions, each text once, the most frequent first."""
    counts: Counter[str] = Counter()
    sites: dict[str, dict[str, None]] = defaultdict(dict)
    first: dict[str, int] = {}
    for record in records:
        for contribution in record.contributions:
            for text in contribution.warnings:
                counts[text] += 1
                sites[text][contribution.site] = None
                first.setdefault(text, record.round)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))[:limit]
    return [WarningRow(text, counts[text], tuple(sites[text]), first[text]) for text in ranked]


def _row(site: str, parts: list[tuple[int, Contribution]], total: int) -> SiteRow:
    counts = {status.value: 0 for status in ContributionStatus}
    runs: list[StatusRun] = []
    samples: list[int] = []
    problem = ""
    for position, contribution in parts:
        status = contribution.status.value
        counts[status] += 1
        if runs and runs[-1].status == status and runs[-1].start + runs[-1].length == position:
            runs[-1] = StatusRun(status, runs[-1].start, runs[-1].length + 1)
        else:
            runs.append(StatusRun(status, position, 1))
        if contribution.status is ContributionStatus.ACCEPTED:
            samples.append(contribution.num_samples or 0)
        else:
            failure = contribution.failure
            problem = failure.describe() if failure else contribution.reason or "no reason given"
    return SiteRow(
        site=site,
        counts=counts,
        num_rounds=len(parts),
        last_samples=samples[-1] if samples else None,
        total_samples=sum(samples),
        share=sum(samples) / total if total else 0.0,
        seconds=_median([c.seconds for _, c in parts]),
        work_seconds=_median([c.work_seconds for _, c in parts]),
        runs=tuple(runs),
        problem=problem,
    )


def _median(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(finite) if finite else None
