"""``rt-flare shards``: build, verify, upload and list shards; the arguments. The work is in `shards_commands`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rt_flare.cli.group_help import help_without_command
from rt_flare.cli.output_format import Format, FormatOption

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)


class Split(StrEnum):
    """How samples are dealt to shards."""

    IID = "iid"
    STRATIFIED = "stratified"
    DIRICHLET = "dirichlet"


@app.callback()
def _group(context: typer.Context) -> int | None:
    """Build, verify, upload and list shards: one ZIP per site."""
    return help_without_command(context)


@app.command()
def build(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with a subfolder per class; a .csv with the columns path and label; a manifest (.ndjson).",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for shard_0001.zip and on; made if missing.")],
    num_shards: Annotated[int, typer.Option("-n", "--num-shards", min=1, help="One per site.")],
    split: Annotated[
        Split,
        typer.Option(
            help="iid: at random. stratified: the same mix of labels everywhere. dirichlet: skewed, see --alpha."
        ),
    ] = Split.IID,
    alpha: Annotated[float, typer.Option(help="Of dirichlet: 0.1: few labels per shard, 100: close to iid.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    path_column: Annotated[str, typer.Option(help="CSV column with the path, from the CSV's folder.")] = "path",
    label_column: Annotated[str, typer.Option(help="CSV column with the label, or several: 'a;b'.")] = "label",
    root: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start at, if not its own.")] = None,
    output: FormatOption = Format.TXT,
) -> int:
    """Pack samples into one ZIP per site, each with its manifest."""
    from rt_flare.cli.shards_commands import build_command

    return build_command(
        source=source,
        out=out,
        num_shards=num_shards,
        split=split.value,
        alpha=alpha,
        seed=seed,
        path_column=path_column,
        label_column=label_column,
        root=root,
        as_json=output is Format.JSON,
    )


@app.command()
def verify(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder of shards, or a manifest (.ndjson).")],
    sites: Annotated[int | None, typer.Option(min=1, help="Number of sites: there must be as many shards.")] = None,
    num_classes: Annotated[int, typer.Option(min=0, help="Width of the labels; 0 infers it.")] = 0,
    manifest_file: Annotated[str, typer.Option(help="Name of the manifest; '' for none.")] = "manifest.ndjson",
    images: Annotated[bool, typer.Option(help="Decode every image.")] = True,
    data_dir: Annotated[
        str, typer.Option(help="Folder that sites unpack shards in, for uris with absolute paths.")
    ] = "/var/tmp/nvflare/data",  # noqa: S108 - the documented default of the sites
    output: FormatOption = Format.TXT,
) -> int:
    """Check number, structure, manifests, labels and images in one pass; report every problem."""
    from rt_flare.cli.shards_commands import verify_command

    return verify_command(
        target=target,
        sites=sites,
        num_classes=num_classes,
        manifest_file=manifest_file,
        images=images,
        data_dir=data_dir,
        as_json=output is Format.JSON,
    )


@app.command()
def upload(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of shards.")],
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Folder in a storage, like s3://bucket/jobs/digits/shards.")
    ],
    read_back: Annotated[bool, typer.Option(help="Read what was sent, and compare hashes.")] = True,
    output: FormatOption = Format.TXT,
) -> int:
    """Upload shards with their SHA-256 beside them; what is there already is left alone.

    Credentials come from the environment (FSSPEC_S3_KEY, FSSPEC_S3_SECRET, FSSPEC_S3_ENDPOINT_URL, AWS_...) or from
    fsspec's own configuration.
    """
    from rt_flare.cli.shards_commands import upload_command

    return upload_command(folder=folder, url=url, read_back=read_back, as_json=output is Format.JSON)


@app.command()
def ls(
    url: Annotated[str, typer.Argument(metavar="URL", help="Folder in a storage, or on this machine.")],
    output: FormatOption = Format.TXT,
) -> int:
    """List shards with their sizes and hashes."""
    from rt_flare.cli.shards_commands import ls_command

    return ls_command(url=url, as_json=output is Format.JSON)
