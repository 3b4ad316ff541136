"""``rt-flare job``: jobs from templates; the arguments. The work is in `job_commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.group_help import help_without_command
from rt_flare.cli.output_format import Format, FormatOption

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)

_VALUES = "Settings by their exact names; client.SEED=1 for one file. Values are JSON, or text."


@app.callback()
def _group(context: typer.Context) -> int | None:
    """Job folders: list the templates, show their settings, make a job, change one."""
    return help_without_command(context)


@app.command("list")
def list_templates(output: FormatOption = Format.TXT) -> int:
    """List the installed templates."""
    from rt_flare.cli.job_commands import list_command

    return list_command(as_json=output is Format.JSON)


@app.command()
def show(
    target: Annotated[str, typer.Argument(metavar="TEMPLATE", help="Name of a template, or path of a job folder.")],
    output: FormatOption = Format.TXT,
) -> int:
    """Show every setting of a template or a job, with its value and what it means."""
    from rt_flare.cli.job_commands import show_command

    return show_command(target=target, as_json=output is Format.JSON)


@app.command()
def new(
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="Name of a template; see rt-flare job list.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The job folder to make; new or empty.")],
    values: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help=_VALUES)] = None,
    model_def: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Module with the model and fl_train_model; its imports beside it go along. None: no code.",
        ),
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Make a job folder, for rt-flare run, nvflare simulator and nvflare job submit."""
    from rt_flare.cli.job_commands import new_command

    return new_command(
        template=template, out=out, values=values or [], model_def=model_def, as_json=output is Format.JSON
    )


@app.command("set")
def set_values(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="A job folder.")],
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help=_VALUES)],
    output: FormatOption = Format.TXT,
) -> int:
    """Change settings of a job; the comments stay."""
    from rt_flare.cli.job_commands import set_command

    return set_command(job=job, values=values, as_json=output is Format.JSON)
