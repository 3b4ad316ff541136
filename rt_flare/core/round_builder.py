"""Collects a round's contributions as they arrive and closes it into a `RoundRecord`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, RoundRecord, mean_metrics
from rt_flare.core.verdict import judge

__all__ = ["RoundBuilder"]


class RoundBuilder:
    """One open round.

    Args:
        round_number: 0-based number.
        expected_sites: names of the sites that were asked.
    """

    def __init__(self, round_number: int, expected_sites: Iterable[str]) -> None:
        self.round_number = round_number
        self.expected_sites = sorted(set(expected_sites))
        self.contributions: dict[str, Contribution] = {}
        self._collect_seconds: float | None = None
        self._validations: list[tuple[int, dict[str, float]]] = []
        self._outstanding = set(self.expected_sites)
        self._num_accepted = 0
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()

    @property
    def num_accepted(self) -> int:
        """Updates accepted so far."""
        return self._num_accepted

    @property
    def num_outstanding(self) -> int:
        """Expected sites that have not answered yet."""
        return len(self._outstanding)

    @property
    def failures(self) -> list[Failure]:
        """The sites' errors, in order of arrival."""
        return [c.failure for c in self.contributions.values() if c.failure is not None]

    def add(self, contribution: Contribution, *, validation_samples: int | None = None) -> None:
        """Note a site's contribution; the first one of a site counts.

        Args:
            contribution: what the site sent, and what became of it; ``seconds`` is filled in.
            validation_samples: samples behind its metrics of the received model; None takes ``num_samples``.
        """
        if contribution.site in self.contributions:
            return
        self.contributions[contribution.site] = contribution.model_copy(update={"seconds": self.elapsed()})
        self._outstanding.discard(contribution.site)
        self._num_accepted += contribution.status is ContributionStatus.ACCEPTED
        if contribution.received_model_metrics:
            samples = validation_samples or contribution.num_samples or 0
            self._validations.append((samples, contribution.received_model_metrics))

    def elapsed(self) -> float:
        """Seconds since the round started."""
        return round(time.monotonic() - self._started, 3)

    def stop_collecting(self) -> None:
        """Note that from now on no more answers are waited for; `close` tells when that was."""
        self._collect_seconds = self.elapsed()

    def received_model_metrics(self) -> dict[str, float] | None:
        """Sample-weighted means of what the sites measured on the model that this round started from."""
        return mean_metrics(self._validations) or None

    def close(self, min_clients: int, *, weight_change: float | None = None, missing: str = "no answer") -> RoundRecord:
        """Close the round.

        Args:
            min_clients: accepted updates that it needed.
            weight_change: see `RoundRecord`.
            missing: reason recorded for sites that did not answer.
        """
        contributions = [
            self.contributions.get(site) or Contribution(site=site, status=ContributionStatus.MISSING, reason=missing)
            for site in self.expected_sites
        ]
        verdict, reasons = judge(contributions, min_clients)
        accepted = [c for c in contributions if c.status is ContributionStatus.ACCEPTED]
        return RoundRecord(
            round=self.round_number,
            verdict=verdict,
            verdict_reasons=reasons,
            started_at=self._started_at.isoformat(timespec="milliseconds"),
            seconds=self.elapsed(),
            collect_seconds=self._collect_seconds,
            num_samples=sum(c.num_samples or 0 for c in accepted),
            weight_change=weight_change,
            wire_error=max((c.wire_error for c in accepted if c.wire_error is not None), default=None),
            train_metrics=mean_metrics([(c.num_samples or 0, c.train_metrics) for c in accepted]),
            contributions=contributions,
        )
