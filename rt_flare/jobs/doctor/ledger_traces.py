"""What the round summary says about failures: each site's own report, and who gave no answer."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, RoundRecord, Verdict
from rt_flare.errors import JobError
from rt_flare.jobs.doctor.evidence import MAX_TRACEBACK, Evidence, Weight, shown
from rt_flare.jobs.doctor.failure_rows import FailureTable
from rt_flare.jobs.doctor.log_sources import SERVER

__all__ = ["failed_round", "ledger_traces", "load_summary"]

_MAX_TRACES = 1_000


def load_summary(file: Path, archive: Path | None) -> Ledger:
    """Read a round summary, out of an archive if one is given.

    Raises:
        JobError: it is no round summary of this version.
    """
    try:
        if archive is None:
            return read_ledger(file)
        with zipfile.ZipFile(archive) as opened:
            document = json.loads(opened.read(file.as_posix()))
        document.pop("schema", None)
        return Ledger.model_validate(document)
    except ValueError as error:
        raise JobError(f"{archive or file}: expected a round summary of this version: {error}") from error


def failed_round(ledger: Ledger) -> int | None:
    """The round that the job did not survive: the one that failed, else the one behind the last that was closed."""
    closed = [record.round for record in ledger.rounds if record.verdict is not Verdict.FAILED]
    failed = next((record.round for record in ledger.rounds if record.verdict is Verdict.FAILED), None)
    return failed if failed is not None else max(closed, default=-1) + 1 if closed else None


def ledger_traces(ledger: Ledger, rounds: Mapping[int, float], table: FailureTable, *, log: str) -> Iterator[Evidence]:
    """The failures in a round summary, at most 1,000.

    Args:
        ledger: the round summary.
        rounds: time at which the server's log says that each round began: the summary's own times are in UTC, the
            log's in the server's zone.
        table: the known failures.
        log: the summary's path.
    """
    differences = [rounds[r.round] - _utc(r.started_at) for r in ledger.rounds if r.round in rounds]
    offset = median(differences) if differences else 0.0
    number = 0
    for record in ledger.rounds:
        for contribution in record.contributions:
            if contribution.status is ContributionStatus.ACCEPTED:
                continue
            if (number := number + 1) > _MAX_TRACES:
                return
            yield _of_contribution(contribution, record, _utc(record.started_at) + offset, table, log)
    if ledger.error is not None:
        yield _of_failure(ledger.error, table, time=None, log=log)


def _of_contribution(
    contribution: Contribution, record: RoundRecord, started: float, table: FailureTable, log: str
) -> Evidence:
    seconds = contribution.seconds if contribution.seconds is not None else record.seconds
    if contribution.failure is not None:
        named = contribution.failure.model_copy(update={"site": contribution.site, "round": record.round})
        return _of_failure(named, table, time=started + seconds, log=log)
    missing = contribution.status is ContributionStatus.MISSING
    return Evidence(
        process=SERVER,
        site=shown(contribution.site, 200),
        time=started + seconds,
        stamp=_stamp(started + seconds),
        weight=Weight.FAILURE if missing else Weight.CAUSE,
        row=table.row("worker_timeout" if missing else "update_refused"),
        message=shown(contribution.reason or f"{contribution.status.value}, no reason given"),
        round=record.round,
        log=log,
    )


def _of_failure(failure: Failure, table: FailureTable, *, time: float | None, log: str) -> Evidence:
    row, _ = table.classify(failure.message)
    if row is None or row.id == "worker_crashed":
        words = (failure.traceback or "").splitlines()
        found = next((r for line in words if (r := table.classify(line)[0]) and r.id == "nccl_error"), None)
        row = found or row
    is_report = failure.site is not None or failure.file is not None
    weight = Weight.CAUSE if is_report else Weight.FAILURE
    if not is_report and table.is_consequence(failure.message):
        weight = Weight.KNOWN_CONSEQUENCE if row else Weight.CONSEQUENCE
    return Evidence(
        process=SERVER,
        site=shown(failure.site, 200) if failure.site else None,
        time=time,
        stamp=_stamp(time),
        weight=weight,
        row=row,
        message=shown(failure.message),
        round=failure.round,
        file=shown(failure.file, 300) if failure.file else None,
        line=failure.line,
        traceback=shown(failure.traceback, MAX_TRACEBACK, lines=True) if failure.traceback else None,
        log=log,
    )


def _utc(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _stamp(time: float | None) -> str:
    if time is None:
        return ""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
