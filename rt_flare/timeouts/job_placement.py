"""Putting a preset's values into a job's configurations, each where NVFlare reads it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rt_flare.timeouts.class_arguments import find_class_arguments
from rt_flare.timeouts.key_map import ConfigKey, Place
from rt_flare.timeouts.placement import PlacedSettings

__all__ = ["PACE_COMPONENT", "JobConfigs", "place_in_job"]

PACE_COMPONENT = "rt_flare.components.pace.RoundPace"
"""The server component that shortens the wait of NVFlare's communicator."""

_REFERENCE = re.compile(r"\{(\w+)\}")
_MODES_OF_OWN_PROCESS = {"external_process", "attach"}


@dataclass(frozen=True)
class JobConfigs:
    """A job's configurations as plain values, before NVFlare fills in variables.

    Attributes:
        server: ``config_fed_server``.
        client: ``config_fed_client``.
        meta: ``meta``.
    """

    server: Mapping[str, Any]
    client: Mapping[str, Any]
    meta: Mapping[str, Any]


def place_in_job(configs: JobConfigs, placed: PlacedSettings) -> JobConfigs:
    """Return the configurations with the preset's values in them; what it does not set stays.

    A value goes into the variable that its place refers to, if there is one. Arguments go to components whose class
    takes them: a deadline that is called ``train_timeout`` in ScatterAndGather and ``round_timeout_seconds`` in
    RtFedAvg stands in the preset under both names. What belongs to the kits is left out (`PlacedSettings.at_the_kit`).
    """
    server, client, meta = (copy.deepcopy(dict(c)) for c in (configs.server, configs.client, configs.meta))
    for setting in placed.settings:
        key, value = setting.key, setting.value
        for place in key.places:
            if place is Place.CLIENT_CONFIG:
                _assign(client, key.key, value, client)
            elif place is Place.SERVER_CONFIG:
                _assign(server, key.key, value, server)
            elif place is Place.SERVER_SECTION:
                _assign(server.setdefault("server", {}), key.key, value, server)
            elif place is Place.META:
                _assign(meta, key.key, value, meta)
            elif place is Place.WORKFLOW_ARGS:
                _arguments(server.get("workflows"), key, value, server)
            elif place is Place.EXECUTOR_ARGS:
                _arguments(client.get("executors"), key, value, client)
            elif place is Place.SERVER_COMPONENT:
                _pace(server, value)
    return JobConfigs(server, client, meta)


def _assign(values: dict[str, Any], key: str, value: Any, variables: dict[str, Any]) -> None:
    """Set ``key``, or the variable that it refers to; a float stays one."""
    reference = _REFERENCE.fullmatch(values[key]) if isinstance(values.get(key), str) else None
    target, name = (variables, reference[1]) if reference else (values, key)
    target[name] = float(value) if isinstance(target.get(name), float) and not isinstance(value, bool) else value


def _arguments(entries: Any, key: ConfigKey, value: Any, variables: dict[str, Any]) -> None:
    for component in _described(entries):
        args = component.setdefault("args", {})
        if component.get("path") not in key.classes and key.key not in args:
            continue
        if "execution_mode" in args and args["execution_mode"] not in _MODES_OF_OWN_PROCESS:
            continue  # refused there
        _assign(args, key.key, value, variables)


def _described(entries: Any) -> Iterator[dict[str, Any]]:
    for entry in entries or []:
        yield entry.get("executor", entry)


def _pace(server: dict[str, Any], value: Any) -> None:
    components = server.setdefault("components", [])
    found = next((component for component in components if component.get("path") == PACE_COMPONENT), None)
    if found is None and find_class_arguments(PACE_COMPONENT) is not None:
        components.append({"id": "round_pace", "path": PACE_COMPONENT, "args": {"period_seconds": value}})
    elif found is not None:
        _assign(found.setdefault("args", {}), "period_seconds", value, server)
