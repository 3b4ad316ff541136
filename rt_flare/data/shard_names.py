"""What shards are called: ``shard_0001.zip`` and on, one per site."""

from __future__ import annotations

import re
from pathlib import Path

from rt_flare.errors import ShardError

__all__ = ["find_shards", "list_shard_files", "shard_index", "shard_name"]

_SHARD = re.compile(r"shard_(\d{4,})\.zip")


def shard_name(index: int) -> str:
    """Return the file name of shard ``index``, counted from 1: ``shard_0001.zip``.

    Raises:
        ShardError: ``index`` is below 1.
    """
    if index < 1:
        raise ShardError(f"shard index: found {index}, expected 1 or more")
    return f"shard_{index:04d}.zip"


def shard_index(name: str) -> int | None:
    """Return the index of the shard that the file name stands for; None if it is not exactly a shard's."""
    match = _SHARD.fullmatch(name)
    index = int(match[1]) if match else 0
    return index if index >= 1 and name == shard_name(index) else None


def find_shards(folder: Path) -> list[Path]:
    """Return the shard ZIPs of ``folder`` in the order of their index.

    Raises:
        ShardError: the first problem of `list_shard_files`.
    """
    found, problems = list_shard_files(folder)
    if problems:
        raise ShardError(problems[0])
    return found


def list_shard_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the shard ZIPs of ``folder`` in the order of their index, and what is wrong with the row of them.

    There is no such folder or no shard in it, an index is missing, or another ZIP lies there, so that the number of
    sites is not what the author thinks.
    """
    first = f"{shard_name(1)}, {shard_name(2)}, ..."
    if not folder.is_dir():
        return [], [f"{folder}: no such folder, expected one that holds {first}"]
    found: dict[int, Path] = {}
    problems: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".zip":
            continue
        index = shard_index(path.name)
        if index is None:
            problems.append(f"{path}: not a shard's name, expected {first} Move it away.")
        else:
            found[index] = path
    if not found and not problems:
        problems.append(f"{folder}: found no shard, expected {shard_name(1)} and one ZIP per further site")
    last = max(found, default=0)
    for index in range(1, last):
        if index not in found:
            problems.append(f"{folder}: {shard_name(index)} is missing, but {found[last].name} is there")
    return [found[index] for index in sorted(found)], problems
