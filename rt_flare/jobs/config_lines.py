"""The settings of a configuration as people see them: one line each, below the comment that explains it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyhocon import ConfigFactory
from pyhocon.exceptions import ConfigException
from pyparsing import ParseBaseException

from rt_flare.core.hocon_text import refuse_outside_references
from rt_flare.errors import ConfigError

__all__ = ["Setting", "read_settings", "replace_values"]

_LINE = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*[=:]\s*(?P<value>.*)")
_HEADLINE = re.compile(r"# -{2,} (?P<title>.*?) -{2,}")


@dataclass(frozen=True)
class Setting:
    """One top-level value of a configuration that stands on a line of its own.

    Attributes:
        name: its key.
        value: its value, a JSON one.
        comment: the comment above it, or above the group of settings that it belongs to, without the ``#``.
        section: the headline above it; "" without one.
        line: 1-based number of its line.
    """

    name: str
    value: Any
    comment: str
    section: str
    line: int


def read_settings(text: str, where: str) -> list[Setting]:
    """Return the settings of a HOCON or JSON text, in its order.

    Raises:
        ConfigError: the text cannot be parsed; ``where`` names it in the message.
    """
    values = _parse(text, where)
    indent = _indent(text)
    found: list[Setting] = []
    comment: list[str] = []
    section, in_comment = "", False
    for number, line in enumerate(text.splitlines(), start=1):
        if headline := _HEADLINE.fullmatch(line.rstrip()):
            section, comment, in_comment = headline["title"], [], False
        elif line.startswith("#"):
            comment = [*(comment if in_comment else []), line.removeprefix("#").strip()]
            in_comment = True
        elif line.startswith(indent) and (match := _LINE.fullmatch(line.removeprefix(indent))):
            in_comment = False
            name = match["name"]
            if name in values and _stands_alone(match["value"], values[name]):
                found.append(Setting(name, values[name], " ".join(comment), section, number))
        elif not line.strip():
            comment, in_comment = [], False
    return found


def replace_values(text: str, values: Mapping[str, Any], where: str) -> str:
    """Return a HOCON text with other values for some of its settings; every other line stays as it is.

    Args:
        text: the configuration.
        values: by name; JSON values.
        where: names the text in messages.

    Raises:
        ConfigError: the text cannot be parsed, or a value in it spans several lines.
    """
    before = _parse(text, where)
    lines, indent = text.splitlines(keepends=True), _indent(text)
    at = {setting.name: setting.line for setting in read_settings(text, where)}
    for name, value in values.items():
        if name not in at:
            raise ConfigError(f"{where}: {name} does not stand on a line of its own; change it in an editor")
        lines[at[name] - 1] = f"{indent}{name} = {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n"
    changed = "".join(lines)
    # HOCON has rules of its own for what is in a value: whatever it is, what comes out is what was asked for.
    if _parse(changed, where) != before | dict(values):
        raise ConfigError(f"{where}: {', '.join(values)}: HOCON would read other values than {dict(values)!r}")
    return changed


def _indent(text: str) -> str:
    """What stands before the settings: NVFlare writes a configuration with braces around it, and moves all in."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) < 2 or lines[0].strip() != "{":
        return ""
    return lines[1][: len(lines[1]) - len(lines[1].lstrip())]


def _parse(text: str, where: str) -> dict[str, Any]:
    refuse_outside_references(text, where)
    try:
        plain = ConfigFactory.parse_string(text).as_plain_ordered_dict()
    except (AttributeError, ConfigException, ParseBaseException) as error:
        raise ConfigError(f"{where}: expected an object in HOCON or JSON: {error}") from error
    return {str(key): value for key, value in plain.items()}


def _stands_alone(written: str, value: Any) -> bool:
    """Whether the text on the line is all of the value."""
    # Most values are JSON, which is read in no time; HOCON is not.
    with contextlib.suppress(ValueError):
        return bool(json.loads(written) == value)
    try:
        return bool(ConfigFactory.parse_string(f"value = {written}").as_plain_ordered_dict()["value"] == value)
    except (AttributeError, KeyError, ConfigException, ParseBaseException):
        return False
