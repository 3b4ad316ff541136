"""Commands for submitted jobs: their arguments. The work is in `submitted_commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.output_format import Format, FormatOption

__all__ = ["add_job_commands"]


def _names_here(incomplete: str) -> list[str]:
    """What a shell completes: the jobs below the working folder."""
    return sorted(
        path.parent.name for path in Path("jobs").glob("*/status.json") if path.parent.name.startswith(incomplete)
    )


_JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="The job's folder, as jobs/NAME; its NAME; or with --kit NVFlare's id.",
        autocompletion=_names_here,
    ),
]
_KitOption = Annotated[
    Path | None, typer.Option("--kit", metavar="DIR", help="Startup kit, for a job that has no folder here.")
]
_DAY_SECONDS = 86_400.0


def submit(
    job_folder: Annotated[Path, typer.Argument(metavar="JOB_FOLDER", help="An NVFlare job, or a project.")],
    where: Annotated[
        str,
        typer.Option(
            metavar="WHERE", help="simulator, poc (a deployment of its own), poc:FOLDER, or a startup kit's folder."
        ),
    ] = "simulator",
    sites: Annotated[str | None, typer.Option(metavar="A,B,...", help="Names of the sites, with commas.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for status and results. Default: jobs/NAME.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the job until it has ended.")] = False,
    output: FormatOption = Format.TXT,
) -> int:
    """Submit a job and return while it runs; it goes on when this shell ends."""
    from rt_flare.cli.submitted_commands import submit_command

    names = sites.split(",") if sites is not None else None
    return submit_command(
        job_folder=job_folder, where=where, sites=names, out=out, watch=watch, as_json=output is Format.JSON
    )


def status(job: _JobArgument, kit: _KitOption = None, output: FormatOption = Format.TXT) -> int:
    """Show where a job stands: state, sites, rounds, and what went wrong."""
    from rt_flare.cli.submitted_commands import status_command

    return status_command(job=job, kit=kit, as_json=output is Format.JSON)


def watch(
    job: _JobArgument,
    kit: _KitOption = None,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to watch.")] = _DAY_SECONDS,
    output: FormatOption = Format.TXT,
) -> int:
    """Show a job until it has ended, and bring its results here; Ctrl-C leaves it running."""
    from rt_flare.cli.submitted_commands import watch_command

    return watch_command(job=job, kit=kit, timeout_seconds=timeout, as_json=output is Format.JSON)


def stop(
    job: _JobArgument,
    kit: _KitOption = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept as the job's stop reason.")] = "stopped by the user",
    output: FormatOption = Format.TXT,
) -> int:
    """Let a job end after its current round, with its outputs complete: it will be FINISHED."""
    from rt_flare.cli.submitted_commands import stop_command

    return stop_command(job=job, kit=kit, reason=reason, as_json=output is Format.JSON)


def cancel(job: _JobArgument, kit: _KitOption = None, output: FormatOption = Format.TXT) -> int:
    """End a job at once: it will be CANCELLED; what finished rounds have written stays."""
    from rt_flare.cli.submitted_commands import cancel_command

    return cancel_command(job=job, kit=kit, as_json=output is Format.JSON)


def resume(
    job: _JobArgument,
    rounds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Rounds of the whole job, to extend it. Default: as before.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the job until it has ended.")] = False,
    output: FormatOption = Format.TXT,
) -> int:
    """Go on after the last complete round of a job that was stopped, cancelled or failed, into the same results.

    JOB may be the folder of an interrupted `rt-flare run` as well, or its project: it goes on here, in this shell.
    """
    from rt_flare.cli.submitted_commands import resume_command

    return resume_command(job=job, rounds=rounds, watch=watch, as_json=output is Format.JSON)


def logs(
    job: _JobArgument,
    site: Annotated[str, typer.Option(metavar="NAME", help="server, a site, or all.")] = "server",
    tail: Annotated[int, typer.Option(min=0, metavar="N", help="Only the last N lines; 0 for all.")] = 0,
    kit: _KitOption = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Print the logs of a job, while it runs and afterwards."""
    from rt_flare.cli.submitted_commands import logs_command

    return logs_command(job=job, site=site, tail=tail, kit=kit, as_json=output is Format.JSON)


def results(
    job: _JobArgument,
    name: Annotated[str | None, typer.Argument(metavar="[FILE]", help="One of them; its text is printed.")] = None,
    download: Annotated[Path | None, typer.Option(metavar="PATH", help="Copy FILE there instead.")] = None,
    url: Annotated[bool, typer.Option("--url", help="Print a URL that lets anybody read FILE for an hour.")] = False,
    output: FormatOption = Format.TXT,
) -> int:
    """List the results of a job, read one, copy one, or make a signed URL for one.

    JOB may also be a folder that rt-flare run or nvflare job download wrote.
    """
    from rt_flare.cli.submitted_commands import results_command

    if (download is not None or url) and name is None:
        raise typer.BadParameter("--download and --url need FILE")
    return results_command(job=job, name=name, download=download, url=url, as_json=output is Format.JSON)


def add_job_commands(app: typer.Typer) -> None:
    """Put these commands into the root of ``rt-flare``."""
    for command in (submit, status, watch, stop, cancel, resume, logs, results):
        app.command()(command)
