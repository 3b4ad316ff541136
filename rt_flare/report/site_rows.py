"""What each site gave over the whole job."""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rt_flare.core.round_record import Contribution, ContributionStatus, RoundRecord

__all__ = ["SiteRow", "SiteTally", "StatusRun", "WarningRow", "tally_sites"]

_MAX_WARNINGS = 10_000


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


class SiteTally:
    """Adds up contributions as they are read: of each one, only two times are kept."""

    def __init__(self, records: Sequence[RoundRecord]) -> None:
        self._records = records
        self._sites: dict[str, _Site] = {}
        self._warnings: dict[str, _Warning] = {}

    def add(self, position: int, contribution: Contribution) -> None:
        """Add a contribution to the round at ``position`` of the records; those of one site come in their order."""
        site = self._sites.get(contribution.site)
        if site is None:
            site = self._sites[contribution.site] = _Site()
        site.add(position, contribution)
        for text in contribution.warnings:
            if text not in self._warnings and len(self._warnings) < _MAX_WARNINGS:
                self._warnings[text] = _Warning(self._records[position].round)
            if text in self._warnings:
                self._warnings[text].count += 1
                self._warnings[text].sites[contribution.site] = None

    def site_rows(self) -> list[SiteRow]:
        """Every site that was expected in any round: those with the most updates that were not accepted first."""
        total = sum(record.num_samples for record in self._records)
        rows = [site.row(name, total) for name, site in self._sites.items()]
        return sorted(rows, key=lambda row: (row.counts["accepted"] - row.num_rounds, row.site))

    def warning_rows(self, *, limit: int = 100) -> list[WarningRow]:
        """The warnings of all contributions, each text once, the most frequent first; of at most 10,000 texts."""
        ranked = sorted(self._warnings, key=lambda text: (-self._warnings[text].count, text))[:limit]
        found = [(text, self._warnings[text]) for text in ranked]
        return [WarningRow(text, warning.count, tuple(warning.sites), warning.first_round) for text, warning in found]


def tally_sites(
    records: Sequence[RoundRecord], contributions: Iterable[tuple[int, Contribution]] | None = None
) -> SiteTally:
    """Add up the contributions of ``records``.

    Args:
        records: the rounds.
        contributions: (position of the round in ``records``, contribution); None takes those in the records.
    """
    tally = SiteTally(records)
    if contributions is None:
        contributions = ((n, c) for n, record in enumerate(records) for c in record.contributions)
    for position, contribution in contributions:
        tally.add(position, contribution)
    return tally


class _Site:
    """One site so far."""

    def __init__(self) -> None:
        self.counts = {status.value: 0 for status in ContributionStatus}
        self.runs: list[StatusRun] = []
        self.num_rounds = 0
        self.total_samples = 0
        self.last_samples: int | None = None
        self.seconds, self.work_seconds = array("d"), array("d")
        self.problem = ""

    def add(self, position: int, contribution: Contribution) -> None:
        status = contribution.status.value
        self.num_rounds += 1
        self.counts[status] += 1
        last = self.runs[-1] if self.runs else None
        if last is not None and last.status == status and last.start + last.length == position:
            self.runs[-1] = StatusRun(status, last.start, last.length + 1)
        else:
            self.runs.append(StatusRun(status, position, 1))
        if contribution.status is ContributionStatus.ACCEPTED:
            self.last_samples = contribution.num_samples or 0
            self.total_samples += self.last_samples
        else:
            failure = contribution.failure
            self.problem = failure.describe() if failure else contribution.reason or "no reason given"
        for times, value in ((self.seconds, contribution.seconds), (self.work_seconds, contribution.work_seconds)):
            if value is not None and math.isfinite(value):
                times.append(value)

    def row(self, name: str, total_samples: int) -> SiteRow:
        return SiteRow(
            site=name,
            counts=self.counts,
            num_rounds=self.num_rounds,
            last_samples=self.last_samples,
            total_samples=self.total_samples,
            share=self.total_samples / total_samples if total_samples else 0.0,
            seconds=statistics.median(self.seconds) if self.seconds else None,
            work_seconds=statistics.median(self.work_seconds) if self.work_seconds else None,
            runs=tuple(self.runs),
            problem=self.problem,
        )


class _Warning:
    """One text so far."""

    def __init__(self, first_round: int) -> None:
        self.first_round = first_round
        self.count = 0
        self.sites: dict[str, None] = {}
