"""``rt-flare timeouts lint`` and ``apply``: the work, and what is printed of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.cli.round_view import make_console
from rt_flare.cli.timeouts_commands import model_size, timeouts_document
from rt_flare.timeouts.finding import Facts
from rt_flare.timeouts.kit_apply import AppliedKit, plan_kit
from rt_flare.timeouts.kit_files import write_comm_config
from rt_flare.timeouts.lint import LintReport, lint
from rt_flare.timeouts.placement import Exchange, apply_preset
from rt_flare.timeouts.quantity import parse_bandwidth

__all__ = ["apply_command", "lint_command"]


def lint_command(
    *,
    targets: Sequence[Path],
    num_sites: int | None,
    params: str | None,
    model_bytes: str | None,
    dtype: str,
    bandwidth: str | None,
    round_seconds: float | None,
    exchange: Exchange | None,
    simulator_threads: int | None,
    nvflare_version: str | None,
    as_json: bool,
) -> int:
    """Check jobs and kits, print what was found, and return the exit code."""
    facts = Facts(
        num_sites=num_sites,
        model_bytes=model_size(params, model_bytes, dtype),
        bytes_per_second=parse_bandwidth(bandwidth) if bandwidth else None,
        round_seconds=round_seconds,
        exchange=exchange,
        simulator_threads=simulator_threads,
        nvflare_version=nvflare_version,
    )
    report = lint(targets, facts)
    code = ExitCode.FAILED if report.failed else ExitCode.OK
    if as_json:
        print_json(timeouts_document("timeouts lint", code, **_document(report)))
    else:
        _print(report)
    return code


def apply_command(*, kits: Sequence[Path], preset: str, num_sites: int, dry_run: bool, as_json: bool) -> int:
    """Write a preset's comm_config.json into kits, say what changes and what is left to do, return the exit code."""
    placed = apply_preset(preset, num_sites=num_sites)
    # All are read before one is written.
    plans = [plan_kit(kit, placed) for kit in kits]
    for plan in plans:
        if plan.changes and not dry_run:
            write_comm_config(plan.kit, plan.content)
    if as_json:
        described = [plan.to_json() for plan in plans]
        print_json(timeouts_document("timeouts apply", preset=placed.preset, dry_run=dry_run, kits=described))
        return ExitCode.OK
    console = make_console()
    for plan in plans:
        console.print(Text(_outcome(plan, dry_run)), soft_wrap=True)
        for change in plan.changes:
            before = "" if change.before is None else f"  - {change.key}: {change.before}\n"
            console.print(Text(f"{before}  + {change.key}: {change.after}"), soft_wrap=True)
        for line in (*plan.skipped, *plan.by_hand):
            console.print(Text(f"  {line}"), soft_wrap=True)
    return ExitCode.OK


def _outcome(plan: AppliedKit, dry_run: bool) -> str:
    path = plan.kit.folder / "local" / "comm_config.json"
    if not plan.changes:
        return f"{path}: nothing to change"
    verb = "would change" if dry_run else "written; restart the site: its processes read the file once"
    return f"{path}: {verb}"


def _document(report: LintReport) -> dict[str, Any]:
    return {
        "targets": [str(target) for target in report.targets],
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity.value,
                "file": str(finding.file),
                "key": finding.key,
                "found": finding.found,
                "expected": finding.expected,
                "message": finding.message,
            }
            for finding in report.findings
        ],
        "unchecked": list(report.unchecked),
    }


def _print(report: LintReport) -> None:
    console = make_console()
    if report.findings:
        table = Table("rule", "file and key", "found, expected, and what it means", show_lines=True, pad_edge=False)
        table.columns[1].overflow = "fold"
        for finding in report.findings:
            place = f"{finding.file}\n{finding.key}"
            meaning = f"found {finding.found}, expected {finding.expected}\n{finding.message}"
            table.add_row(*(Text(cell) for cell in (f"{finding.rule}\n{finding.severity.value}", place, meaning)))
        console.print(table)
    else:
        console.print("No mistake found.")
    for line in report.unchecked:
        console.print(Text(f"not checked: {line}"), soft_wrap=True)
