"""``rt-flare shards``: the work, and what is printed of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.cli.round_view import make_console
from rt_flare.core.durable_io import write_json
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.sample_sources import samples_from_csv, samples_from_folder, samples_from_manifest
from rt_flare.data.splits import split as split_samples
from rt_flare.data.upload import StoredFile, list_shards, upload_shards
from rt_flare.data.verify_report import VerifyReport
from rt_flare.data.verify_shards import VerifyOptions, verify_manifest, verify_shards
from rt_flare.errors import ConfigError

__all__ = ["build_command", "ls_command", "upload_command", "verify_command"]

_MANIFESTS = {".ndjson", ".jsonl"}
_MAX_SHOWN = 50
_CLASSES = "classes.json"


def build_command(
    *,
    source: Path,
    out: Path,
    num_shards: int,
    split: str,
    alpha: float,
    seed: int,
    path_column: str,
    label_column: str,
    root: Path | None,
    as_json: bool,
) -> int:
    """Build shards, say what they hold, and return the exit code."""
    samples, classes = _samples(source, path_column, label_column, root)
    parts = split_samples([sample.y for sample in samples], num_shards, how=split, alpha=alpha, seed=seed)
    with _progress("packing", as_json, in_bytes=False) as report:
        paths = build_shards(samples, parts, out, on_progress=report)
    if classes:
        write_json(out / _CLASSES, {name: label for label, name in enumerate(classes)})
    else:
        (out / _CLASSES).unlink(missing_ok=True)
    num_classes = max((label for sample in samples for label in sample.y), default=-1) + 1
    shards = [
        {"name": path.name, "num_samples": len(part), "num_bytes": path.stat().st_size}
        for path, part in zip(paths, parts, strict=True)
    ]
    if as_json:
        _print("build", ExitCode.OK, out=str(out), num_classes=num_classes, classes=classes, shards=shards)
        return ExitCode.OK
    console = make_console()
    table = Table("shard", "samples", "bytes")
    for shard in shards:
        table.add_row(str(shard["name"]), f"{shard['num_samples']:,}", f"{shard['num_bytes']:,}")
    console.print(table)
    names = f": {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}" if classes else ""
    console.print(Text(f"{len(samples):,} samples, num_classes {num_classes}{names}"), soft_wrap=True)
    console.print(Text(f"in {out}"), soft_wrap=True)
    return ExitCode.OK


def verify_command(
    *,
    target: Path,
    sites: int | None,
    num_classes: int,
    manifest_file: str,
    images: bool,
    data_dir: str,
    as_json: bool,
) -> int:
    """Check shards or a manifest, print every problem, and return the exit code."""
    if re.match(r"\w+:/", str(target)):
        raise ConfigError(f"{target}: found a URL, expected a folder or a manifest on this machine")
    with _progress("checking", as_json) as report:
        if target.suffix in _MANIFESTS:
            found = verify_manifest(target, num_classes, report)
        else:
            options = VerifyOptions(
                num_sites=sites, num_classes=num_classes, manifest_file=manifest_file, images=images, data_dir=data_dir
            )
            found = verify_shards(target, options, report)
    code = ExitCode.OK if found.ok else ExitCode.FAILED
    if as_json:
        _print(
            "verify",
            code,
            ok=found.ok,
            num_classes=found.num_classes,
            num_problems=found.num_problems,
            problems=[asdict(problem) for problem in found.problems],
            notes=found.notes,
            shards=[_shard_document(shard) for shard in found.shards],
        )
    else:
        _print_report(make_console(), found)
    return code


def upload_command(*, folder: Path, url: str, read_back: bool, as_json: bool) -> int:
    """Upload shards, say which were sent, and return the exit code."""
    with _progress("uploading", as_json) as report:
        files = upload_shards(
            folder, url, read_back=read_back, on_progress=lambda name, done, total: report(done, total, name)
        )
    if as_json:
        _print("upload", ExitCode.OK, url=url, shards=[asdict(file) for file in files])
        return ExitCode.OK
    _print_files(make_console(), files, "sent", lambda file: "sent" if file.sent else "was there")
    return ExitCode.OK


def ls_command(*, url: str, as_json: bool) -> int:
    """List shards and return the exit code."""
    files = list_shards(url)
    if as_json:
        _print("ls", ExitCode.OK, url=url, shards=[asdict(file) for file in files])
        return ExitCode.OK
    _print_files(make_console(), files, "SHA-256", lambda file: file.sha256 or "none beside it: not uploaded whole?")
    return ExitCode.OK


def _samples(
    source: Path, path_column: str, label_column: str, root: Path | None
) -> tuple[list[ShardSample], list[str]]:
    if source.is_dir():
        return samples_from_folder(source)
    if source.suffix == ".csv":
        return samples_from_csv(source, root=root, path_column=path_column, label_column=label_column)
    if source.suffix in _MANIFESTS:
        return samples_from_manifest(source), []
    raise ConfigError(f"{source}: expected a folder, a .csv or a manifest (.ndjson)")


def _shard_document(shard: Any) -> dict[str, Any]:
    document = asdict(shard)
    document["label_counts"] = {str(label): count for label, count in sorted(shard.label_counts.items())}
    return document


def _print_report(console: Console, found: VerifyReport) -> None:
    table = Table("shard", "files", "bytes", "samples", "labels")
    for shard in found.shards:
        labels = ", ".join(f"{label}: {count:,}" for label, count in sorted(shard.label_counts.items())[:10])
        more = ", ..." if len(shard.label_counts) > 10 else ""
        table.add_row(
            shard.name, f"{shard.num_files:,}", f"{shard.num_bytes:,}", f"{shard.num_samples:,}", f"{labels}{more}"
        )
    console.print(table)
    for problem in found.problems[:_MAX_SHOWN]:
        console.print(Text.assemble(("Problem: ", "bold red"), str(problem)), soft_wrap=True)
    if found.num_problems > _MAX_SHOWN:
        kept = f", {len(found.problems)} of them with --format json" if len(found.problems) > _MAX_SHOWN else ""
        console.print(Text(f"... {found.num_problems:,} problems in all{kept}"))
    for note in found.notes:
        console.print(Text(f"Note: {note}"), soft_wrap=True)
    samples = sum(shard.num_samples for shard in found.shards)
    state = "ok" if found.ok else f"{found.num_problems:,} problems"
    console.print(Text(f"{len(found.shards)} shards, {samples:,} samples, num_classes {found.num_classes}: {state}"))


def _print_files(console: Console, files: list[StoredFile], title: str, text: Callable[[StoredFile], str]) -> None:
    table = Table("shard", "bytes", title)
    for file in files:
        table.add_row(file.name, f"{file.size:,}", text(file))
    console.print(table)


def _print(command: str, code: ExitCode, **values: Any) -> None:
    print_json({"schema": "rt_flare.shards/1", "command": f"shards {command}", "exit_code": int(code), **values})


@contextmanager
def _progress(text: str, as_json: bool, *, in_bytes: bool = True) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr, if that is a terminal and stdout is not one JSON document; yields what moves it."""
    console = Console(stderr=True)
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task(text, total=None)

        def report(done: int, total: int, name: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{text} {name}".strip())

        yield report
