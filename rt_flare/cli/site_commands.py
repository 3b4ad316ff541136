"""What ``rt-flare site`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.cli.round_view import make_console
from rt_flare.jobs.site_allow import needed_prefixes, plan_allow
from rt_flare.jobs.site_checks import Finding, Level, check_kit
from rt_flare.jobs.site_kit import ResourcesPlan, install_plan, read_kit
from rt_flare.jobs.site_outcomes import plan_outcomes

__all__ = ["allow_command", "check_command"]

_SCHEMA = "rt_flare.site/1"
_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def allow_command(*, folder: Path, install: bool, dry_run: bool, more: Sequence[str], as_json: bool) -> int:
    """Show or install the entries, and return the exit code."""
    prefixes = list(dict.fromkeys([*needed_prefixes(), *more]))
    plan = plan_allow(read_kit(folder), prefixes)
    if install:
        install_plan(plan)
    if as_json:
        document = _plan_document("site allow", plan, written=install and bool(plan.added))
        print_json(document | {"prefixes": prefixes})
        return ExitCode.OK
    if not (install or dry_run):
        print("\n".join(prefixes))
        return ExitCode.OK
    for prefix in prefixes:
        missing = "added" if install else "would be added"
        print(f"{prefix:24} {missing if prefix in plan.added else 'allowed already'}")
    if plan.added:
        done = "written" if install else "would be written"
        print(f"{plan.kit.own_resources_file}: {done}, everything else in it stays")
    return ExitCode.OK


def outcomes_command(*, folder: Path, install: bool, as_json: bool) -> int:
    """Show or install the server's component, and return the exit code."""
    plan = plan_outcomes(read_kit(folder))
    if install:
        install_plan(plan)
    if as_json:
        print_json(_plan_document("site outcomes", plan, written=install and bool(plan.added)))
    elif not plan.added:
        print("present: a restarted site does not spoil the status of a finished job")
    elif install:
        print(f"{plan.kit.own_resources_file}: written, everything else in it stays; restart the server")
    else:
        print(f"missing: {', '.join(plan.added)}; --install adds it")
    return ExitCode.OK


def check_command(*, folder: Path, data_dir: Path, as_json: bool) -> int:
    """Check the kit, show one row for each finding, and return the exit code."""
    kit = read_kit(folder)
    findings = check_kit(kit, data_dir=data_dir)
    code = ExitCode.FAILED if any(finding.level is Level.FAIL for finding in findings) else ExitCode.OK
    if as_json:
        rows = [asdict(finding) for finding in findings]
        print_json(_envelope("site check", code) | {"kit": str(kit.folder), "role": kit.role, "findings": rows})
    else:
        make_console().print(_table(findings))
    return code


def _plan_document(command: str, plan: ResourcesPlan, *, written: bool) -> dict[str, Any]:
    return _envelope(command, ExitCode.OK) | {
        "kit": str(plan.kit.folder),
        "file": str(plan.kit.own_resources_file),
        "missing": list(plan.added),
        "written": written,
    }


def _envelope(command: str, code: ExitCode) -> dict[str, Any]:
    return {"schema": _SCHEMA, "command": command, "exit_code": int(code), "error": None}


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        level = Text(finding.level.value, style=_STYLES[finding.level])
        table.add_row(Text(finding.check), level, Text(finding.found), Text(finding.advice))
    return table
