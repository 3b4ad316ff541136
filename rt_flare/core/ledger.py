"""The job's record on disk: ``fl_round_complete.json``, ``metrics.json`` and ``metrics_summary.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.contribution_pages import with_paged_contributions
from rt_flare.core.durable_io import json_bytes, read_document, write_atomic, write_json
from rt_flare.core.round_record import Contribution, Failure, RoundRecord, Verdict

__all__ = [
    "MAX_CONTRIBUTIONS",
    "EncodedRounds",
    "JobState",
    "Ledger",
    "metrics_document",
    "metrics_summary_document",
    "read_ledger",
]

FILES_FOLDER = "files_out"
"""Where they stand in a job's run folder, and what its sites and their code wrote."""
ROUND_SUMMARY_FILE = "fl_round_complete.json"
_SCHEMA = "rt_flare.round_summary/1"
METRICS_FILE = "metrics.json"
METRICS_SUMMARY_FILE = "metrics_summary.json"
MAX_CONTRIBUTIONS = 5_000
"""Contributions of all rounds together up to which a ledger holds them itself."""

JobState = str
"""``PENDING``, ``RUNNING``, ``FINISHED``, ``FAILED`` or ``CANCELLED``."""


class EncodedRounds:
    """A file's closed rounds as JSON text: the file is written after every round, and each round encoded once."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[RoundRecord, bytes]] = {}

    def write(
        self,
        path: Path,
        head: Mapping[str, Any],
        rounds: Sequence[RoundRecord],
        encode: Callable[[RoundRecord], Mapping[str, Any]],
    ) -> None:
        """Write what ``write_json(path, {**head, "rounds": [encode(record) for record in rounds]})`` writes."""
        known, self._texts = self._texts, {}
        for record in rounds:
            kept = known.get(record.round)
            if kept is None or kept[0] is not record:
                # Two levels deeper; no text in JSON has a line break of its own.
                kept = record, json_bytes(encode(record)).rstrip().replace(b"\n", b"\n    ")
            self._texts[record.round] = kept
        before = json_bytes({**head, "rounds": []}).removesuffix(b"]\n}\n")
        texts = [text for _, text in self._texts.values()]
        # In pieces: whole documents, each a little larger than the last, would leave holes in memory that none fits in.
        pieces = [piece for text in texts for piece in (b",\n    ", text)]
        inside = [b"\n    ", *pieces[1:], b"\n  "] if pieces else []
        write_atomic(path, lambda file: file.writelines([before, *inside, b"]\n}\n"]))


class Ledger(BaseModel):
    """Everything that is known about a job's rounds.

    Once there are more than 5,000 contributions, the records do not hold them any more (see `PagedContributions`).

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

    def put(self, record: RoundRecord) -> list[tuple[str, RoundRecord]]:
        """Add ``record``, or replace the one of the same round.

        Returns:
            (file, record) of each round whose contributions the ledger has just given up: they belong into that file.
        """
        rounds = sorted([*(r for r in self.rounds if r.round != record.round), record], key=lambda r: r.round)
        self.rounds = rounds
        is_paged = any(r.paged is not None for r in rounds)
        if not is_paged and sum(len(r.contributions) for r in rounds) <= MAX_CONTRIBUTIONS:
            return []
        self.rounds = with_paged_contributions(rounds)
        return [
            (now.paged.file, before)
            for before, now in zip(rounds, self.rounds, strict=True)
            if before.paged is None and now.paged is not None
        ]

    def write_round_summary(self, folder: Path, encoded: EncodedRounds | None = None) -> None:
        """Write ``fl_round_complete.json`` (schema ``round_summary.schema.json``) into ``folder``, atomically.

        Args:
            folder: where it goes.
            encoded: what was encoded when this file was written before.
        """
        head = {"schema": _SCHEMA, **self.model_dump(exclude={"rounds"})}
        (encoded or EncodedRounds()).write(folder / ROUND_SUMMARY_FILE, head, self.rounds, RoundRecord.to_json)

    def write_metrics(self, folder: Path, encoded: EncodedRounds | None = None) -> None:
        """Write ``metrics.json`` and ``metrics_summary.json`` into ``folder``, atomically.

        Args:
            folder: where they go.
            encoded: what was encoded when ``metrics.json`` was written before.
        """
        (encoded or EncodedRounds()).write(folder / METRICS_FILE, _metrics_head(self), self.rounds, _metrics)
        write_json(folder / METRICS_SUMMARY_FILE, metrics_summary_document(self))


def metrics_document(ledger: Ledger) -> dict[str, Any]:
    """The content of ``metrics.json`` (schema ``metrics.schema.json``)."""
    return {**_metrics_head(ledger), "rounds": [_metrics(record) for record in ledger.rounds]}


def _metrics_head(ledger: Ledger) -> dict[str, Any]:
    return {"schema": "rt_flare.metrics/1", "job_id": ledger.job_id}


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
    return Ledger.model_validate(read_document(path, _SCHEMA))


def _metrics(record: RoundRecord) -> dict[str, Any]:
    return {
        "round": record.round,
        "verdict": record.verdict.value,
        "seconds": record.seconds,
        "num_samples": record.num_samples,
        "train_metrics": record.train_metrics,
        "global_metrics": record.global_metrics,
        "sites": [_site_metrics(contribution) for contribution in record.contributions] if record.paged is None else [],
        "paged": None if record.paged is None else record.paged.model_dump(),
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
