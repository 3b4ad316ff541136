"""``rt-flare import``: the arguments. The work is in `import_command`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.output_format import Format, FormatOption

__all__ = ["import_job"]


def import_job(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A job of resontech 0.3, as it uploads it or as NVFlare runs it.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The project; new or empty. Default: ./NAME for the job NAME.")
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its shards, where FOLDER has none: a ZIP for each site.")
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Turn a job of the published SDK into a project, and say what was kept, mapped and dropped.

    Runs no code of it. Exits with 1 if what was dropped changes what the job does.
    """
    from rt_flare.cli.import_command import import_command

    return import_command(folder=folder, out=out, shards=shards, as_json=output is Format.JSON)
