"""One line of a JSON Lines file: a text and its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["MAX_LINE_BYTES", "RecordError", "RecordFields", "parse_record"]

MAX_LINE_BYTES = 16 << 20
"""Longest line that is read: a file without line breaks must not fill the memory."""


class RecordError(ValueError):
    """What is wrong with a line, without its place."""


@dataclass(frozen=True, slots=True)
class RecordFields:
    """Where a line's text and class are.

    Attributes:
        text: key of the text.
        label: key of the class.
        class_indices: index of each class name; None if lines hold the index itself.
    """

    text: str
    label: str
    class_indices: Mapping[str, int] | None


def parse_record(line: bytes, fields: RecordFields) -> tuple[str, int]:
    """Return the text and the class index of one line.

    Raises:
        RecordError: the line is too long, no JSON object, or lacks a usable text or class.
    """
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"found a line of more than {MAX_LINE_BYTES} bytes. Split it, or cut the text.")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"no valid JSON: {error}. Write one JSON object per line, as UTF-8.") from error
    if not isinstance(record, dict):
        raise RecordError(f"found {_shown(record)}, expected a JSON object")
    text = record.get(fields.text)
    if not isinstance(text, str):
        raise RecordError(f"field {fields.text!r}: found {_found(record, fields.text)}, expected text")
    return text, _class_index(record, fields)


def _class_index(record: dict[str, Any], fields: RecordFields) -> int:
    label = record.get(fields.label)
    place = f"field {fields.label!r}: found {_found(record, fields.label)}"
    if fields.class_indices is None:
        if type(label) is not int or not 0 <= label < 1 << 31:
            raise RecordError(f"{place}, expected an integer from 0 to 2**31 - 1. For names, set the option classes.")
        return label
    if not isinstance(label, str) or label not in fields.class_indices:
        known = ", ".join(map(repr, list(fields.class_indices)[:10]))
        raise RecordError(f"{place}, expected one of the {len(fields.class_indices)} classes {known} and so on")
    return fields.class_indices[label]


def _found(record: dict[str, Any], key: str) -> str:
    return _shown(record[key]) if key in record else "no such field"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
