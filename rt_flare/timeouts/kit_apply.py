"""What a preset changes in a startup kit, and what it leaves to an operator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rt_flare.timeouts.key_map import Place
from rt_flare.timeouts.kit_files import Change, KitFiles, merge_comm_config, read_kit
from rt_flare.timeouts.placement import PlacedSetting, PlacedSettings
from rt_flare.timeouts.rules_kit import STALL_SCHEMES

__all__ = ["AppliedKit", "plan_kit"]

_TCP_ONLY = ("sfm_", "streaming_send_timeout")
_ROLE_PLACES = {
    "server": (Place.SERVER_RESOURCES, Place.SERVER_RESOURCES_TOP, Place.SERVER_ENVIRONMENT),
    "client": (Place.CLIENT_RESOURCES, Place.CLIENT_START),
}


@dataclass(frozen=True)
class AppliedKit:
    """A preset for one kit.

    Attributes:
        kit: the kit as it is.
        content: ``local/comm_config.json`` as it should be, with all that was in it.
        changes: what is new or different.
        skipped: values that would have no effect there, with the reason.
        by_hand: what belongs into files that only an operator should change, ready to be copied.
    """

    kit: KitFiles
    content: dict[str, Any]
    changes: tuple[Change, ...]
    skipped: tuple[str, ...]
    by_hand: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "kit": str(self.kit.folder),
            "role": self.kit.role,
            "changes": [asdict(change) for change in self.changes],
            "skipped": list(self.skipped),
            "by_hand": list(self.by_hand),
        }


def plan_kit(folder: Path, placed: PlacedSettings) -> AppliedKit:
    """Work out what ``placed`` changes in the kit ``folder``. Nothing is written.

    Raises:
        ConfigError: ``folder`` is no kit of a server or a site, or a file of it cannot be read.
    """
    kit = read_kit(folder)
    values, skipped = {}, []
    for key, value in placed.comm_config.items():
        if key.startswith(_TCP_ONLY) and kit.scheme not in STALL_SCHEMES:
            skipped.append(
                f"left out: {key}. Sends over {kit.scheme} never block as NVFlare sees it; it works with tcp"
            )
        else:
            values[key] = value
    content, changes = merge_comm_config(kit, values)
    by_hand = tuple(
        line
        for setting in placed.settings
        for place in setting.key.places
        if place in _ROLE_PLACES[kit.role] and (line := _by_hand(kit, place, setting))
    )
    return AppliedKit(kit, content, changes, tuple(skipped), by_hand)


def _by_hand(kit: KitFiles, place: Place, setting: PlacedSetting) -> str | None:
    key, value = setting.key.key, setting.value
    if place is Place.SERVER_ENVIRONMENT:
        return f"by hand: start the server with NVFLARE_{key.upper()}={str(value).lower()} in its environment"
    if place is Place.CLIENT_START:
        return f"by hand: {key}={value} behind --set in startup/sub_start.sh"
    section = {
        Place.SERVER_RESOURCES: kit.server_entry,
        Place.SERVER_RESOURCES_TOP: kit.resources,
        Place.CLIENT_RESOURCES: kit.client_section,
    }[place]
    if section.get(key) == value:
        return None
    where = {
        Place.SERVER_RESOURCES: "in the first of servers",
        Place.SERVER_RESOURCES_TOP: "at the top level",
        Place.CLIENT_RESOURCES: "in the section client",
    }[place]
    file = kit.resources_file.name
    copied = f" (copy {file} whole to resources.json first: it is read instead of it)" if "default" in file else ""
    return f'by hand: "{key}": {value} {where} of local/resources.json{copied}; now {section.get(key, "not set")}'
