"""The job's record on disk: ``fl_round_complete.json``, ``metrics.json`` and ``metrics_summary.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.core.round_record import Contribution, Failure, RoundRecord, Verdict

__all__ = ["JobState", "Ledger", "metrics_document", "metrics_summary_document", "read_ledger"]

ROUND_SUMMARY_FILE = "fl_round_complete.json"
METRICS_FILE = "metrics.json"
METRICS_SUMMARY_FILE = "metrics_summary.json"

JobState = str
"""``PENDING``, ``RUNNING``, ``FINISHED``, ``FAILED`` or ``CANCELLED``."""


class Ledger(BaseModel):
    """Everything that is known about a job's rounds.

    Attributes:
        job_id: NVFlare's id of the job.
        num_rounds: rounds that the job is to run.
        state: the job's state as the server's job process knows it.
        stop_reason: why the job ended before ``num_rounds``, when it did so on purpose.
        error: the first root error of a failed job.
        resumed_from: ids of the jobs that this one continues, newest first; their rounds are among ``rounds``.
        rounds: one record per closed round, in order.
    """

    model_config = ConfigDict(extra="forbid")

    job_id: str
    num_rounds: int
    state: JobState = "RUNNING"
    stop_reason: str | None = None
    error: Failure | None = None
    resumed_from: list[str] = Field(default_factory=list)
    rounds: list[RoundRecord] = Field(default_factory=list)

    def put(self, record: RoundRecord) -> None:
        """Add ``record``, or replace the one of the same round."""
        self.rounds = sorted([*(r for r in self.rounds if r.round != record.round), record], key=lambda r: r.round)

    def write_round_summary(self, folder: Path) -> None:
        """Write ``fl_round_complete.json`` (schema ``round_summary.schema.json``) into ``folder``, atomically."""
        write_json(folder / ROUND_SUMMARY_FILE, self._round_summary())

    def write_metrics(self, folder: Path) -> None:
        """Write ``metrics.json`` and ``metrics_summary.json`` into ``folder``, atomically."""
        write_json(folder / METRICS_FILE, metrics_document(self))
        write_json(folder / METRICS_SUMMARY_FILE, metrics_summary_document(self))

    def _round_summary(self) -> dict[str, Any]:
        head = {"schema": "rt_flare.round_summary/1", **self.model_dump(exclude={"rounds"})}
        return {**head, "rounds": [record.to_json() for record in self.rounds]}


def metrics_document(ledger: Ledger) -> dict[str, Any]:
    """The content of ``metrics.json`` (schema ``metrics.schema.json``)."""
    return {"schema": "rt_flare.metrics/1", "job_id": ledger.job_id, "rounds": [_metrics(r) for r in ledger.rounds]}


def metrics_summary_document(ledger: Ledger) -> dict[str, Any]:
    """The content of ``metrics_summary.json``: the last round's metrics under the name that NVFlare looks for."""
    last = ledger.rounds[-1] if ledger.rounds else None
    return {
        "schema": "rt_flare.metrics_summary/1",
        "job_id": ledger.job_id,
        "state": ledger.state,
        "num_rounds_completed": sum(record.verdict is not Verdict.FAILED for record in ledger.rounds),
        "last_round": _metrics(last) if last else None,
    }


def read_ledger(path: Path) -> Ledger:
    """Read a ``fl_round_complete.json``.

    Raises:
        ValueError: the file is no such document (pydantic's message names the field).
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.pop("schema", None) != "rt_flare.round_summary/1":
        raise ValueError(f"{path}: not a rt_flare.round_summary/1 document")
    return Ledger.model_validate(document)


def _metrics(record: RoundRecord) -> dict[str, Any]:
    return {
        "round": record.round,
        "verdict": record.verdict.value,
        "seconds": record.seconds,
        "num_samples": record.num_samples,
        "train_metrics": record.train_metrics,
        "global_metrics": record.global_metrics,
        "sites": [_site_metrics(contribution) for contribution in record.contributions],
    }


def _site_metrics(contribution: Contribution) -> dict[str, Any]:
    return {
        "site": contribution.site,
        "status": contribution.status.value,
        "num_samples": contribution.num_samples,
        "seconds": contribution.seconds,
        "train_metrics": contribution.train_metrics,
        "received_model_metrics": contribution.received_model_metrics,
    }
