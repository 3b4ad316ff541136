"""Timeout presets: named sets of values, each with the reason for it. Built in, from plugins, or from a user's file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from rt_flare.catalog import load_catalog
from rt_flare.core.durable_io import read_json
from rt_flare.errors import ConfigError
from rt_flare.timeouts.key_map import KeyMap
from rt_flare.timeouts.rule import names_in_rule

__all__ = ["EXCHANGE_PREFIX", "Preset", "Setting", "builtin_presets", "find_preset", "flatten_preset"]

EXCHANGE_PREFIX = "{exchange}_"
"""Stands for ``tensor_`` or ``np_`` at the start of a key: what the job exchanges decides."""

_JOIN = "+"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Setting(_Data):
    """A value for a key.

    Attributes:
        value: the value; None leaves the key unset unless ``rule`` gives one.
        rule: arithmetic that takes the place of ``value`` when everything that it uses is known (see `rule`).
        why: the reason, one or two sentences.
    """

    value: bool | int | float | None = None
    rule: str | None = None
    why: str = ""

    @field_validator("rule")
    @classmethod
    def _rule_is_arithmetic(cls, rule: str | None) -> str | None:
        if rule is not None:
            try:
                names_in_rule(rule)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return rule

    @model_validator(mode="after")
    def _says_something(self) -> Setting:
        if self.value is None and self.rule is None:
            raise ValueError("found neither value nor rule, expected one of them")
        return self


class Preset(_Data):
    """A named set of values.

    Attributes:
        name: lower-case letters, digits, ``-`` and ``_``.
        title: what it is for, one line.
        extends: presets whose settings it takes over, later ones over earlier ones, before its own.
        settings: id of a key (see `key_map`) to its setting. A plain value stands for a setting without a reason.
        without: ids of keys that it does not take over.
    """

    name: str
    title: str = ""
    extends: tuple[str, ...] = ()
    settings: Mapping[str, Setting]
    without: tuple[str, ...] = ()

    @field_validator("extends", mode="before")
    @classmethod
    def _one_or_several(cls, extends: Any) -> Any:
        return (extends,) if isinstance(extends, str) else extends

    @field_validator("settings", mode="before")
    @classmethod
    def _plain_values(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        return {key: {"value": s} if isinstance(s, bool | int | float) else s for key, s in settings.items()}


@cache
def builtin_presets() -> Mapping[str, Preset]:
    """Return the presets of this package, by name."""
    document = read_json(Path(__file__).resolve().parent / "presets.json")
    return {name: Preset.model_validate({"name": name, **body}) for name, body in document.items()}


def __getattr__(name: str) -> Preset:
    # What the hook names: rt_flare.timeouts.presets:LARGE_MODEL.
    if name.isupper() and name.lower() in builtin_presets():
        return builtin_presets()[name.lower()]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def find_preset(name: str) -> Preset:
    """Return a preset.

    Args:
        name: the name of a built-in or a plugin's preset; the path of a JSON file with a preset (it ends in
            ``.json``); or several of these joined by ``+``, later ones over earlier ones.

    Raises:
        ConfigError: there is no such preset, or the file holds none; the message says what is wrong and where.
    """
    parts = [part.strip() for part in name.split(_JOIN)]
    if len(parts) > 1:
        title = "; ".join(_find(part).title for part in parts)
        return Preset(name=_JOIN.join(parts), title=title, extends=tuple(parts), settings={})
    return _find(parts[0])


def flatten_preset(preset: Preset, key_map: KeyMap, *, exchange: str = "tensor") -> dict[str, Setting]:
    """Return all settings of a preset by key id, what it extends included, every key checked against ``key_map``.

    Args:
        exchange: ``tensor`` or ``np``: the prefix for keys that depend on what is exchanged.

    Raises:
        ConfigError: a key that this NVFlare does not read (with the nearest that it does), a value that it does not
            take, a preset that does not exist, or presets that extend each other in a circle.
    """
    return _flatten(preset, key_map, exchange, trail=())


def _flatten(preset: Preset, key_map: KeyMap, exchange: str, trail: tuple[str, ...]) -> dict[str, Setting]:
    if preset.name in trail:
        raise ConfigError(f"timeout presets extend each other in a circle: {' -> '.join((*trail, preset.name))}")
    settings: dict[str, Setting] = {}
    for base in preset.extends:
        settings |= _flatten(find_preset(base), key_map, exchange, (*trail, preset.name))
    place = f"timeout preset {preset.name!r}"
    for name in preset.without:
        identifier = _identify(name, key_map, exchange, place)
        if identifier not in settings:
            raise ConfigError(f"{place}: without {name!r}, but nothing that it extends sets it")
        del settings[identifier]
    for name, setting in preset.settings.items():
        identifier = _identify(name, key_map, exchange, place)
        if setting.value is not None and (problem := key_map.keys[identifier].problem(setting.value)):
            raise ConfigError(f"{place}, {name}: found {setting.value!r}, {problem}")
        settings[identifier] = setting
    return settings


def _identify(name: str, key_map: KeyMap, exchange: str, place: str) -> str:
    if name.startswith(EXCHANGE_PREFIX):
        name = f"{exchange}_{name.removeprefix(EXCHANGE_PREFIX)}"
    try:
        return key_map.find(name).id
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _find(name: str) -> Preset:
    if name.endswith(".json"):
        return _read(Path(name))
    found = load_catalog().timeout_preset(name)
    try:
        preset = found if isinstance(found, Preset) else Preset.model_validate({"name": name, **found})
    except (ValidationError, TypeError) as error:
        raise ConfigError(f"timeout preset {name!r}: {_problems(error)}") from error
    if preset.name != name:
        raise ConfigError(f"timeout preset {name!r}: it calls itself {preset.name!r}; both names must be the same")
    return preset


def _read(path: Path) -> Preset:
    try:
        document = read_json(path)
        return Preset.model_validate({"name": path.stem, **document})
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"timeout preset {path}: {_problems(error)}") from error


def _problems(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}, found {detail['input']!r}"
        for detail in error.errors()
    )
