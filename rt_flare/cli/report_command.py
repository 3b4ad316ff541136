"""``rt-flare report``: the work, and what is printed of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.core.durable_io import write_bytes
from rt_flare.errors import ConfigError
from rt_flare.report.contents import ReportContents, report_contents
from rt_flare.report.markdown import render_markdown
from rt_flare.report.page import render_html
from rt_flare.report.run_folder import read_run

__all__ = ["report_command"]

_SCHEMA = "rt_flare.report/1"
_FILE = "report.html"


def report_command(*, path: Path, out: Path | None, as_markdown: bool, as_json: bool) -> int:
    """Make the report, say where it is, and return the exit code.

    Raises:
        JobError: there is no run at ``path``.
        ConfigError: ``out`` is a folder.
    """
    run = read_run(path)
    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out}: found a folder, expected the name of a file")
    if as_markdown:
        text = render_markdown(report_contents(run, seen_from=run.folder))
        if out is None:
            sys.stdout.write(text)
            return ExitCode.OK
        write_bytes(out, text.encode())
        print(out)
        return ExitCode.OK
    target = out or run.folder / _FILE
    contents = report_contents(run, seen_from=target.parent.resolve())
    write_bytes(target, render_html(contents).encode())
    if as_json:
        print_json(_document(contents, target))
    else:
        print(f"{target}: {contents.title}, {run.ledger.state}; open it in a browser")
    return ExitCode.OK


def _document(contents: ReportContents, target: Path) -> dict[str, Any]:
    ledger, last = contents.run.ledger, contents.last
    return {
        "schema": _SCHEMA,
        "command": "report",
        "exit_code": int(ExitCode.OK),
        "error": None,
        "report": str(target),
        "run": str(contents.run.folder),
        "job_id": ledger.job_id,
        "job_name": contents.run.job_name,
        "state": ledger.state,
        "stop_reason": ledger.stop_reason,
        "root_cause": ledger.error.model_dump() if ledger.error else None,
        "num_rounds": ledger.num_rounds,
        "verdicts": contents.verdicts,
        "num_sites": len(contents.sites),
        "seconds": contents.seconds,
        "last_round": last.round if last else None,
        "train_metrics": last.train_metrics if last else {},
        "global_metrics": last.global_metrics if last else None,
        "notes": list(contents.run.notes),
    }
