"""From a preset to values: rules worked out for a deployment, each value with its file, its reader and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rt_flare.errors import ConfigError
from rt_flare.timeouts.key_map import ConfigKey, KeyMap, Place, load_key_map
from rt_flare.timeouts.presets import Preset, Setting, find_preset, flatten_preset
from rt_flare.timeouts.quantity import format_bytes, format_seconds
from rt_flare.timeouts.rule import RULE_NAMES, evaluate_rule, names_in_rule
from rt_flare.timeouts.stall_guard import CloseWindow, close_window

__all__ = ["ACCEPT_SECONDS_PER_BYTE", "Deployment", "Exchange", "PlacedSetting", "PlacedSettings", "apply_preset"]

Exchange = Literal["tensor", "np"]

ACCEPT_SECONDS_PER_BYTE: Mapping[Exchange, float] = {"tensor": 0.03 / 4.03e8, "np": 0.75 / 4.03e8}
"""How long the server takes to add an update, measured with 403 MB: tensors are added in place, arrays unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What rules are worked out for.

    Attributes:
        num_sites: number of sites.
        model_bytes: bytes of one update; None when it is not known.
        bytes_per_second: bandwidth of the server, all sites together; None when it is not known.
        exchange: what travels: ``tensor`` (PyTorch, as rt_flare's components send) or ``np`` (NumPy).

    Raises:
        ConfigError: a number that is not positive, or another exchange.
    """

    num_sites: int
    model_bytes: int | None = None
    bytes_per_second: float | None = None
    exchange: Exchange = "tensor"

    def __post_init__(self) -> None:
        for name in ("num_sites", "model_bytes", "bytes_per_second"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}: found {value!r}, expected more than zero")
        if self.exchange not in ACCEPT_SECONDS_PER_BYTE:
            raise ConfigError(f"exchange: found {self.exchange!r}, expected tensor or np")

    @property
    def accept_seconds(self) -> float | None:
        """Seconds that the server takes to add one update."""
        return None if self.model_bytes is None else self.model_bytes * ACCEPT_SECONDS_PER_BYTE[self.exchange]

    @property
    def quantities(self) -> dict[str, float]:
        """The names that rules can use, as far as they are known."""
        return {name: value for name in RULE_NAMES if (value := getattr(self, name)) is not None}

    @property
    def queue_seconds(self) -> float | None:
        """Seconds from the first byte of the first update to the last one added, all sites at once."""
        if self.model_bytes is None or self.bytes_per_second is None or self.accept_seconds is None:
            return None
        return self.num_sites * (self.model_bytes / self.bytes_per_second + self.accept_seconds)

    def describe(self, name: str) -> str:
        """One quantity for people."""
        value = self.quantities[name]
        if name == "model_bytes":
            return f"{format_bytes(value)} per update"
        if name == "bytes_per_second":
            return f"{format_bytes(value)}/s at the server"
        if name == "accept_seconds":
            return f"{format_seconds(value)} to add an update"
        return f"{value:g} sites"


@dataclass(frozen=True, slots=True)
class PlacedSetting:
    """One value, and all that there is to say about it.

    Attributes:
        key: what NVFlare reads.
        value: the value.
        setting: where it comes from.
        reason: why this value, with the numbers that it was worked out from.
    """

    key: ConfigKey
    value: bool | int | float
    setting: Setting
    reason: str


@dataclass(frozen=True, slots=True)
class PlacedSettings:
    """The values of a preset for a deployment.

    Attributes:
        preset: the preset's name.
        deployment: what it was worked out for.
        settings: the values, in the order of the key map.
    """

    preset: str
    deployment: Deployment
    settings: tuple[PlacedSetting, ...]

    def at(self, place: Place) -> dict[str, bool | int | float]:
        """Return the values of one place, by key."""
        return {placed.key.key: placed.value for placed in self.settings if place in placed.key.places}

    def get(self, identifier: str) -> bool | int | float | None:
        """Return the value of a key by its id; None when the preset leaves it unset."""
        return next((placed.value for placed in self.settings if placed.key.id == identifier), None)

    @property
    def client_config(self) -> dict[str, bool | int | float]:
        """Top level of the job's ``config_fed_client``."""
        return self.at(Place.CLIENT_CONFIG)

    @property
    def server_config(self) -> dict[str, bool | int | float]:
        """Top level of the job's ``config_fed_server``."""
        return self.at(Place.SERVER_CONFIG)

    @property
    def server_section(self) -> dict[str, bool | int | float]:
        """Section ``server`` of the job's ``config_fed_server``."""
        return self.at(Place.SERVER_SECTION)

    @property
    def workflow_args(self) -> dict[str, bool | int | float]:
        """Arguments of the workflow, as far as its class takes them."""
        return self.at(Place.WORKFLOW_ARGS)

    @property
    def executor_args(self) -> dict[str, bool | int | float]:
        """Arguments of the executor, as far as its class takes them."""
        return self.at(Place.EXECUTOR_ARGS)

    @property
    def comm_config(self) -> dict[str, bool | int | float]:
        """``local/comm_config.json`` of every startup kit; a job cannot carry it (T13)."""
        return self.at(Place.COMM_CONFIG)

    @property
    def at_the_kit(self) -> tuple[PlacedSetting, ...]:
        """What no job can carry: it has to be done at the startup kits."""
        return tuple(placed for placed in self.settings if not any(place.in_job for place in placed.key.places))

    @property
    def close_window(self) -> CloseWindow | None:
        """When a stalled connection is closed (or would be, as long as the guard only warns)."""
        stall, checks = self.get("comm.sfm_send_stall_timeout"), self.get("comm.sfm_send_stall_consecutive_checks")
        return None if stall is None or checks is None else close_window(float(stall), int(checks))

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        window = self.close_window
        return {
            "preset": self.preset,
            "num_sites": self.deployment.num_sites,
            "model_bytes": self.deployment.model_bytes,
            "bytes_per_second": self.deployment.bytes_per_second,
            "exchange": self.deployment.exchange,
            "close_window_seconds": None if window is None else [window.earliest, window.latest],
            "settings": [
                {
                    "id": placed.key.id,
                    "key": placed.key.key,
                    "value": placed.value,
                    "unit": placed.key.unit,
                    "default": placed.key.default,
                    "places": [place.text for place in placed.key.places],
                    "in_job": any(place.in_job for place in placed.key.places),
                    "read_by": placed.key.read_by,
                    "process": placed.key.process,
                    "rule": placed.setting.rule,
                    "why": placed.reason,
                }
                for placed in self.settings
            ],
        }


def apply_preset(
    preset: Preset | str,
    *,
    num_sites: int,
    model_bytes: int | None = None,
    bytes_per_second: float | None = None,
    exchange: Exchange = "tensor",
    key_map: KeyMap | None = None,
) -> PlacedSettings:
    """Work a preset out for a deployment.

    Args:
        preset: the preset, or what `find_preset` takes.
        num_sites, model_bytes, bytes_per_second, exchange: see `Deployment`. A rule that needs what is None leaves its
            setting at its fixed value, and the reason says so.
        key_map: the keys that may be set; default: those of the installed NVFlare.

    Raises:
        ConfigError: an unknown preset or key, or a value that NVFlare does not take.
    """
    found = find_preset(preset) if isinstance(preset, str) else preset
    keys = key_map or load_key_map()
    deployment = Deployment(
        num_sites=num_sites, model_bytes=model_bytes, bytes_per_second=bytes_per_second, exchange=exchange
    )
    flat = flatten_preset(found, keys, exchange=exchange)
    placed = (_place(keys.keys[name], flat[name], deployment) for name in keys.keys if name in flat)
    return PlacedSettings(found.name, deployment, tuple(setting for setting in placed if setting is not None))


def _place(key: ConfigKey, setting: Setting, deployment: Deployment) -> PlacedSetting | None:
    if setting.rule is None:
        assert setting.value is not None
        return PlacedSetting(key, setting.value, setting, setting.why)
    names, known = names_in_rule(setting.rule), deployment.quantities
    if missing := [RULE_NAMES[name] for name in RULE_NAMES if name in names and name not in known]:
        if setting.value is None:
            return None
        note = f"{setting.rule}; not known: {', '.join(dict.fromkeys(missing))}, so {setting.value:g}."
        return PlacedSetting(key, setting.value, setting, f"{setting.why} {note}".strip())
    value = evaluate_rule(setting.rule, known)
    value = int(value) if key.type == "int" or value == int(value) else round(value, 6)
    if problem := key.problem(value):
        raise ConfigError(f"{key.id}: the rule {setting.rule!r} gives {value!r}, {problem}")
    used = ", ".join(deployment.describe(name) for name in RULE_NAMES if name in names)
    note = f"{setting.rule} = {value} for {used}."
    return PlacedSetting(key, value, setting, f"{setting.why} {note}".strip())
