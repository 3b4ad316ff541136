"""The number of classes, over the shards of all sites."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from rt_flare.data.manifest import MANIFEST_NAME, MissingManifestError, describe_problems, scan_manifest
from rt_flare.data.manifest_line import ManifestProblem
from rt_flare.data.manifest_scan import ManifestScan
from rt_flare.errors import DataError, ManifestError, ShardError

__all__ = ["infer_num_classes", "shards_have_manifests"]


def infer_num_classes(shards: Iterable[Path], num_classes: int = 0, *, manifest_file: str = MANIFEST_NAME) -> int:
    """Return the largest label of all shards plus one, or ``num_classes`` if that is given and no label exceeds it.

    Sites that inferred it from their own shard alone would build different models. Manifests are read line by line.

    Args:
        shards: shard ZIPs, or folders of unpacked ones.
        num_classes: what the author gave; 0 to infer.
        manifest_file: name of the manifest at each shard's root.

    Raises:
        DataError: a label does not fit ``num_classes``; the message names shard, line and sample.
        ManifestError: a manifest breaks its format.
        MissingManifestError: a shard has no manifest.
        ShardError: a file is no ZIP.
    """
    largest = -1
    for shard in shards:
        place = shard / manifest_file
        with _scan(shard, manifest_file) as scan:
            for item in scan:
                if isinstance(item, ManifestProblem):
                    raise ManifestError(describe_problems(place, [item], 1))
                highest = max(item.y, default=-1)
                if num_classes and highest >= num_classes:
                    raise DataError(
                        f"{place}:{item.line}: sample {item.id!r}: found label {highest}, expected 0 to "
                        f"{num_classes - 1}. Set num_classes to at least {highest + 1}, or to 0 to infer it."
                    )
                largest = max(largest, highest)
    return num_classes or largest + 1


def shards_have_manifests(shards: Iterable[Path], manifest_file: str = MANIFEST_NAME) -> bool:
    """Return whether any shard has a manifest at its root; what `infer_num_classes` then refuses is one without.

    Raises:
        ShardError: a file is no ZIP.
    """
    return any(_has_manifest(shard, manifest_file) for shard in shards)


def _has_manifest(shard: Path, name: str) -> bool:
    if shard.is_dir():
        return (shard / name).is_file()
    try:
        with zipfile.ZipFile(shard) as archive:
            return name in archive.namelist()
    except zipfile.BadZipFile as error:
        raise _damaged(shard, error) from error


def _damaged(shard: Path, error: Exception) -> ShardError:
    return ShardError(f"{shard}: damaged, or no ZIP: {error}. Build the shard again.")


@contextlib.contextmanager
def _scan(shard: Path, name: str) -> Iterator[ManifestScan]:
    if shard.is_dir():
        yield scan_manifest(shard / name)
        return
    try:
        with zipfile.ZipFile(shard) as archive:
            yield ManifestScan(lambda: cast(BinaryIO, archive.open(name)))
    except KeyError:
        raise MissingManifestError(
            f"FileNotFoundError: {name}: the shard {shard} has none at its root. Build the shard again."
        ) from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(shard, error) from error
