"""What a diagnosis is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt_flare.core.round_record import Failure
from rt_flare.jobs.doctor.failure_rows import FailureRow

__all__ = ["Diagnosis", "Finding"]


@dataclass(frozen=True)
class Finding:
    """One failure. All text is printable and bounded; it comes from logs, and is never markup.

    Attributes:
        row: the known failure that it is; None for one that is not in the table.
        site: whom it concerns; None for the server.
        message: what happened.
        round: 0-based round; None outside the rounds, or where it is not known.
        file: source file in user code, relative to the job's code; None where user code took no part.
        line: 1-based line in ``file``.
        time: when, as the log has it; "" where it is not known.
        log: the file that it stands in.
        log_line: 1-based line there; 0 in a JSON file.
        traceback: of user code; None where there is none.
        count: how often it came.
        is_consequence: another failure brought it about.
        survived: the job went on.
    """

    row: FailureRow | None
    site: str | None
    message: str
    round: int | None = None
    file: str | None = None
    line: int | None = None
    time: str = ""
    log: str = ""
    log_line: int = 0
    traceback: str | None = None
    count: int = 1
    is_consequence: bool = False
    survived: bool = False

    def describe(self) -> str:
        """One line: where, what, file and line."""
        return self.failure().describe()

    def failure(self) -> Failure:
        """The same as a `Failure`."""
        kind = self.row.kind if self.row else "exception" if self.site or self.file else "server"
        return Failure(
            kind=kind,
            message=self.message,
            site=self.site,
            round=self.round,
            file=self.file,
            line=self.line,
            traceback=self.traceback,
        )

    def document(self) -> dict[str, Any]:
        """The finding as JSON values."""
        row = self.row
        return {
            "row": row.id if row else None,
            "title": row.title if row else None,
            "cause": row.cause if row else None,
            "fix": row.fix if row else None,
            **self.failure().model_dump(),
            "time": self.time,
            "log": self.log,
            "log_line": self.log_line,
            "count": self.count,
            "is_consequence": self.is_consequence,
            "survived": self.survived,
        }


@dataclass(frozen=True)
class Diagnosis:
    """What a folder's logs say.

    Attributes:
        path: what was looked at.
        job_id: NVFlare's id of the job; None where no log tells it.
        state: the job's state in its round summary; None without one.
        findings: the failures, at most 100: what failed the job goes first, then what it survived; among equals the
            earlier one.
        logs: the files that were read.
        notes: what was left out, and clocks that were corrected.
    """

    path: Path
    job_id: str | None
    state: str | None
    findings: tuple[Finding, ...]
    logs: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def root(self) -> Finding | None:
        """The first root cause; None when nothing failed the job, as far as the logs tell."""
        first = self.findings[0] if self.findings else None
        return None if first is None or first.survived else first
