"""``NAME=VALUE`` from a command line, for the settings of a job: exact names, values of the right kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rt_flare.errors import ConfigError
from rt_flare.jobs.config_values import config_object, config_text
from rt_flare.jobs.template import nearest_name

__all__ = ["FILES", "assign", "settable"]

FILES = {"meta": "meta", "server": "config_fed_server", "client": "config_fed_client"}
"""What stands before the dot of ``server.SEED=1``, and the file that it means."""

_STRUCTURE = {
    *("format_version", "server", "components", "workflows", "executors", "task_data_filters", "task_result_filters"),
    *("deploy_map", "resource_spec"),
}


@dataclass(frozen=True)
class _Assignment:
    file: str | None
    name: str
    text: str


def settable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a configuration: its top level without what NVFlare builds the job from."""
    return {name: value for name, value in config.items() if name not in _STRUCTURE}


def assign(configs: Mapping[str, Mapping[str, Any]], assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what ``NAME=VALUE`` texts change, by file.

    A name that several files have (``MODEL_PATH``) is set in each; ``client.NAME=VALUE`` sets one. A value is JSON, or
    plain text where the setting holds text. ``0``, ``""``, ``false`` and ``null`` are values like any other.

    Args:
        configs: the job's configurations by `FILES`' keys.
        assignments: the texts.

    Raises:
        ConfigError: no such setting (with the nearest name), one that is given twice, or a value of another kind.
    """
    changes: dict[str, dict[str, Any]] = {}
    for assignment in (_split(text) for text in assignments):
        files = [
            file
            for file, config in configs.items()
            if assignment.file in (None, file) and assignment.name in settable(config)
        ]
        if not files:
            searched = [assignment.file] if assignment.file else list(configs)
            known = {name for file in searched for name in settable(configs.get(file, {}))}
            place = " and ".join(FILES[file] for file in searched)
            raise ConfigError(f"{place}: no setting {assignment.name!r}{nearest_name(assignment.name, known)}")
        for file in files:
            if assignment.name in changes.get(file, {}):
                raise ConfigError(f"{assignment.name}: found two values for {FILES[file]}, expected one")
            where = f"{FILES[file]}: {assignment.name}"
            old = configs[file][assignment.name]
            if file != "meta" and assignment.name.islower() and type(old) is int:
                old = float(old)  # NVFlare's own keys are seconds, with fractions
            value = _value(assignment.text, old, where)
            if file == "meta" and assignment.name == "min_clients" and (type(value) is not int or value < 1):
                raise ConfigError(f"{where}: found {assignment.text}, expected a whole number of at least 1")
            changes.setdefault(file, {})[assignment.name] = value
    return changes


def _split(text: str) -> _Assignment:
    key, equals, value = text.partition("=")
    file, dot, name = key.strip().rpartition(".")
    if not equals or not name or (dot and file not in FILES):
        raise ConfigError(f"found {text!r}, expected NAME=VALUE or one of {', '.join(FILES)} before it: client.SEED=1")
    return _Assignment(file or None, name, value.strip())


def _value(text: str, old: Any, where: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        value = text
    if isinstance(old, str) and not isinstance(value, str) and value is not None:
        value = text  # text that looks like a number
    if not _is_of_kind(value, old):
        raise ConfigError(f"{where}: found {text}, expected {_kind(old)}, such as {json.dumps(old)}")
    if isinstance(value, str):
        return config_text(value, where)
    if isinstance(value, dict):
        return config_object(value, where)
    if isinstance(old, float) and type(value) is int:
        return float(value)
    checked = config_object({"value": value}, where)
    assert checked is not None
    return checked["value"]


def _is_of_kind(value: Any, old: Any) -> bool:
    if value is None or old is None:
        return True
    if isinstance(old, bool):
        return isinstance(value, bool)
    if isinstance(old, int):
        return type(value) is int
    if isinstance(old, float):
        return type(value) in (int, float)
    return isinstance(value, type(old))


def _kind(old: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", dict: "an object", list: "a list"}
    return kinds.get(type(old), "text")


def _refuse_constant(text: str) -> Any:
    raise ValueError(text)
