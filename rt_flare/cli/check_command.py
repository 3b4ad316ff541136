"""``rt-flare check``: the work, and what is printed of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.cli.round_view import make_console
from rt_flare.errors import ConfigError
from rt_flare.jobs.check.finding import CheckFinding, Severity
from rt_flare.jobs.check.offline_check import check_path
from rt_flare.jobs.check.options import CheckOptions, CheckReport
from rt_flare.timeouts.quantity import parse_bytes

__all__ = ["check_command"]

_SCHEMA = "rt_flare.check/1"
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold"}


def check_command(
    *,
    path: Path,
    model: str,
    model_args: str,
    shards: Path | None,
    sites: int | None,
    dry_run: bool,
    images: bool,
    memory: str | None,
    timeout: float,
    as_json: bool,
) -> int:
    """Check, print every finding, and return the exit code."""
    options = CheckOptions(
        model=model,
        model_args=_parse_args(model_args),
        shards=shards,
        num_sites=sites,
        dry_run=dry_run,
        images=images,
        memory_limit_bytes=parse_bytes(memory) if memory else 0,
        deadline_seconds=timeout,
    )
    console = make_console()
    if as_json:
        report = check_path(path, options)
    elif console.is_terminal:
        with console.status("") as status:
            report = check_path(path, options, lambda text: status.update(Text(text)))
    else:
        report = check_path(path, options)
    code = ExitCode.FAILED if report.failed else ExitCode.OK
    if as_json:
        print_json(_document(report, code))
    else:
        _print(console, report)
    return code


def _parse_args(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f'--model-args: found {text!r}, expected an object like {{"width": 64}}: {error}') from error
    if not isinstance(found, dict):
        raise ConfigError(f'--model-args: found {text!r}, expected an object like {{"width": 64}}')
    return found


def _document(report: CheckReport, code: ExitCode) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "command": "check",
        "exit_code": int(code),
        "error": None,
        "target": str(report.target),
        "kind": report.kind.value,
        "findings": [asdict(finding) | {"severity": finding.severity.value} for finding in report.findings],
        "unchecked": list(report.unchecked),
    }


def _print(console: Console, report: CheckReport) -> None:
    for finding in report.findings:
        _print_finding(console, finding)
    for line in report.unchecked:
        console.print(Text(f"not checked: {line}"), soft_wrap=True)
    counts = {severity: sum(f.severity is severity for f in report.findings) for severity in Severity}
    shown = [f"{count} {severity.value}{'s' * (count > 1)}" for severity, count in counts.items() if count]
    console.print(
        Text(f"{report.target} ({report.kind.value}): {', '.join(shown) or 'no mistake found'}"), soft_wrap=True
    )


def _print_finding(console: Console, finding: CheckFinding) -> None:
    place = f"{finding.file}{'' if finding.line is None else f':{finding.line}'}" if finding.file else ""
    head = Text.assemble((finding.severity.value, _STYLES[finding.severity]), f" {finding.code}")
    head.append(f"  {place}" if place else "")
    head.append(f"  {finding.field}" if finding.field else "")
    console.print(head, soft_wrap=True)
    console.print(Text(f"  found {finding.found}, expected {finding.expected}"), soft_wrap=True)
    console.print(Text(f"  {finding.fix}"), soft_wrap=True)
