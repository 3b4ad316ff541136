"""Samples to pack, from what people have: a folder per class, a CSV, a manifest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from rt_flare.data.build_shards import ShardSample
from rt_flare.data.manifest import ManifestEntry, load_manifest
from rt_flare.data.uris import is_remote, resolve_uri
from rt_flare.errors import ConfigError, DataError

__all__ = ["samples_from_csv", "samples_from_folder", "samples_from_manifest"]

_MAX_PROBLEMS = 20
_LABEL_SEPARATOR = ";"


def samples_from_folder(root: Path) -> tuple[list[ShardSample], list[str]]:
    """Return every file below ``root/{class}/`` with its class, and the names of the classes by label.

    Classes are the subfolders in the order of their names. Files and folders whose names start with a dot are left
    out. A sample's id is its path below ``root``, which is its place in the shard too.

    Raises:
        DataError: there is no such folder, no class, a class without a file, a file beside the classes, or a link.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, expected one with a subfolder per class")
    children = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    classes = [path for path in children if path.is_dir()]
    stray = [path.name for path in children if not path.is_dir()]
    if not classes or stray:
        found = f"the file {stray[0]!r} beside the classes" if stray else "no subfolder"
        raise DataError(f"{root}: found {found}, expected one subfolder per class and no more. Else give a CSV.")
    samples: list[ShardSample] = []
    for label, folder in enumerate(classes):
        files = list(_files(folder))
        if not files:
            raise DataError(f"{folder}: found no file, expected the images of the class. Delete the folder.")
        for path in files:
            name = path.relative_to(root).as_posix()
            samples.append(ShardSample(name, path, name, (label,)))
    return samples, [folder.name for folder in classes]


def samples_from_csv(
    path: Path, *, root: Path | None = None, path_column: str = "path", label_column: str = "label"
) -> tuple[list[ShardSample], list[str]]:
    """Return the samples that the rows of a CSV name, and the names of the classes by label.

    Labels are numbers from 0, or names, which get numbers in their order; several are separated by ``;``. A column
    ``id`` is used if there is one, else the path is the id. Other columns are left out.

    Args:
        path: the CSV, UTF-8, with a header row.
        root: folder that relative paths start at; by default that of the CSV.
        path_column: column with a file's path.
        label_column: column with its label or labels.

    Raises:
        DataError: the CSV cannot be read, lacks a column, or has rows that cannot be used; all of them at once.
    """
    root = (root or path.parent).resolve()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            for column in (path_column, label_column):
                if column not in (reader.fieldnames or []):
                    found = ", ".join(reader.fieldnames or []) or "no header row"
                    raise DataError(f"{path}: found the columns {found}, expected one called {column!r}. Name it.")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    texts = [[part.strip() for part in (row[label_column] or "").split(_LABEL_SEPARATOR)] for _, row in rows]
    names = _class_names(texts)
    numbers = {name: number for number, name in enumerate(names)}
    samples: list[ShardSample] = []
    problems: list[str] = []
    for (line, row), labels in zip(rows, texts, strict=True):
        location = row[path_column] or ""
        file_path = (root / location).resolve()
        if not location or not file_path.is_file():
            problems.append(f"{path.name}:{line}: {path_column}: found {location!r}, expected an existing file")
        elif not file_path.is_relative_to(root):
            problems.append(f"{path.name}:{line}: {path_column}: found {location!r}, expected a file below {root}")
        elif "" in labels:
            problems.append(f"{path.name}:{line}: {label_column}: found an empty label")
        else:
            name = file_path.relative_to(root).as_posix()
            y = tuple(numbers[label] if names else int(label) for label in labels)
            samples.append(ShardSample(row.get("id") or name, file_path, name, y))
    _refuse(path, problems)
    if not samples:
        raise DataError(f"{path}: found no row, expected one per sample")
    return samples, names


def samples_from_manifest(path: Path) -> list[ShardSample]:
    """Return the samples of an existing manifest, whose files lie below its folder; remote ones stay remote.

    Raises:
        ManifestError: the manifest breaks its format.
        DataError: files are missing, or lie elsewhere; all of them at once.
    """
    samples: list[ShardSample] = []
    problems: list[str] = []
    for entry in load_manifest(path):
        try:
            samples.append(_packed(entry, path.parent))
        except DataError as error:
            problems.append(f"{path.name}:{entry.line}: {error}")
    _refuse(path, problems)
    return samples


def _packed(entry: ManifestEntry, root: Path) -> ShardSample:
    if is_remote(entry.uri):
        return ShardSample(entry.id, entry.uri, "", entry.y, entry.meta)
    file = resolve_uri(entry.uri, root)
    if not file.is_file():
        raise DataError(f"uri: found no file {file}")
    return ShardSample(entry.id, file, file.relative_to(root.resolve()).as_posix(), entry.y, entry.meta)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_symlink():
            raise DataError(f"{path}: a link. Put the file that it points to there.")
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _class_names(texts: Iterable[list[str]]) -> list[str]:
    """The names by label, or none where all labels are numbers."""
    distinct = {text for labels in texts for text in labels if text}
    numbers = [text for text in distinct if text.isascii() and text.isdecimal()]
    if len(numbers) == len(distinct):
        return []
    if numbers and len(numbers) < len(distinct):
        raise ConfigError(
            f"labels: found numbers such as {min(numbers)!r} and names such as {min(distinct - set(numbers))!r}, "
            f"expected one kind"
        )
    return sorted(distinct)


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        more = f"\n  and {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
        raise DataError(
            f"{path}: {len(problems)} rows cannot be used:\n  " + "\n  ".join(problems[:_MAX_PROBLEMS]) + more
        )
