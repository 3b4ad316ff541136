"""The one JSON document that a command prints with ``--format json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt_flare.cli.exit_code import ExitCode

if TYPE_CHECKING:
    from rt_flare.jobs.outcome import RunOutcome

__all__ = ["error_document", "outcome_document", "print_json"]

_SCHEMA = "rt_flare.run/1"


def outcome_document(
    command: str, outcome: RunOutcome, *, job_dir: Path, outputs: Sequence[Path], extra: dict[str, Any]
) -> dict[str, Any]:
    """What a run gave.

    ``held_out_accuracy`` and ``central_accuracy`` are null unless ``extra`` has them.
    """
    return {
        "schema_version": "1",
        "status": "ok" if exit_code(outcome) is ExitCode.OK else "error",
        "schema": _SCHEMA,
        "command": command,
        "state": outcome.state.value,
        "exit_code": int(exit_code(outcome)),
        "error": outcome.error.model_dump() if outcome.error else None,
        "stop_reason": outcome.stop_reason,
        "held_out_accuracy": None,
        "central_accuracy": None,
        "seconds": round(outcome.seconds, 3),
        "sites": list(outcome.site_dirs),
        "rounds": [record.to_json() for record in outcome.rounds],
        "job_dir": str(job_dir),
        "outputs": [str(path) for path in outputs],
        "notes": list(outcome.notes),
    } | extra


def error_document(command: str, code: ExitCode, kind: str, message: str) -> dict[str, Any]:
    """What kept a command from coming to a result."""
    return {
        "schema_version": "1",
        "status": "error",
        "error_code": kind.upper(),
        "message": message,
        "schema": _SCHEMA,
        "command": command,
        "state": "CANCELLED" if code is ExitCode.INTERRUPTED else None,
        "exit_code": int(code),
        "error": {"kind": kind, "message": message},
        "stop_reason": None,
        "held_out_accuracy": None,
        "central_accuracy": None,
        "seconds": 0.0,
        "sites": [],
        "rounds": [],
        "job_dir": None,
        "outputs": [],
        "notes": [],
    }


def exit_code(outcome: RunOutcome) -> ExitCode:
    """0 for a finished job, else 1."""
    return ExitCode.OK if outcome.state.value == "FINISHED" else ExitCode.FAILED


def print_json(document: dict[str, Any]) -> None:
    """Print ``document`` on stdout as strict JSON: floats that JSON lacks become their names."""
    from rt_flare.core.durable_io import to_strict_json

    json.dump(to_strict_json(document), sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
    sys.stdout.flush()
