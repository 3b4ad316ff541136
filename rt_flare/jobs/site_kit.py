"""A startup kit of NVFlare: whose it is, and what its site's administrator has set."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.errors import KitError

__all__ = ["ResourcesPlan", "StartupKit", "install_plan", "read_kit"]

_ROLES = {"fed_server.json": "server", "fed_client.json": "client"}


@dataclass(frozen=True)
class StartupKit:
    """A kit on this machine.

    Attributes:
        folder: the kit, which is the workspace of its server or site as well.
        role: ``server`` or ``client``.
        resources: content of the file that NVFlare reads: ``local/resources.json``, or without one its default.
        resources_file: that file.
    """

    folder: Path
    role: str
    resources: dict[str, Any]
    resources_file: Path

    @property
    def own_resources_file(self) -> Path:
        """``local/resources.json``, which NVFlare reads instead of the default beside it, not in addition."""
        return self.folder / "local" / "resources.json"

    @property
    def python(self) -> Path | None:
        """The interpreter that the kit's ``start.sh`` finds: ``python3`` on the path; None without one."""
        found = shutil.which("python3")
        return Path(found) if found else None


@dataclass(frozen=True)
class ResourcesPlan:
    """What would change in a kit's resources.

    Attributes:
        kit: the kit.
        added: what is missing, in order; empty when nothing would change.
        resources: the whole content of ``local/resources.json`` with it.
    """

    kit: StartupKit
    added: tuple[str, ...]
    resources: dict[str, Any]


def install_plan(plan: ResourcesPlan) -> None:
    """Write ``local/resources.json`` whole, unless nothing is missing.

    Raises:
        OSError: it cannot be written; it is as it was.
    """
    if not plan.added:
        return
    target = plan.kit.own_resources_file.resolve()  # the file, where a link stands in the kit
    mode = plan.kit.resources_file.stat().st_mode & 0o777
    write_json(target, plan.resources)
    target.chmod(mode)


def read_kit(folder: Path) -> StartupKit:
    """Read the kit in ``folder``.

    Raises:
        KitError: it is no kit of a server or a site, or its resources cannot be read.
    """
    role = next((role for file, role in _ROLES.items() if (folder / "startup" / file).is_file()), None)
    if role is None:
        found = "an administrator's kit" if (folder / "startup" / "fed_admin.json").is_file() else "none"
        raise KitError(
            f"{folder}: found {found}, expected the startup kit of a server or a site: a folder with "
            "startup/fed_server.json or startup/fed_client.json"
        )
    local = folder / "local"
    files = [local / "resources.json", local / "resources.json.default"]
    file = next((path for path in files if path.is_file()), None)
    if file is None:
        raise KitError(f"{local}: found neither resources.json nor resources.json.default; provision the kit again")
    try:
        resources = read_json(file)
    except ValueError as error:
        raise KitError(f"{error}; NVFlare cannot start with it") from error
    if not isinstance(resources, dict):
        raise KitError(f"{file}: found {type(resources).__name__}, expected a JSON object")
    return StartupKit(folder.resolve(), role, resources, file)
