"""The option ``--format`` that every command has; a report has forms of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["Format", "FormatOption", "ReportFormat", "ReportFormatOption"]


class Format(StrEnum):
    """What a command prints."""

    TXT = "txt"
    JSON = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="txt: for people. json: one JSON document on stdout, nothing else.")
]


class ReportFormat(StrEnum):
    """The form of a report."""

    HTML = "html"
    MD = "md"
    JSON = "json"


ReportFormatOption = Annotated[
    ReportFormat,
    typer.Option(
        "--format",
        help="html: a page that needs nothing else. md: Markdown on stdout. json: the page, and one JSON document on "
        "stdout that says where it is and how the run ended.",
    ),
]
