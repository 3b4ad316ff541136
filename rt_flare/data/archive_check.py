"""Everything that the headers of a shard ZIP tell, checked before a byte of its files is touched."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rt_flare.data.archive_names import name_problems

__all__ = ["DEFAULT_LIMITS", "ArchiveContents", "ArchiveLimits", "header_problems", "is_folder"]

_ENCRYPTED = 0x1 | 0x40
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What a shard may expand to.

    Attributes:
        max_total_bytes: size of all files together, unpacked.
        max_entries: files and folders.
        max_ratio: unpacked size over the size of the ZIP.
    """

    max_total_bytes: int = 256 << 30
    max_entries: int = 2_000_000
    max_ratio: float = 200.0


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True, kw_only=True)
class ArchiveContents:
    """What a shard holds: the number of files (folders not counted) and their unpacked size."""

    num_files: int
    total_bytes: int


def header_problems(archive: zipfile.ZipFile, name: str, size: int, limits: ArchiveLimits) -> Iterator[str]:
    """Yield what is wrong, each in words of its own: limits, links and devices, encryption, methods, names, structure.

    ``name`` is the archive's, for advice that names it.
    """
    infos = archive.infolist()
    if len(infos) > limits.max_entries:
        yield (
            f"too many entries: found {len(infos)}, expected at most {limits.max_entries}. "
            f"Make more, smaller shards or raise max_entries."
        )
    for info in infos:
        yield from _entry_problems(info)
    yield from name_problems(info.filename for info in infos)
    files = [info for info in infos if not is_folder(info)]
    if not files:
        yield "found no file in the ZIP, expected the shard's data"
        return
    yield from _root_problems(files, name)
    total = sum(info.file_size for info in files)
    if total > limits.max_total_bytes:
        yield (
            f"expands to {total} bytes, expected at most {limits.max_total_bytes}. "
            f"Make more, smaller shards or raise max_total_bytes."
        )
    if total > limits.max_ratio * size:
        yield (
            f"expansion ratio: {size} bytes expand to {total}, expected at most {limits.max_ratio:g} times. "
            f"Raise max_ratio if the data is truly so regular."
        )
    yield from _overlaps(infos, archive.start_dir)


def is_folder(info: zipfile.ZipInfo) -> bool:
    """Whether the entry is a folder; `ZipInfo.is_dir` fails on an empty name."""
    return info.filename.endswith("/")


def _entry_problems(info: zipfile.ZipInfo) -> Iterator[str]:
    kind = stat.S_IFMT(info.external_attr >> 16)
    entry = f"entry {info.orig_filename!r}"
    # zipfile cuts a name at its first NUL, which can hide another name.
    if info.orig_filename != info.filename:
        yield f"{entry}: a control character in the name. Rename the file."
    if kind == stat.S_IFLNK:
        yield f"{entry}: a link. Pack the file that it points to."
    elif kind not in {0, stat.S_IFDIR if is_folder(info) else stat.S_IFREG}:
        yield f"{entry}: a device or other special file. Pack plain files and folders only."
    if info.flag_bits & _ENCRYPTED:
        yield f"{entry}: encrypted. Pack the shard without a password."
    if info.compress_type not in _METHODS:
        yield (
            f"{entry}: compression method {info.compress_type}, expected stored or deflated. "
            f"Pack the shard with either."
        )
    if is_folder(info) and info.file_size:
        yield f"{entry}: a folder that holds bytes: truncated or corrupt ZIP. Build the shard again."


def _root_problems(files: Sequence[zipfile.ZipInfo], name: str) -> Iterator[str]:
    # macOS adds a __MACOSX folder beside the wrapper.
    tops = {info.filename.partition("/")[0] for info in files} - {"__MACOSX"}
    if len(tops) == 1 and all("/" in info.filename for info in files):
        (top,) = tops
        yield (
            f"a wrapper folder: all files lie in {top + '/'!r} and none at the root. Pack the contents of "
            f"the folder, not the folder: (cd {top} && zip -r ../{name.rpartition('/')[2]} .)"
        )


def _overlaps(infos: Sequence[zipfile.ZipInfo], directory: int) -> Iterator[str]:
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in ordered[1:]), directory]
    for info, end in zip(ordered, ends, strict=True):
        if info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > end:
            yield f"entry {info.orig_filename!r}: truncated or corrupt ZIP (entries overlap). Build the shard again."
