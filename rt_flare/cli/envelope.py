"""NVFlare's envelope around what a command answers with ``--format json``."""

from __future__ import annotations

from typing import Any

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json

__all__ = ["SCHEMA_VERSION", "print_envelope"]

SCHEMA_VERSION = "1"


def print_envelope(command: str, data: dict[str, Any], code: ExitCode = ExitCode.OK) -> int:
    """Print ``{"schema_version", "status", "exit_code", "command", "data"}`` and return the exit code.

    ``status`` is ``ok`` for exit code 0 and ``error`` else, as NVFlare's own commands say it.
    """
    status = "ok" if code is ExitCode.OK else "error"
    document = {"schema_version": SCHEMA_VERSION, "status": status, "exit_code": int(code), "command": command}
    print_json({**document, "data": data})
    return code
