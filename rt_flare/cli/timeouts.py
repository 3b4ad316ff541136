"""``rt-flare timeouts``: presets, suggestions, checks, startup kits; the arguments. The work: `timeouts_commands`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.group_help import help_without_command
from rt_flare.cli.output_format import Format, FormatOption

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)


class Dtype(StrEnum):
    """Type of the parameters."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT8 = "float8"
    INT8 = "int8"


class Exchange(StrEnum):
    """What travels."""

    TENSOR = "tensor"
    NP = "np"


_Sites = Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of sites.")]
_Params = Annotated[str | None, typer.Option(metavar="NUMBER", help="Parameters that travel, like 110M or 7B.")]
_ModelBytes = Annotated[str | None, typer.Option(metavar="SIZE", help="Instead of --params: bytes, like 440MB.")]
_Dtype = Annotated[Dtype, typer.Option(help="Type of the parameters on the wire.")]
_Bandwidth = Annotated[
    str | None, typer.Option(metavar="SPEED", help="Of the server, all sites together: 50Mbps, 1Gbit/s, 10MB/s.")
]
_Exchange = Annotated[Exchange, typer.Option(help="tensor: PyTorch, as rt_flare sends. np: NumPy arrays.")]
_Preset = Annotated[str, typer.Option(metavar="NAME", help="A preset, a JSON file with one, or several joined by +.")]


@app.callback()
def _group(context: typer.Context) -> int | None:
    """Timeouts: presets, what fits, checks of jobs and startup kits."""
    return help_without_command(context)


@app.command("list")
def list_presets(output: FormatOption = Format.TXT) -> int:
    """List the installed presets."""
    from rt_flare.cli.timeouts_commands import list_command

    return list_command(as_json=output is Format.JSON)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset, a JSON file with one, several joined by +.")],
    sites: Annotated[int, typer.Option(min=1, metavar="N", help="Number of sites.")] = 2,
    params: _Params = None,
    model_bytes: _ModelBytes = None,
    dtype: _Dtype = Dtype.FLOAT32,
    bandwidth: _Bandwidth = None,
    exchange: _Exchange = Exchange.TENSOR,
    output: FormatOption = Format.TXT,
) -> int:
    """Show every value of a preset: unit, default, file, reader and reason."""
    from rt_flare.cli.timeouts_commands import show_command

    return show_command(
        name=name,
        num_sites=sites,
        params=params,
        model_bytes=model_bytes,
        dtype=dtype.value,
        bandwidth=bandwidth,
        exchange=exchange.value,
        as_json=output is Format.JSON,
    )


@app.command()
def suggest(
    bandwidth: Annotated[
        str, typer.Option(metavar="SPEED", help="Of the server, all sites together: 50Mbps, 1Gbit/s, 10MB/s.")
    ],
    sites: Annotated[int, typer.Option(min=1, metavar="N", help="Number of sites.")],
    params: _Params = None,
    model_bytes: _ModelBytes = None,
    dtype: _Dtype = Dtype.FLOAT32,
    exchange: _Exchange = Exchange.TENSOR,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write the values as a preset of your own.")
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Choose a preset for a model, a bandwidth and a number of sites, and explain every value."""
    from rt_flare.cli.timeouts_commands import suggest_command

    return suggest_command(
        num_sites=sites,
        params=params,
        model_bytes=model_bytes,
        dtype=dtype.value,
        bandwidth=bandwidth,
        exchange=exchange.value,
        out=out,
        as_json=output is Format.JSON,
    )


@app.command("lint")
def lint_targets(
    targets: Annotated[
        list[Path],
        typer.Argument(
            metavar="JOB_OR_KIT...", help="Job folders, templates, startup kits; together: against each other."
        ),
    ],
    sites: _Sites = None,
    params: _Params = None,
    model_bytes: _ModelBytes = None,
    dtype: _Dtype = Dtype.FLOAT32,
    bandwidth: _Bandwidth = None,
    round_seconds: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="A round, as measured.")
    ] = None,
    exchange: Annotated[Exchange | None, typer.Option(help="What travels, where the components do not tell.")] = None,
    simulator_threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="-t of the simulator.")] = None,
    nvflare: Annotated[
        str | None, typer.Option(metavar="VERSION", help="2.8 for jobs of a deployment that still has it.")
    ] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Check timeouts in jobs and startup kits. Exits with 1 on errors and warnings, not on notes."""
    from rt_flare.cli.timeouts_lint import lint_command

    return lint_command(
        targets=targets,
        num_sites=sites,
        params=params,
        model_bytes=model_bytes,
        dtype=dtype.value,
        bandwidth=bandwidth,
        round_seconds=round_seconds,
        exchange=exchange.value if exchange else None,
        simulator_threads=simulator_threads,
        nvflare_version=nvflare,
        as_json=output is Format.JSON,
    )


@app.command()
def apply(
    kit: Annotated[list[Path], typer.Option(metavar="PATH", help="A startup kit; give the option once for each.")],
    preset: _Preset = "standard",
    sites: Annotated[int, typer.Option(min=1, metavar="N", help="Number of sites.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    output: FormatOption = Format.TXT,
) -> int:
    """Write what no job can carry into startup kits: local/comm_config.json, keeping what else is in it."""
    from rt_flare.cli.timeouts_lint import apply_command

    return apply_command(kits=kit, preset=preset, num_sites=sites, dry_run=dry_run, as_json=output is Format.JSON)
