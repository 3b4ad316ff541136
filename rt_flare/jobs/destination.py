"""Where a job goes: the simulator, a deployment of its own on this machine, or a server that a startup kit names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rt_flare.core.durable_io import read_json
from rt_flare.errors import ConfigError, KitError

__all__ = ["Destination", "find_admin_kit", "parse_destination"]

_DEPTH = 4


@dataclass(frozen=True)
class Destination:
    """A place for jobs.

    Attributes:
        where: ``simulator``, ``poc`` or ``kit``.
        kit: the administrator's startup kit, for ``kit``.
    """

    where: str
    kit: Path | None = None


def parse_destination(where: str | Path, *, user: str = "") -> Destination:
    """Understand ``simulator``, ``poc``, ``poc:FOLDER``, the folder of a deployment, or that of a startup kit.

    Args:
        where: one of these; ``simulator:`` and ``poc:`` are the first two.
        user: NVFlare's name of the user, to choose among the kits of a deployment.

    Raises:
        ConfigError: it is none of them.
        KitError: there is no administrator's kit in the folder, or more than one.
    """
    text = str(where)
    if text.rstrip(":") == "simulator":
        return Destination("simulator")
    if text.rstrip(":") == "poc":
        return Destination("poc")
    folder = Path(text.removeprefix("poc:")).expanduser()
    if "://" in text or not folder.is_dir():
        raise ConfigError(
            f"where: found {text!r}, expected simulator, poc, poc:FOLDER with a local deployment, or the folder of an "
            "administrator's startup kit"
        )
    return Destination("kit", find_admin_kit(folder, user=user))


def find_admin_kit(folder: Path, *, user: str = "") -> Path:
    """Find the one administrator's startup kit in a folder: the folder itself, or one below it.

    Raises:
        KitError: there is none, or more than one (of ``user``, where that is given).
    """
    here = [folder, folder.parent] if folder.name == "startup" else [folder]
    kits = [place for place in here if _is_admin_kit(place)]
    if not kits:
        patterns = ["/".join([*["*"] * depth, "startup", "fed_admin.json"]) for depth in range(1, _DEPTH + 1)]
        kits = sorted(path.parent.parent for pattern in patterns for path in folder.glob(pattern))
    if user and len(kits) > 1:
        kits = [kit for kit in kits if user in {kit.name, _user(kit)}]
    if not kits:
        raise KitError(
            f"{folder}: found no startup kit of an administrator{f' named {user}' if user else ''}, expected a folder "
            "with startup/fed_admin.json, or one with such a kit in it"
        )
    if len(kits) > 1:
        names = ", ".join(str(kit.relative_to(folder)) for kit in kits)
        raise KitError(f"{folder}: found {len(kits)} startup kits of administrators ({names}); name one of them")
    return kits[0].resolve()


def _is_admin_kit(folder: Path) -> bool:
    return (folder / "startup" / "fed_admin.json").is_file()


def _user(kit: Path) -> str:
    document = read_json(kit / "startup" / "fed_admin.json")
    return str((document.get("admin") or {}).get("username", "")) if isinstance(document, dict) else ""
