"""The first batch's worth of a shard, as a folder that user code can read."""

from __future__ import annotations

import itertools
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from rt_flare.catalog import load_catalog
from rt_flare.data.archive import check_archive, unpack_archive
from rt_flare.data.manifest import write_manifest
from rt_flare.data.manifest_line import ManifestEntry
from rt_flare.data.manifest_scan import ManifestScan
from rt_flare.data.shard_names import shard_index
from rt_flare.data.uris import entry_name, is_remote

__all__ = ["FirstBatch", "take_first_batch"]

_MAX_WHOLE_BYTES = 1 << 30


@dataclass(frozen=True)
class FirstBatch:
    """Data for one batch.

    Attributes:
        data_root: folder with the data.
        num_samples: samples in it, as its manifest or its adapter says; None where neither does.
    """

    data_root: Path
    num_samples: int | None


def take_first_batch(
    shard: Path,
    folder: Path,
    *,
    batch_size: int,
    manifest_file: str,
    adapter: str,
    adapter_args: dict[str, Any],
    data_dir: str,
) -> FirstBatch | str:
    """Unpack the first ``batch_size`` samples of ``shard``; the whole shard where no manifest says which those are.

    Args:
        shard: a sound shard ZIP.
        folder: new folder for the data.
        batch_size: samples to take.
        manifest_file: name of the manifest.
        adapter: name of the dataset adapter, ``adapter_args`` its options.
        data_dir: where sites unpack shards, for uris with absolute paths.

    Returns:
        The batch, or why there is none.

    Raises:
        DataError: the shard is damaged, or its adapter cannot read it.
        ConfigError: the adapter is not installed, or refuses its options.
    """
    with zipfile.ZipFile(shard) as archive:
        names = set(archive.namelist())
        if adapter == "manifest" and manifest_file in names:
            return _from_manifest(archive, folder, batch_size, manifest_file, f"{data_dir}/{shard_index(shard.name)}")
    if (size := check_archive(shard).total_bytes) > _MAX_WHOLE_BYTES:
        return f"{shard.name} has no manifest to take a batch by, and is too large to unpack whole ({size} bytes)"
    unpack_archive(shard, folder)
    if adapter == "manifest":
        return FirstBatch(folder, None)
    reader = load_catalog().adapter(adapter)(**adapter_args)
    return FirstBatch(folder, reader.count_samples(folder, manifest_file=manifest_file))


def _from_manifest(
    archive: zipfile.ZipFile, folder: Path, batch_size: int, manifest_file: str, root: str
) -> FirstBatch | str:
    scan = ManifestScan(lambda: cast(BinaryIO, archive.open(manifest_file)))
    local = (item for item in scan if isinstance(item, ManifestEntry) and not is_remote(item.uri))
    taken = []
    for item in itertools.islice(local, batch_size):
        name = entry_name(item.uri, PurePosixPath(root))
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        taken.append(ManifestEntry(item.id, f"file://{quote(name)}", item.y, item.meta))
    if not taken:
        return "every image of the first shard is remote, and the check fetches nothing"
    write_manifest(folder / manifest_file, taken)
    return FirstBatch(folder, len(taken))
