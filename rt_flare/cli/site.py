"""``rt-flare site``: for the administrator of a server or a site; the arguments. The work is in `site_commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.group_help import help_without_command
from rt_flare.cli.output_format import Format, FormatOption

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)

_KitArgument = Annotated[Path, typer.Argument(metavar="KIT", help="The startup kit of a server or a site.")]


@app.callback()
def _group(context: typer.Context) -> int | None:
    """For administrators: let jobs use rt_flare at a site, and check that they can."""
    return help_without_command(context)


@app.command()
def allow(
    kit: _KitArgument,
    install: Annotated[bool, typer.Option("--install", help="Write them into KIT/local/resources.json.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what --install would write, and write nothing.")] = (
        False
    ),
    prefix: Annotated[
        list[str] | None, typer.Option(metavar="PACKAGE.", help="One more package that jobs may use; repeatable.")
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Show the class_allow_list entries that jobs without custom code need, or install them.

    They are rt_flare's own and those of the plugins that are installed here and bring components. NVFlare reads the
    file again for the next job: nothing has to be restarted. Do this at the server and at every site.
    """
    from rt_flare.cli.site_commands import allow_command

    if install and dry_run:
        raise typer.BadParameter("give either --install or --dry-run, not both")
    return allow_command(folder=kit, install=install, dry_run=dry_run, more=prefix or [], as_json=output is Format.JSON)


@app.command()
def outcomes(
    kit: Annotated[Path, typer.Argument(metavar="KIT", help="The startup kit of the server.")],
    install: Annotated[bool, typer.Option("--install", help="Write it into KIT/local/resources.json.")] = False,
    output: FormatOption = Format.TXT,
) -> int:
    """Keep a site that is killed, restarted or hangs from spoiling the status of a job that finished without it.

    Without --install, says whether the server has the component. The server must be restarted to load it.
    """
    from rt_flare.cli.site_commands import outcomes_command

    return outcomes_command(folder=kit, install=install, as_json=output is Format.JSON)


@app.command()
def check(
    kit: _KitArgument,
    data_dir: Annotated[
        str, typer.Option(help="Folder that shards are unpacked in, as the jobs name it.")
    ] = "/var/tmp/nvflare/data",  # noqa: S108 - the documented default of the sites
    output: FormatOption = Format.TXT,
) -> int:
    """Check what a site needs before jobs come: versions, plugins, disk, GPU, permissions, and that user code starts.

    The interpreter is the one that the kit's start.sh finds: python3 on the path. Exits with 1 if something fails.
    """
    from rt_flare.cli.site_commands import check_command

    return check_command(folder=kit, data_dir=Path(data_dir), as_json=output is Format.JSON)
