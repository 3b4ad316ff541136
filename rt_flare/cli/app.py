"""The commands of ``rt-flare``, their arguments and exit codes."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from rt_flare.cli import job, jobs, plugins, shards, site
from rt_flare.cli.check import check
from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.group_help import help_without_command
from rt_flare.cli.import_job import import_job
from rt_flare.cli.init import init
from rt_flare.cli.output_format import Format, FormatOption
from rt_flare.cli.reply import error_document, print_json
from rt_flare.cli.report import report
from rt_flare.cli.timeouts import app as timeouts_app
from rt_flare.data.storage_url import shown_text
from rt_flare.errors import AccessError, ConfigError, JobError, JobTimeoutError, LinkError, RtFlareError

__all__ = ["app", "main"]

# Typer carries a copy of click, or uses the installed one, depending on its version: asked for by what it exports.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
_COMMAND_LINE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


app = typer.Typer(
    name="rt-flare",
    help="Federated training of PyTorch models with NVIDIA FLARE.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(init)
app.command()(check)
app.command("import")(import_job)
app.add_typer(job.app, name="job")
app.add_typer(plugins.app)
app.add_typer(shards.app, name="shards")
app.add_typer(site.app, name="site")
app.command()(report)


@app.callback()
def _root(context: typer.Context) -> int | None:
    """Federated training of PyTorch models with NVIDIA FLARE."""
    return help_without_command(context)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything; made if missing.")] = Path("rt-quickstart"),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of training.")] = 10,
    sites: Annotated[int, typer.Option(min=1, max=50, help="Sites; each gets one shard of the digits.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the split, the model, the training.")] = 0,
    model_def: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Module to train instead of the quickstart's own.")
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Train on scanned digits at several sites, in NVFlare's simulator on this machine."""
    from rt_flare.cli.quickstart_command import quickstart_command

    return quickstart_command(
        out=out, rounds=rounds, sites=sites, seed=seed, model_def=model_def, as_json=output is Format.JSON
    )


@app.command()
def run(
    job_folder: Annotated[Path, typer.Argument(metavar="JOB_FOLDER", help="An NVFlare job, or a project.")],
    sites: Annotated[str | None, typer.Option(metavar="A,B,...", help="Names of the sites, with commas.")] = None,
    num_sites: Annotated[
        int | None, typer.Option("-n", min=1, max=100, metavar="N", help="That many sites: site-1, site-2, ...")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the results. Default: ./NAME-run for the job NAME, PROJECT/run."),
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Run a job folder, or a project's job, in NVFlare's simulator on this machine and collect its results.

    Without --sites and -n, the sites are those that there are shards for, or as many as the job needs at least.
    """
    from rt_flare.cli.run_command import run_command

    if sites is not None and num_sites is not None:
        raise typer.BadParameter("give either --sites or -n, not both")
    return run_command(
        job_folder=job_folder,
        sites=sites.split(",") if sites is not None else None,
        num_sites=num_sites,
        out=out,
        as_json=output is Format.JSON,
    )


@app.command()
def doctor(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Results, a downloaded job, a workspace, a deployment, or one log.")
    ],
    job_id: Annotated[
        str | None, typer.Option("--job", metavar="ID", help="The job, where PATH holds several. Default: the latest.")
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Find what a job failed of: the first root cause in the logs of all its processes, and what to do about it.

    Exits with 1 if something failed the job.
    """
    from rt_flare.cli.doctor_command import doctor_command

    return doctor_command(path=path, job_id=job_id, as_json=output is Format.JSON)


jobs.add_job_commands(app)
app.add_typer(timeouts_app, name="timeouts")


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 no server, 3 timeout, 4 wrong usage, 5 an error of our own."""
    signal.signal(signal.SIGTERM, _terminated)
    warnings.showwarning = _show_warning
    arguments = sys.argv[1:]
    try:
        code = app(args=arguments, prog_name="rt-flare", standalone_mode=False)
        if code == ExitCode.INTERRUPTED:  # Typer's answer to Ctrl-C, with which it passes on what was interrupted
            goes_on = arguments[:1] in (["submit"], ["watch"], ["cancel"])
            what = "a job that was submitted goes on" if goes_on else "every process of the run has ended"
            what += "; rt-flare resume goes on after its last complete round" if arguments[:1] == ["run"] else ""
            _report(arguments, ExitCode.INTERRUPTED, "interrupted", f"interrupted; {what}")
    except _COMMAND_LINE_ERROR as error:
        message = str(getattr(error, "format_message", error.__str__)()).rstrip(".")
        hint = "; see rt-flare --help" if isinstance(error, _USAGE_ERROR) else ""
        code = _report(arguments, ExitCode.USAGE, "usage", f"{message}{hint}")
    except (ConfigError, JobError) as error:
        code = _report(arguments, ExitCode.USAGE, error.code, str(error))
    except (LinkError, AccessError) as error:
        code = _report(arguments, ExitCode.CONNECTION, error.code, str(error))
    except JobTimeoutError as error:
        code = _report(arguments, ExitCode.TIMEOUT, error.code, str(error))
    except (RtFlareError, OSError) as error:
        code = _report(arguments, ExitCode.FAILED, getattr(error, "code", "os"), str(error))
    except Exception as error:  # noqa: BLE001 - the last one to see it
        traceback.print_exc()
        code = _report(arguments, ExitCode.INTERNAL, "internal", f"{type(error).__name__}: {error}")
    sys.exit(int(code or 0))


def _report(arguments: list[str], code: ExitCode, kind: str, message: str) -> int:
    # Whatever was typed in the place of something else may be quoted in the message.
    message = shown_text(message)
    if "--format=json" in arguments or ("--format", "json") in pairwise(arguments):
        print_json(error_document(arguments[0] if arguments else "", code, kind, message))
    else:
        print(f"rt-flare: {message}", file=sys.stderr)
    return int(code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    print(f"rt-flare: warning: {message}", file=sys.stderr)


def _terminated(number: int, frame: FrameType | None) -> None:
    # As Ctrl-C: what was started is ended on the way out.
    raise KeyboardInterrupt
