"""``rt-flare import``: the work, and what is printed of it."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rt_flare.cli.envelope import print_envelope
from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.round_view import make_console
from rt_flare.jobs.published.change import Change, ChangeKind
from rt_flare.jobs.published.import_job import import_job
from rt_flare.report.shown_text import shown

__all__ = ["import_command"]


def import_command(*, folder: Path, out: Path | None, shards: Path | None, as_json: bool) -> int:
    """Import, print what became of everything, and return the exit code."""
    imported = import_job(folder, out, shards=shards)
    code = ExitCode.FAILED if imported.needs_attention else ExitCode.OK
    commands = [shlex.join(["rt-flare", command, str(imported.project)]) for command in ("check", "run")]
    if as_json:
        changes = [asdict(change) | {"kind": change.kind.value} for change in imported.changes]
        data = {"project": str(imported.project), "changes": changes, "next_commands": commands}
        return print_envelope("import", data, code)
    console = make_console()
    for kind in ChangeKind:
        for change in imported.changes:
            if change.kind is kind:
                _print(console, change)
    if code is ExitCode.FAILED:
        console.print(Text("What is marked with ! changes what the job does: see to it first."), soft_wrap=True)
    console.print(Text(f"{imported.project}: a project. Try next:"), soft_wrap=True)
    for command in commands:
        console.print(Text(f"  {command}"), soft_wrap=True)
    return code


def _print(console: Console, change: Change) -> None:
    line = f"{'!' if change.needs_attention else ' '} {change.kind.value:7}  {change.what}"
    line += f" -> {change.became}" if change.became else ""
    line += f": {change.reason}" if change.reason else ""
    console.print(Text(shown(line)), soft_wrap=True)
