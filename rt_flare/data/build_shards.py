"""Write samples as shard ZIPs: the same samples and parts give the same bytes."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote

from rt_flare.core.durable_io import write_atomic
from rt_flare.data.archive_names import check_names
from rt_flare.data.manifest import MANIFEST_NAME, ManifestEntry, manifest_lines
from rt_flare.data.shard_names import shard_name
from rt_flare.data.uris import is_remote
from rt_flare.errors import ShardError

__all__ = ["ShardSample", "build_shards"]

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".heic", ".jxl", ".jp2")
_OTHERS = (".zip", ".gz", ".bz2", ".xz", ".zst", ".npz", ".parquet", ".mp3", ".mp4", ".flac")
_COMPRESSED = frozenset(_IMAGES + _OTHERS)
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ShardSample:
    """One sample to pack.

    Attributes:
        id: name of the sample, unique in its shard.
        source: the file to pack, or its bytes; or an ``https://`` URL, which the sites fetch themselves.
        name: path of the file inside the ZIP, with ``/`` between folders; "" for a URL.
        y: label indices.
        meta: goes into the manifest; JSON types only.
    """

    id: str
    source: Path | bytes | str
    name: str
    y: tuple[int, ...]
    meta: dict[str, Any] | None = None


def build_shards(
    samples: Sequence[ShardSample],
    parts: Sequence[Sequence[int]],
    out_dir: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write one ZIP per part into ``out_dir``: ``shard_0001.zip`` holds the samples at the indices ``parts[0]``.

    Each ZIP has the manifest at its root and is written atomically. Dates, attributes and order are fixed, so that a
    rebuild with the same zlib gives identical bytes; already compressed formats are stored as they are. A file that
    several samples name is packed once per shard.

    Args:
        samples: what to pack.
        parts: indices into ``samples``, one list per shard.
        out_dir: folder for the shards; made if missing.
        on_progress: called with files packed and files in all.

    Returns:
        The paths of the shards, in the order of ``parts``.

    Raises:
        ShardError: a part is empty, an index is out of range or in two places, a name cannot stand in a shard (see
            `check_names`), a source file is missing, or ``out_dir`` holds shards beyond the number of parts.
        ManifestError: an entry breaks the manifest's format.
    """
    _check_parts(parts, len(samples))
    paths = [out_dir / shard_name(index) for index in range(1, len(parts) + 1)]
    stale = sorted(set(out_dir.glob("*.zip")) - set(paths))
    if stale:
        raise ShardError(
            f"{stale[0]}: not one of the {len(parts)} shards to write. Delete it or choose another folder."
        )
    total = sum(len(part) for part in parts)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    for path, part in zip(paths, parts, strict=True):
        _write_shard(path, [samples[index] for index in part], count)
    return paths


def _check_parts(parts: Sequence[Sequence[int]], num_samples: int) -> None:
    if not parts:
        raise ShardError("parts: found none, expected one list of sample indices per site")
    counts = Counter(index for part in parts for index in part)
    for number, part in enumerate(parts, start=1):
        if not part:
            raise ShardError(f"part {number} of {len(parts)} is empty: every site needs a sample. Make fewer parts.")
        for index in part:
            if not 0 <= index < num_samples:
                raise ShardError(f"part {number}: found the index {index}, expected 0 to {num_samples - 1}")
            if counts[index] > 1:
                raise ShardError(f"part {number}: the index {index} stands in the parts {counts[index]} times")


def _write_shard(path: Path, samples: Sequence[ShardSample], count: Callable[[], None]) -> None:
    files: dict[str, ShardSample] = {}
    names = [MANIFEST_NAME]
    for sample in samples:
        if isinstance(sample.source, str):
            if not is_remote(sample.source):
                raise ShardError(f"{path}: sample {sample.id!r}: found the URL {sample.source!r}, expected https://")
        elif sample.name not in files or files[sample.name].source != sample.source:
            names.append(sample.name)
            files[sample.name] = sample
    check_names(names, str(path))
    entries = [ManifestEntry(s.id, _uri(s), s.y, s.meta) for s in samples]
    manifest = b"".join(manifest_lines(entries, path / MANIFEST_NAME))

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            _add(archive, MANIFEST_NAME, manifest)
            for name, sample in sorted(files.items()):
                if isinstance(sample.source, Path) and not sample.source.is_file():
                    raise ShardError(f"{path}: sample {sample.id!r}: no such file: {sample.source}")
                assert not isinstance(sample.source, str)
                _add(archive, name, sample.source)
                count()

    write_atomic(path, write)


def _uri(sample: ShardSample) -> str:
    return sample.source if isinstance(sample.source, str) else f"file://{quote(sample.name)}"


def _add(archive: zipfile.ZipFile, name: str, source: Path | bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # Unix, wherever the shard is built
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    stored = PurePosixPath(name).suffix.lower() in _COMPRESSED
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    info.file_size = source.stat().st_size if isinstance(source, Path) else len(source)
    with archive.open(info, "w") as entry:
        if isinstance(source, bytes):
            entry.write(source)
        else:
            with source.open("rb") as file:
                shutil.copyfileobj(file, entry, 1 << 20)
