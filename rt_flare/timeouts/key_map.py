"""Which keys a version of NVFlare reads, where, and what it takes: data beside this module, one file per version."""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.durable_io import read_json
from rt_flare.errors import ConfigError

__all__ = ["ConfigKey", "KeyMap", "Place", "RetiredKey", "installed_version", "load_key_map"]

_HERE = Path(__file__).resolve().parent


class Place(StrEnum):
    """Where a value must stand for NVFlare to read it."""

    CLIENT_CONFIG = "client_config"
    SERVER_CONFIG = "server_config"
    SERVER_SECTION = "server_section"
    WORKFLOW_ARGS = "workflow_args"
    EXECUTOR_ARGS = "executor_args"
    SERVER_COMPONENT = "server_component"
    META = "meta"
    RECIPE = "recipe"
    COMM_CONFIG = "comm_config"
    SERVER_RESOURCES = "server_resources"
    SERVER_RESOURCES_TOP = "server_resources_top"
    CLIENT_RESOURCES = "client_resources"
    SERVER_ENVIRONMENT = "server_environment"
    CLIENT_START = "client_start"

    @property
    def text(self) -> str:
        """The file and the place in it, for people."""
        return _PLACE_TEXTS[self]

    @property
    def in_job(self) -> bool:
        """Whether a job carries it; if not, it stands in a startup kit or in the environment of a process."""
        return self in _JOB_PLACES


