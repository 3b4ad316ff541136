"""Values that reach a component as they were given: through JSON, NVFlare's substitution and `nvflare job submit`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from rt_flare.errors import ConfigError

__all__ = ["config_object", "config_text"]

_KEY = re.compile(r"[\w-][\w -]*")
_INT64 = range(-(1 << 63), 1 << 63)


def config_text(value: str, where: str) -> str:
    """Return ``value`` if NVFlare passes it on unchanged.

    Raises:
        ConfigError: it holds braces (NVFlare replaces ``{name}`` in every string) or is no valid Unicode.
    """
    if "{" in value or "}" in value:
        raise ConfigError(
            f"{where}: found {value!r}; NVFlare reads braces in a job configuration as a variable: "
            "use a value without them"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where}: found {value!r}, expected text that can be written as UTF-8") from error
    return value


def config_object(values: Mapping[str, Any] | None, where: str) -> dict[str, Any] | None:
    """Return keyword arguments in the form in which a job configuration carries them, or None for none.

    Raises:
        ConfigError: a value that does not survive, with its place: no JSON value (a tuple, a set, an object), NaN
            or infinite, an integer beyond 64 bits, text with braces, a key that `nvflare job submit` rewrites, or
            arguments that NVFlare would take for a component to build.
    """
    if not values:
        return None
    checked = _checked(dict(values), where)
    assert isinstance(checked, dict)
    if "config_type" in checked:
        raise ConfigError(f"{where}.config_type: NVFlare gives this key a meaning of its own; rename the argument")
    if key := _component_key(checked):
        raise ConfigError(
            f"{where}.{key}: found {checked[key]!r}; NVFlare takes arguments with such a {key} for a component to "
            "build, and passes on that instead of them; rename the argument"
        )
    return checked


def _component_key(values: dict[str, Any]) -> str | None:
    """The key that makes NVFlare build a component from a dict; it looks at the first of the three that is there."""
    key = next((key for key in ("path", "class_path", "name") if key in values), None)
    value = values.get(key) if key else None
    if not isinstance(value, str):
        return None
    if key == "name":
        from nvflare.fuel.utils.components_utils import create_classes_table_static

        return key if value in create_classes_table_static() else None
    return key if "." in value else None


def _checked(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if type(value) is str:
        return config_text(value, where)
    if type(value) is int:
        if value not in _INT64:
            raise ConfigError(f"{where}: found {value}, expected an integer of at most 64 bits")
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ConfigError(f"{where}: found {value}, expected a finite number: JSON has no form for it")
        return value
    if type(value) is list:
        return [_checked(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if type(value) is dict:
        for key in value:
            if type(key) is not str or not _KEY.fullmatch(key):
                raise ConfigError(
                    f"{where}: found the key {key!r}, expected text of letters, digits, '_', '-' and spaces: "
                    "`nvflare job submit` rewrites other keys"
                )
        return {key: _checked(item, f"{where}.{key}") for key, item in value.items()}
    raise ConfigError(
        f"{where}: found {value!r} of type {type(value).__name__}, expected a JSON value "
        "(None, bool, int, float, str, list or dict): it must survive the way through the job's configuration"
    )
