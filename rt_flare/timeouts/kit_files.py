"""A startup kit: what its site reads beside a job, and writing ``comm_config.json`` into it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.errors import ConfigError

__all__ = ["Change", "KitFiles", "is_kit", "merge_comm_config", "read_kit", "write_comm_config"]

_STARTUP = {"fed_server.json": "server", "fed_client.json": "client"}
_SET_OPTIONS = re.compile(r"--set\s+((?:\S+=\S+\s*)+)")
_DEFAULT_SCHEME = "grpc"


@dataclass(frozen=True)
class KitFiles:
    """The startup kit of a server or a site.

    Attributes:
        folder: the kit.
        role: whose kit it is.
        scheme: how sites reach the server, as ``http``, ``grpc`` or ``tcp``.
        resources_file, resources: ``local/resources.json``, or ``.default`` where that is what NVFlare reads.
        comm_file: ``local/comm_config.json``, or ``.default``; the former when there is none yet.
        comm: its content; None when there is none.
        start_options: ``name=value`` behind ``--set`` in ``startup/sub_start.sh``.
    """

    folder: Path
    role: Literal["server", "client"]
    scheme: str
    resources_file: Path
    resources: Mapping[str, Any]
    comm_file: Path
    comm: Mapping[str, Any] | None
    start_options: Mapping[str, str]

    @property
    def server_entry(self) -> Mapping[str, Any]:
        """First of ``servers``; empty in a site's kit."""
        servers = self.resources.get("servers") or [{}]
        return servers[0] if isinstance(servers[0], Mapping) else {}

    @property
    def client_section(self) -> Mapping[str, Any]:
        """Section ``client``; empty in the server's kit."""
        section = self.resources.get("client")
        return section if isinstance(section, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Change:
    """What writing would do to one key: ``before`` is None for a new one."""

    key: str
    before: Any
    after: Any


def is_kit(folder: Path) -> bool:
    """Whether a folder is the startup kit of a server or a site."""
    return any((folder / "startup" / name).is_file() for name in _STARTUP)


def read_kit(folder: Path) -> KitFiles:
    """Read a startup kit.

    Raises:
        ConfigError: it is none of a server or a site, or a file of it cannot be read.
    """
    startup = next((folder / "startup" / name for name in _STARTUP if (folder / "startup" / name).is_file()), None)
    if startup is None:
        found = "an administrator's kit" if (folder / "startup" / "fed_admin.json").is_file() else "no startup kit"
        raise ConfigError(f"{folder}: found {found}, expected that of a server or a site (startup/fed_server.json)")
    service = next(iter(_read(startup).get("servers") or [{}])).get("service") or {}
    resources_file = _first(folder / "local", "resources.json")
    comm_file = _first(folder / "local", "comm_config.json")
    script = folder / "startup" / "sub_start.sh"
    options = _SET_OPTIONS.search(script.read_text(encoding="utf-8")) if script.is_file() else None
    return KitFiles(
        folder=folder,
        role="server" if _STARTUP[startup.name] == "server" else "client",
        scheme=str(service.get("scheme", _DEFAULT_SCHEME)),
        resources_file=resources_file,
        resources=_read(resources_file) if resources_file.is_file() else {},
        comm_file=comm_file,
        comm=_read(comm_file) if comm_file.is_file() else None,
        start_options=dict(item.split("=", 1) for item in options[1].split()) if options else {},
    )


def merge_comm_config(kit: KitFiles, values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Change, ...]]:
    """Return ``comm_config.json`` with ``values`` set and all else kept, and what that changes."""
    before = dict(kit.comm or {})
    changes = (Change(key, before.get(key), value) for key, value in values.items())
    return before | dict(values), tuple(change for change in changes if change.before != change.after)


def write_comm_config(kit: KitFiles, content: Mapping[str, Any]) -> Path:
    """Write ``local/comm_config.json`` of a kit, atomically. Restart the site: its processes read it once.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    path = kit.folder / "local" / "comm_config.json"
    write_json(path, content)
    return path


def _first(folder: Path, name: str) -> Path:
    """The file that NVFlare reads: the plain one, else the default beside it."""
    default = folder / f"{name}.default"
    return default if default.is_file() and not (folder / name).is_file() else folder / name


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found {type(content).__name__} at the top level, expected an object")
    return content
