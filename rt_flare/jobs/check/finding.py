"""One mistake that the offline check found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rt_flare.timeouts.finding import Severity

__all__ = ["CheckFinding", "Severity", "error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFinding:
    """A mistake, and what to do about it.

    Attributes:
        code: stable id of the kind of mistake, such as ``undefined-name``.
        severity: an error breaks the job, a warning may, or makes it do something else than was meant.
        file: where it stands; "" for what belongs to no file.
        line: 1-based line of the file; None for the file as a whole.
        field: the name, key or argument at fault; "" where there is none.
        found: what is there.
        expected: what should be.
        fix: what to do.
    """

    code: str
    severity: Severity
    file: str
    line: int | None = None
    field: str = ""
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}{'' if self.line is None else f':{self.line}'}: " if self.file else ""
        field = f"{self.field}: " if self.field else ""
        return f"{place}{field}found {self.found}, expected {self.expected}. {self.fix}"


def error(
    code: str, file: Path | str, found: str, expected: str, fix: str, *, line: int | None = None, field: str = ""
) -> CheckFinding:
    """A finding that breaks the job."""
    return CheckFinding(
        code=code,
        severity=Severity.ERROR,
        file=str(file),
        line=line,
        field=field,
        found=found,
        expected=expected,
        fix=fix,
    )


def warning(
    code: str, file: Path | str, found: str, expected: str, fix: str, *, line: int | None = None, field: str = ""
) -> CheckFinding:
    """A finding that may break the job, or makes it do something else than was meant."""
    return replace(error(code, file, found, expected, fix, line=line, field=field), severity=Severity.WARNING)
