"""A configuration as rows of name and value, for people to read; secrets are left out by their names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rt_flare.report.shown_text import HIDDEN, is_secret_name

__all__ = ["ConfigRow", "config_rows"]

_MAX_VALUE = 300


@dataclass(frozen=True)
class ConfigRow:
    """One value: where it stands in the file, as ``components[0].args.seed``, and the value as JSON."""

    name: str
    value: str


def config_rows(content: Mapping[str, Any], *, limit: int = 1_000) -> tuple[list[ConfigRow], int]:
    """Flatten ``content``.

    Returns:
        The first ``limit`` rows in the file's order, and the number of rows that there are.
    """
    rows = list(_rows("", content))
    return rows[:limit], len(rows)


def _rows(name: str, value: Any) -> Iterator[ConfigRow]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            path = f"{name}.{key}" if name else str(key)
            yield from [ConfigRow(path, HIDDEN)] if is_secret_name(str(key)) and inner else _rows(path, inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for number, inner in enumerate(value):
            yield from _rows(f"{name}[{number}]", inner)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
        yield ConfigRow(name, text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}... ({len(text)} characters)")
