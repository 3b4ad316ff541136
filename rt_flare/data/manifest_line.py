"""One line of a manifest: parsed, or refused with all its problems. The format stands in `rt_flare.data.manifest`."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MAX_LABEL", "MAX_LINE_BYTES", "ManifestEntry", "ManifestProblem", "parse_line", "repeated_id"]

MAX_LINE_BYTES = 1 << 20
MAX_LABEL = 2**31 - 1

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One sample of a shard.

    Attributes:
        id: name of the sample, unique in its manifest.
        uri: where its file is; see `rt_flare.data.uris.resolve_uri`.
        y: label indices, each from 0; none, one or several.
        meta: the user's own values, JSON types only.
        line: 1-based line of the manifest that it was read from, 0 if it was not read; not compared.
    """

    id: str
    uri: str
    y: tuple[int, ...]
    meta: dict[str, Any] | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ManifestProblem:
    """One breach of the format: where, what was found, what is expected."""

    line: int
    field: str
    found: str
    expected: str


class _RefusedValueError(Exception):
    """Raised inside the JSON parser's hooks."""

    def __init__(self, field: str, found: str, expected: str) -> None:
        super().__init__(field)
        self.field, self.found, self.expected = field, found, expected


def parse_line(raw: bytes, number: int) -> tuple[list[ManifestProblem], ManifestEntry | None]:
    """Return the line's problems, or its entry; whether its id came before is not looked at."""
    if len(raw) > MAX_LINE_BYTES:
        return [ManifestProblem(number, "line", f"{len(raw)} bytes", f"at most {MAX_LINE_BYTES} bytes")], None
    if not raw.strip():
        return [ManifestProblem(number, "line", "a blank line", "a JSON object")], None
    try:
        document = _DECODER.decode(raw.decode())
    except UnicodeDecodeError as error:
        return [ManifestProblem(number, "line", f"bytes that are not UTF-8 at byte {error.start + 1}", "UTF-8")], None
    except _RefusedValueError as error:
        return [ManifestProblem(number, error.field, error.found, error.expected)], None
    except (ValueError, RecursionError) as error:
        return [ManifestProblem(number, "line", f"no valid JSON ({error})", "one JSON object")], None
    if not isinstance(document, dict):
        return [ManifestProblem(number, "line", _shown(document), "a JSON object")], None

    problems = [ManifestProblem(number, name, found, expected) for name, found, expected in _broken_fields(document)]
    if problems:
        return problems, None
    return [], ManifestEntry(document["id"], document["uri"], tuple(document["y"]), document.get("meta"), number)


def repeated_id(text: str, number: int, first: int) -> ManifestProblem:
    """Return the problem of line ``number``, whose id ``text`` stands in the line ``first`` already."""
    found = f"{_shown(text)}, the id of line {first} already"
    return ManifestProblem(number, "id", found, "an id that is unique in the file")


def _broken_fields(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in ("id", "uri"):
        value = document.get(name)
        if not isinstance(value, str) or not value or _SURROGATE.search(value):
            yield name, _shown(value) if name in document else "no such field", "a non-empty Unicode string"
    labels = document.get("y")
    if not isinstance(labels, list):
        yield "y", _shown(labels) if "y" in document else "no such field", "a list of integers"
    else:
        for position, label in enumerate(labels):
            if type(label) is not int or not 0 <= label <= MAX_LABEL:
                yield f"y[{position}]", _shown(label), f"an integer from 0 to {MAX_LABEL}"
                break
    if not isinstance(document.get("meta"), dict | None):
        yield "meta", _shown(document["meta"]), "an object"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        twice, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _RefusedValueError(_shown(twice), f"this key {count} times in one object", "every key once")
    return document


def _constant(text: str) -> None:
    raise _RefusedValueError("line", text, "numbers that JSON has")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _RefusedValueError("line", _shown(text), "numbers that fit a float")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
