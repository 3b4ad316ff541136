"""``rt-flare report``: its arguments. The work is in `report_command`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


class ReportFormat(StrEnum):
    """The form of a report."""

    HTML = "html"
    MD = "md"
    JSON = "json"


def report(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of a run's results, or what nvflare job download wrote.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write. Default: report.html beside files_out; for md, stdout."),
    ] = None,
    output: Annotated[
        ReportFormat,
        typer.Option(
            "--format",
            help="html: a page that needs nothing else. md: Markdown. json: the page, and one JSON document on stdout "
            "that says where it is and how the run ended.",
        ),
    ] = ReportFormat.HTML,
) -> int:
    """Put a run on one page: metrics, rounds, sites, verdicts, configuration, files. It is read offline."""
    from rt_flare.cli.report_command import report_command

    return report_command(
        path=path, out=out, as_markdown=output is ReportFormat.MD, as_json=output is ReportFormat.JSON
    )
