"""What happened in one round: every site's contribution, the verdict, and how long it took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Contribution",
    "ContributionStatus",
    "Failure",
    "PagedContributions",
    "RoundRecord",
    "Spread",
    "Verdict",
    "mean_metrics",
]


class Verdict(StrEnum):
    """How much a round's result can be relied on."""

    OK = "OK"
    """Every expected site's update was accepted."""
    DEGRADED = "DEGRADED"
    """Enough updates were accepted, but not those of all expected sites."""
    FAILED = "FAILED"
    """Too few updates were accepted; the global model is that of the round before."""


class ContributionStatus(StrEnum):
    """What became of one site's part in a round."""

    ACCEPTED = "accepted"
    """The update is part of the new global model."""
    REJECTED = "rejected"
    """The update arrived and broke a rule of the update gate; ``reason`` names it."""
    FAILED = "failed"
    """The site reported an error instead of an update; ``failure`` holds it."""
    MISSING = "missing"
    """Nothing arrived before the round closed."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Failure(_Record):
    """The root error of a site or of the server.

    Attributes:
        kind: stable name of the kind of failure: ``exception``, ``out_of_memory``, ``worker_died``,
            ``worker_timeout``, ``import``, ``contract``, ``result``, ``model``, ``data``, ``server``.
        message: what happened, in one or a few lines.
        site: the site that failed; None for the server.
        round: 0-based round; None outside the rounds.
        file: source file of the error, relative to the job's code where it is part of it.
        line: 1-based line in ``file``.
        traceback: the traceback of user code, shortened to its last 8,000 characters.
    """

    kind: str
    message: str
    site: str | None = None
    round: int | None = None
    file: str | None = None
    line: int | None = None
    traceback: str | None = None

    def describe(self) -> str:
        """One line: where, what, file and line."""
        where = [self.site or "server"]
        if self.round is not None:
            where.append(f"round {self.round}")
        place = f" ({self.file}:{self.line})" if self.file and self.line else ""
        message = " / ".join(line.strip() for line in self.message.splitlines() if line.strip())
        return f"{', '.join(where)}: {message}{place}"

    def log_text(self) -> str:
        """`describe`, and behind it the traceback, indented: no line of a site's text passes for a log's record."""
        return "\n  ".join([self.describe(), *(self.traceback or "").rstrip().splitlines()])


class Contribution(_Record):
    """One site's part in a round.

    Attributes:
        site: the site's name.
        status: what became of it.
        reason: why it was not accepted; None when it was.
        num_samples: samples that the site trained on; None when it reported none.
        train_metrics: metrics of the locally trained model.
        received_model_metrics: metrics of the global model that the site received, before training.
        seconds: from the round's start to the arrival of the contribution; None when nothing arrived.
        warnings: what the site or the gate found odd without refusing it.
        failure: the site's error, when ``status`` is ``failed``.
        wire_error: largest relative rounding error of one element of the update's difference as it was sent,
            ``|sent - exact| / |exact|``; None when the update travelled in full.
        work_seconds: time that user code took at the site, by the site's clock: validation of the received model,
            then training; None when the site does not say.
    """

    site: str
    status: ContributionStatus
    reason: str | None = None
    num_samples: int | None = None
    train_metrics: dict[str, float] = Field(default_factory=dict)
    received_model_metrics: dict[str, float] = Field(default_factory=dict)
    seconds: float | None = None
    warnings: list[str] = Field(default_factory=list)
    failure: Failure | None = None
    wire_error: float | None = None
    work_seconds: float | None = None


class Spread(_Record):
    """One value over the sites that gave it.

    Attributes:
        low, median, high: of the finite values; None without one.
        num_sites: sites that gave a value, finite or not.
    """

    low: float | None
    median: float | None
    high: float | None
    num_sites: int


class PagedContributions(_Record):
    """What the record of a large job says of contributions that stand in a file of their own.

    Attributes:
        file: JSON Lines with all contributions of the round, from ``files_out/``: ``contributions.d/000120.ndjson``.
        accepted, rejected, failed, missing: number of sites by status.
        seconds, work_seconds: see `Contribution`, over the sites; None when no site has one.
        train_metrics, received_model_metrics: likewise, of the 256 metrics that most sites report.
    """

    file: str = Field(pattern=r"^contributions\.d/[0-9]{6,}\.ndjson$")
    accepted: int
    rejected: int
    failed: int
    missing: int
    seconds: Spread | None
    work_seconds: Spread | None
    train_metrics: dict[str, Spread]
    received_model_metrics: dict[str, Spread]


class RoundRecord(_Record):
    """One closed round.

    Attributes:
        round: 0-based number.
        verdict: see `Verdict`.
        verdict_reasons: why the verdict is not ``OK``; empty when it is.
        started_at: UTC time in ISO 8601.
        seconds: duration of the round.
        num_samples: samples behind the accepted updates.
        weight_change: L2 norm of (new global model - old one) over that of the old one, floating-point
            parameters only; None when there is no old or no new model.
        wire_error: largest of the accepted contributions' ``wire_error``; None when all travelled in full.
        collect_seconds: the round's first part, until no more answers were waited for; None where it is not known.
        aggregate_seconds: its second part: the aggregation, as far as it was not done while answers came, and the
            weight change; None where it is not known, and when the round gave no model.
        save_seconds: its third part: giving the new model to the persistor, with the wait for an earlier one that was
            still being written; the file is written while the next round runs. None as above, and under NVFlare's own
            controllers.
        train_metrics: sample-weighted means of the sites' metrics of their locally trained models.
        global_metrics: sample-weighted means of the metrics that sites measured on this round's global model, when
            they received it in the next round or in the final validation; None until then, or without a
            validation function.
        contributions: one per expected site, in site-name order; with ``paged``, only the first of those that were not
            accepted.
        paged: where all contributions of the round are, and their summary; None while they are in ``contributions``.
    """

    round: int
    verdict: Verdict
    verdict_reasons: list[str] = Field(default_factory=list)
    started_at: str
    seconds: float
    num_samples: int
    weight_change: float | None = None
    wire_error: float | None = None
    collect_seconds: float | None = None
    aggregate_seconds: float | None = None
    save_seconds: float | None = None
    train_metrics: dict[str, float] = Field(default_factory=dict)
    global_metrics: dict[str, float] | None = None
    contributions: list[Contribution]
    paged: PagedContributions | None = None

    @property
    def num_sites(self) -> int:
        """Sites that were asked."""
        paged = self.paged
        if paged is None:
            return len(self.contributions)
        return paged.accepted + paged.rejected + paged.failed + paged.missing

    @property
    def num_accepted(self) -> int:
        """Sites whose update is part of the new global model."""
        return len(self.accepted) if self.paged is None else self.paged.accepted

    @property
    def accepted(self) -> list[Contribution]:
        """The contributions that are part of the new global model; none of a round that is ``paged``."""
        return [c for c in self.contributions if c.status is ContributionStatus.ACCEPTED]

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values (non-finite floats stay floats: `durable_io.write_json` names them)."""
        fields = self.model_dump(mode="python", exclude={"contributions"}) | {
            "verdict": self.verdict.value,
            "contributions": [c.model_dump(mode="python") | {"status": c.status.value} for c in self.contributions],
        }
        return {name: fields[name] for name in RoundRecord.model_fields}


def mean_metrics(metrics: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """Sample-weighted mean of each metric over the sites that report it: ``sum(n_i m_i) / sum(n_i)``.

    Args:
        metrics: (number of samples, metrics) of each site; entries of 0 samples carry no weight.

    A NaN or infinite value of one site makes that metric's mean NaN or infinite: it is shown, not hidden.
    """
    names = sorted({name for _, values in metrics for name in values})
    means: dict[str, float] = {}
    for name in names:
        terms = [(n, values[name]) for n, values in metrics if name in values and n > 0]
        total = sum(n for n, _ in terms)
        if total:
            try:
                means[name] = math.fsum(n * value for n, value in terms) / total
            except (OverflowError, ValueError):
                means[name] = sum(n * value for n, value in terms) / total
    return means
