"""The option ``--format`` that every command has."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["Format", "FormatOption"]


class Format(StrEnum):
    """What a command prints."""

    TXT = "txt"
    JSON = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="txt: for people. json: one JSON document on stdout, nothing else.")
]
