"""``rt-flare check``: the arguments. The work is in `check_command`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.output_format import Format, FormatOption

__all__ = ["check"]


def check(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A model_def.py, a project, a folder of shards or a job folder.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="Class or factory in a module by itself.")] = "Model",
    model_args: Annotated[str, typer.Option(metavar="JSON", help="Its keyword arguments, as an object.")] = "{}",
    shards: Annotated[Path | None, typer.Option(metavar="DIR", help="Shards to try a module by itself with.")] = None,
    sites: Annotated[int | None, typer.Option(min=1, help="Number of sites: there must be as many shards.")] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Build the model and train it on one batch, in a child process.")
    ] = True,
    images: Annotated[bool, typer.Option(help="Decode every image.")] = True,
    memory: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Memory of the dry run: 8GB. Default: what is free here.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="For each step of the dry run.")] = 120.0,
    output: FormatOption = Format.TXT,
) -> int:
    """Check before anything is uploaded: code, shards, configuration, timeouts, secrets; report every problem.

    Exits with 1 on errors and warnings.
    """
    from rt_flare.cli.check_command import check_command

    return check_command(
        path=path,
        model=model,
        model_args=model_args,
        shards=shards,
        sites=sites,
        dry_run=dry_run,
        images=images,
        memory=memory,
        timeout=timeout,
        as_json=output is Format.JSON,
    )
