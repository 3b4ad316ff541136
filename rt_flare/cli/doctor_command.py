"""``rt-flare doctor``: what a job failed of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.cli.round_view import make_console
from rt_flare.jobs.doctor import Diagnosis, Finding, diagnose

__all__ = ["doctor_command"]

_SCHEMA = "rt_flare.doctor/1"
_MOST_LISTED = 12


def doctor_command(*, path: Path, job_id: str | None, as_json: bool) -> int:
    """Diagnose, show the findings, and return the exit code: 1 if something failed the job."""
    diagnosis = diagnose(path, job_id=job_id)
    code = ExitCode.FAILED if diagnosis.root else ExitCode.OK
    if as_json:
        print_json(_document(diagnosis, code))
    else:
        _print(make_console(), diagnosis)
    return code


def _document(diagnosis: Diagnosis, code: ExitCode) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "command": "doctor",
        "exit_code": int(code),
        "error": None,
        "path": str(diagnosis.path),
        "job_id": diagnosis.job_id,
        "state": diagnosis.state,
        "root": diagnosis.root.document() if diagnosis.root else None,
        "findings": [finding.document() for finding in diagnosis.findings],
        "logs": list(diagnosis.logs),
        "notes": list(diagnosis.notes),
    }


def _print(console: Console, diagnosis: Diagnosis) -> None:
    root = diagnosis.root
    if root is None:
        state = f" (the job is {diagnosis.state})" if diagnosis.state else ""
        console.print(Text(f"Nothing found that failed the job{state}."))
    else:
        _print_root(console, root)
    others = [finding for finding in diagnosis.findings if finding is not root]
    if others:
        console.print(Text("\nAlso seen:" if root else "\nWhat it survived:", style="bold"))
    for finding in others[:_MOST_LISTED]:
        console.print(Text(f"  {_line(finding)}"), soft_wrap=True)
    if len(others) > _MOST_LISTED:
        console.print(Text(f"  and {len(others) - _MOST_LISTED} more; --format json has them"))
    for note in diagnosis.notes:
        console.print(Text(f"Note: {note}"), soft_wrap=True)
    console.print(Text(f"\n{len(diagnosis.logs)} logs read below {diagnosis.path}"), soft_wrap=True)


def _print_root(console: Console, root: Finding) -> None:
    name = f"{root.row.title} ({root.row.id})" if root.row else "not in the table of known failures"
    where = [root.site or "server"]
    if root.round is not None:
        where.append(f"round {root.round}")
    if root.file:
        where.append(f"{root.file}:{root.line}")
    rows = [
        ("Root cause", name),
        ("Where", ", ".join(where)),
        ("When", root.time),
        ("What", root.message),
        ("Why", root.row.cause if root.row else ""),
        ("Fix", root.row.fix if root.row else ""),
        ("Log", f"{root.log}:{root.log_line}" if root.log_line else root.log),
    ]
    for label, text in rows:
        if text:
            console.print(Text.assemble((f"{label + ':':12}", "bold"), text), soft_wrap=True)
    if root.traceback:
        console.print(Text(f"\n{root.traceback}", style="dim"), soft_wrap=True)


def _line(finding: Finding) -> str:
    kind = f"{finding.row.id}: " if finding.row else ""
    remark = " (a consequence)" if finding.is_consequence else " (survived)" if finding.survived else ""
    often = f" ({finding.count} times)" if finding.count > 1 else ""
    described = finding.describe()
    return f"{finding.time} {kind}{described[:300]}{'...' if len(described) > 300 else ''}{often}{remark}".strip()
