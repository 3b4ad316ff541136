"""Job templates: where they stand, how they are read, and how their variables are set."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt_flare.catalog import load_catalog
from rt_flare.errors import ConfigError
from rt_flare.jobs.hocon import read_hocon

__all__ = ["JobTemplate", "find_template", "load_template", "nearest_name", "references", "variables"]

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_REFERENCE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True)
class JobTemplate:
    """The three configurations of a template, as plain values.

    Attributes:
        name: the template's name.
        server: content of ``config_fed_server.conf``; variables are its top-level keys in capitals.
        client: content of ``config_fed_client.conf``; the same.
        meta: content of ``meta.conf``.
        info: content of ``info.conf``: ``description``, ``controller_type`` and ``execution_api_type`` for NVFlare,
            and ``timeouts``, the timeout preset whose values the template states.
    """

    name: str
    server: dict[str, Any]
    client: dict[str, Any]
    meta: dict[str, Any]
    info: dict[str, Any]

    def with_variables(self, *, server: Mapping[str, Any], client: Mapping[str, Any]) -> JobTemplate:
        """Return a copy with these variables set; all others keep the template's values.

        Raises:
            ConfigError: the template has no such variable.
        """
        return dataclasses.replace(
            self,
            server=_set(self.server, server, f"{self.name}/config_fed_server.conf"),
            client=_set(self.client, client, f"{self.name}/config_fed_client.conf"),
        )


def find_template(name: str) -> Path:
    """Folder of the template ``name``, which a plugin may have brought.

    Raises:
        ConfigError: there is no such template; the message lists those that are installed.
    """
    return load_catalog().job_template(name)


def load_template(name: str) -> JobTemplate:
    """Read the template ``name``.

    Raises:
        ConfigError: there is no such template, a file of it cannot be read, or a configuration refers to a variable
            that it does not define.
    """
    folder = find_template(name)
    server, client = read_hocon(folder / "config_fed_server.conf"), read_hocon(folder / "config_fed_client.conf")
    for file, config in (("config_fed_server.conf", server), ("config_fed_client.conf", client)):
        undefined = sorted(references(config) - variables(config))
        if undefined:
            raise ConfigError(f"{name}/{file}: refers to {', '.join(undefined)}, which it does not define")
    meta, info = read_hocon(folder / "meta.conf"), read_hocon(folder / "info.conf")
    return JobTemplate(name=name, server=server, client=client, meta=meta, info=info)


def variables(config: Mapping[str, Any]) -> set[str]:
    """Names of the variables that a configuration defines: its top-level keys in capitals."""
    return {key for key in config if _VARIABLE.fullmatch(key)}


def references(value: Any) -> set[str]:
    """Names of the variables that a configuration refers to as ``"{NAME}"``, at any depth."""
    if isinstance(value, str):
        return set(_REFERENCE.findall(value))
    if isinstance(value, Mapping):
        return set().union(*(references(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(references(item) for item in value))
    return set()


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that names the closest of ``known``, whatever its case; "" without one."""
    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def _set(config: dict[str, Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = variables(config)
    for name in values:
        if name not in known:
            raise ConfigError(f"{where} has no variable {name!r}{nearest_name(name, known)}")
    return copy.deepcopy(config) | copy.deepcopy(dict(values))
