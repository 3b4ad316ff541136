"""``rt-flare init``: a project to begin with; arguments, and what is printed."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.output_format import Format, FormatOption
from rt_flare.cli.reply import print_json

__all__ = ["init"]

_SCHEMA = "rt_flare.init/1"


class Kind(StrEnum):
    """What a project trains on."""

    IMAGES = "images"
    TABULAR = "tabular"
    TEXT = "text"
    CUSTOM = "custom"


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder; new or empty.")],
    kind: Annotated[Kind, typer.Option(help="What it trains on.")] = Kind.IMAGES,
    output: FormatOption = Format.TXT,
) -> int:
    """Write a project that works as it is: model_def.py, rt_flare.toml, make_data.py and its shards, README.md."""
    from rt_flare.projects import ProjectKind, create_project

    files = create_project(ProjectKind(kind.value), folder)
    commands = [["rt-flare", "check", str(folder)], ["rt-flare", "run", str(folder)]]
    shown = [shlex.join(command) for command in commands]
    if output is Format.JSON:
        content = {"project": str(folder), "files": [str(path) for path in files], "next_commands": shown}
        envelope = {"schema": _SCHEMA, "command": "init", "exit_code": int(ExitCode.OK), "error": None}
        print_json(envelope | content)
        return ExitCode.OK
    print(f"{folder}: a project for {kind.value}: {', '.join(path.name for path in files)}, shards/")
    print("Try next:")
    for command in shown:
        print(f"  {command}")
    return ExitCode.OK