_PLACE_TEXTS = {
    Place.CLIENT_CONFIG: "job: config_fed_client, top level",
    Place.SERVER_CONFIG: "job: config_fed_server, top level",
    Place.SERVER_SECTION: "job: config_fed_server, section server",
    Place.WORKFLOW_ARGS: "job: config_fed_server, args of the workflow",
    Place.EXECUTOR_ARGS: "job: config_fed_client, args of the executor",
    Place.SERVER_COMPONENT: "job: config_fed_server, args of a component",
    Place.META: "job: meta",
    Place.RECIPE: "argument of the recipe",
    Place.COMM_CONFIG: "every kit: local/comm_config.json",
    Place.SERVER_RESOURCES: "server's kit: local/resources.json, first of servers",
    Place.SERVER_RESOURCES_TOP: "server's kit: local/resources.json, top level",
    Place.CLIENT_RESOURCES: "every site's kit: local/resources.json, section client",
    Place.SERVER_ENVIRONMENT: "environment of the server's start.sh",
    Place.CLIENT_START: "every site's kit: startup/sub_start.sh, behind --set",
}
_JOB_PLACES = {
    Place.CLIENT_CONFIG,
    Place.SERVER_CONFIG,
    Place.SERVER_SECTION,
    Place.WORKFLOW_ARGS,
    Place.EXECUTOR_ARGS,
    Place.SERVER_COMPONENT,
    Place.META,
    Place.RECIPE,
}


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConfigKey(_Data):
    """One key.

    Attributes:
        id: unique name: the key, with what it belongs to where the key alone says too little (``comm.``,
            ``executor.``, ``workflow.``, ``server.``, ``resources.``, ``env.``, ...).
        places: where it is read.
        process: which process reads it.
        type: what NVFlare takes.
        unit: s, bytes, count, sites, rounds or flag.
        default: what NVFlare takes when it is not set; None: nothing, see ``note``.
        above: the value must be larger; ``least``: it must not be smaller.
        reader: source file that reads it, relative to NVFlare's package; None for arguments.
        classes: for arguments: the classes that take it, each with its own default.
        note: what it does.
    """

    id: str
    places: tuple[Place, ...]
    process: str
    type: Literal["int", "float", "bool"]
    unit: Literal["s", "bytes", "count", "sites", "rounds", "flag"]
    default: float | int | bool | None
    above: float | None = None
    least: float | None = None
    reader: str | None = None
    classes: Mapping[str, float | int | bool | None] = Field(default_factory=dict)
    note: str = ""

    @property
    def key(self) -> str:
        """The key as it is written into the file."""
        return self.id.rpartition(".")[2]

    @property
    def read_by(self) -> str:
        """The source that reads it: NVFlare's file, or the classes that take it."""
        return self.reader or ", ".join(path.rpartition(".")[2] for path in self.classes)

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with ``value``, None if nothing is."""
        expected = {"int": "a whole number", "float": "a number", "bool": "true or false"}[self.type]
        if self.type == "bool":
            return None if isinstance(value, bool) else f"expected {expected}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or (self.type == "int" and value != int(value))
        ):
            return f"expected {expected}"
        if self.type == "int" and isinstance(value, float) and self.classes:
            return f"expected {expected} without a decimal point: the class raises TypeError for a float"
        if self.above is not None and value <= self.above:
            return f"expected more than {self.above:g}"
        if self.least is not None and value < self.least:
            return f"expected at least {self.least:g}"
        return None


class RetiredKey(_Data):
    """A key that this version does not read any more.

    Attributes:
        last_version: the last one that read it.
        replacement: id of the key to use instead; None when there is none.
        advice: what to do.
    """

    last_version: str
    replacement: str | None
    advice: str


class KeyMap(_Data):
    """All keys of a version.

    Attributes:
        version: NVFlare's version, as ``2.9``.
        keys: by id.
        retired: keys of earlier versions.
        misnamed: names that documents give and nothing reads, with the id of the right one.
        other_keys: keys that NVFlare reads and that are no timeouts or belong elsewhere, by what reads them.
    """

    version: str
    keys: Mapping[str, ConfigKey]
    retired: Mapping[str, RetiredKey]
    misnamed: Mapping[str, str]
    other_keys: Mapping[str, tuple[str, ...]]

    def find(self, name: str) -> ConfigKey:
        """Return the key of this id, or of this bare name when only one key has it.

        Raises:
            ConfigError: it is retired, misnamed, unknown or ambiguous; the message names what to use.
        """
        if name in self.keys:
            return self.keys[name]
        if problem := self.refusal(name):
            raise ConfigError(problem)
        found = self.named(name)
        if len(found) > 1:
            raise ConfigError(f"{name!r} is ambiguous: {' or '.join(repr(key.id) for key in found)}")
        return found[0]

    def named(self, name: str) -> list[ConfigKey]:
        """Return the keys with this bare name."""
        return [key for key in self.keys.values() if key.key == name]

    def at(self, *places: Place) -> dict[str, ConfigKey]:
        """Return the keys of some places, by bare name."""
        return {key.key: key for key in self.keys.values() if set(places) & set(key.places)}

    def refusal(self, name: str) -> str | None:
        """Return why ``name`` is no key of this version and which one is meant; None when it is one."""
        if name in self.keys or self.named(name):
            return None
        if name in self.retired:
            advice = self.retired[name].advice
            return f"{name!r} was removed after NVFlare {self.retired[name].last_version}: {advice}"
        if name in self.misnamed:
            return f"{name!r} is not read by NVFlare {self.version}; did you mean {self.misnamed[name]!r}?"
        return f"{name!r} is not read by NVFlare {self.version}{self.nearest(name, self.keys)}"

    def nearest(self, name: str, candidates: Iterable[str]) -> str:
        """Return ``; did you mean ...?`` for the closest of ``candidates``, "" when none is close."""
        spellings = {candidate.rpartition(".")[2].lower(): candidate for candidate in candidates}
        spellings |= {candidate.lower(): candidate for candidate in candidates}
        close = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.7)
        return f"; did you mean {spellings[close[0]]!r}?" if close else ""


def installed_version() -> str:
    """Return the installed NVFlare's version, as ``2.9``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return ".".join(importlib.metadata.version("nvflare").split(".")[:2])
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("nvflare is not installed here; pip install rt-flare brings it") from error


@cache
def load_key_map(version: str | None = None) -> KeyMap:
    """Return the key map of a version; None takes the installed one.

    Raises:
        ConfigError: there is no map of that version.
    """
    wanted = version or installed_version()
    path = _HERE / f"nvflare_{wanted.replace('.', '_')}.json"
    if not path.is_file():
        known = sorted(file.stem.removeprefix("nvflare_").replace("_", ".") for file in _HERE.glob("nvflare_*.json"))
        raise ConfigError(f"NVFlare {wanted}: its keys are not known here, expected one of {', '.join(known)}")
    document = read_json(path)
    document["keys"] = {name: {"id": name, **entry} for name, entry in document["keys"].items()}
    return KeyMap.model_validate(document)
