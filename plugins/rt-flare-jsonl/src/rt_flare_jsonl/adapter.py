"""The dataset adapter ``jsonl``: text classification from one JSON Lines file."""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from rt_flare.data.adapter import DatasetAdapter
from rt_flare.data.uris import resolve_uri
from rt_flare.errors import ConfigError, DataError
from rt_flare_jsonl.text_records import MAX_LINE_BYTES, RecordError, RecordFields, parse_record

__all__ = ["JsonLinesAdapter", "JsonLinesDataset", "hash_tokens"]

_WORD = re.compile(r"\w+")
_MAX_LISTED = 20


class JsonLinesAdapter(DatasetAdapter):
    """Reads one JSON object per line, with a text and a class; blank lines are passed over.

    Words become numbers by hashing, so that no site has to know another's vocabulary.

    Args:
        file: name of the file in ``data_root``.
        text: key of the text.
        label: key of the class.
        classes: names of the classes in the order of their indices, the same list for all sites; None if the lines
            hold the indices.
        max_tokens: words of a text that count; shorter texts are filled up with 0.
        num_buckets: token numbers are below this; 0 stands for no word. The width of the model's embedding.

    Raises:
        ConfigError: an option has another value.
    """

    name: ClassVar[str] = "jsonl"

    def __init__(
        self,
        *,
        file: str = "data.jsonl",
        text: str = "text",
        label: str = "label",
        classes: Sequence[str] | None = None,
        max_tokens: int = 128,
        num_buckets: int = 8192,
    ) -> None:
        for option, value in (("file", file), ("text", text), ("label", label)):
            if type(value) is not str or not value:
                raise _wrong(option, value, "a name")
        if classes is not None and (
            isinstance(classes, str) or not classes or not all(type(name) is str for name in classes)
        ):
            raise _wrong("classes", classes, "a list of names, or None")
        if classes is not None and len(set(classes)) != len(classes):
            raise _wrong("classes", classes, "every name once")
        for option, number, least in (("max_tokens", max_tokens, 1), ("num_buckets", num_buckets, 2)):
            if type(number) is not int or number < least:
                raise _wrong(option, number, f"an integer from {least}")
        self.file = file
        self.text = text
        self.label = label
        self.classes = None if classes is None else tuple(classes)
        self.max_tokens = max_tokens
        self.num_buckets = num_buckets

    def open(self, data_root: Path, *, manifest_file: str, env: Mapping[str, Any]) -> JsonLinesDataset:
        """Return the texts in the order of the lines; see `JsonLinesDataset` for an item's form.

        ``env`` may hold ``num_classes`` (0: as many as the classes, or the largest index plus one).

        Raises:
            DataError: the file is missing, leads out of ``data_root``, holds no line, or lines that cannot be used; the
                message lists up to 20 of them.
            ConfigError: ``num_classes`` is below the number of classes.
        """
        path = resolve_uri(f"./{self.file}", data_root)
        indices = None if self.classes is None else {name: index for index, name in enumerate(self.classes)}
        fields = RecordFields(self.text, self.label, indices)
        offsets, targets = _index(path, fields)
        return JsonLinesDataset(
            path,
            fields,
            offsets,
            targets,
            num_classes=self._num_classes(path, env.get("num_classes", 0), targets),
            max_tokens=self.max_tokens,
            num_buckets=self.num_buckets,
        )

    def count_samples(self, data_root: Path, *, manifest_file: str) -> int:
        """Return the number of lines that are not blank.

        Raises:
            DataError: the file is missing or leads out of ``data_root``.
        """
        return sum(1 for _ in _lines(resolve_uri(f"./{self.file}", data_root)))

    def _num_classes(self, path: Path, asked: int, targets: npt.NDArray[np.int64]) -> int:
        if self.classes is not None:
            if asked and asked < len(self.classes):
                raise ConfigError(f"env['num_classes']: found {asked}, expected at least {len(self.classes)}, or 0")
            return len(self.classes)
        largest = int(targets.max())
        if asked and largest >= asked:
            line = int(targets.argmax()) + 1
            raise DataError(f"{path}: sample {line}: found class {largest}, expected 0 to {asked - 1} (num_classes)")
        return asked or largest + 1


class JsonLinesDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The texts of one file, read from it when they are asked for.

    An item is ``(tokens, target)``: tokens int64 of shape (max_tokens,), from 1 to num_buckets - 1 for a word and 0
    behind the last one; target the class index, an int64 scalar.

    Attributes:
        num_classes: number of classes.
        targets: class index of every item, int64 of shape (len(self),).
    """

    def __init__(
        self,
        path: Path,
        fields: RecordFields,
        offsets: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        *,
        num_classes: int,
        max_tokens: int,
        num_buckets: int,
    ) -> None:
        self.num_classes = num_classes
        self.targets = targets
        self._path = path
        self._fields = fields
        self._offsets = offsets
        self._max_tokens = max_tokens
        self._num_buckets = num_buckets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one text.

        Raises:
            DataError: the file is gone, or was changed since it was opened.
        """
        offset = int(self._offsets[index])
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                text, target = parse_record(file.readline(MAX_LINE_BYTES + 1), self._fields)
        except (OSError, RecordError) as error:
            raise DataError(f"{self._path}: at byte {offset}, changed since it was opened: {error}") from error
        tokens = hash_tokens(text, self._max_tokens, self._num_buckets)
        return tokens, torch.tensor(target, dtype=torch.int64)


def hash_tokens(text: str, max_tokens: int, num_buckets: int) -> torch.Tensor:
    """Return the words of ``text``, case folded, as int64 numbers of shape (max_tokens,).

    A word's number is ``1 + crc32(word) % (num_buckets - 1)``, the same in every process and on every machine.
    """
    tokens = torch.zeros(max_tokens, dtype=torch.int64)
    for position, word in enumerate(_WORD.finditer(text.casefold())):
        if position == max_tokens:
            break
        tokens[position] = 1 + zlib.crc32(word[0].encode()) % (num_buckets - 1)
    return tokens


def _index(path: Path, fields: RecordFields) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Check every line; return the position in bytes and the class of each record."""
    offsets, targets = array("q"), array("q")
    problems: list[str] = []
    for number, offset, line in _lines(path):
        try:
            targets.append(parse_record(line, fields)[1])
            offsets.append(offset)
        except RecordError as error:
            problems.append(f"{path}:{number}: {error}")
            if len(problems) == _MAX_LISTED:
                problems.append("and perhaps more: reading stopped here")
                break
    if problems:
        raise DataError("\n".join(problems))
    if not offsets:
        raise DataError(f"{path}: found no line, expected one JSON object per line")
    return np.array(offsets, dtype=np.int64), np.array(targets, dtype=np.int64)


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, position and content of every line that is not blank."""
    try:
        with path.open("rb") as file:
            yield from _lines_of(file)
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read: {error.strerror}") from error


def _lines_of(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    number, offset = 0, 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if not line.isspace():
            yield number, offset, line
        offset += len(line)


def _wrong(option: str, found: object, expected: str) -> ConfigError:
    return ConfigError(f"adapter 'jsonl', option {option}: found {found!r}, expected {expected}")
