"""The server's component that keeps a lost site from spoiling a job's status: put into a kit."""

from __future__ import annotations

from typing import Any

from rt_flare.errors import KitError
from rt_flare.jobs.site_kit import ResourcesPlan, StartupKit

__all__ = ["OUTCOMES_COMPONENT", "plan_outcomes"]

OUTCOMES_COMPONENT: dict[str, Any] = {
    "id": "rt_flare_lost_site_outcomes",
    "path": "rt_flare.components.lost_sites.LostSiteOutcomes",
    "args": {},
}
"""The entry of ``components`` (see `LostSiteOutcomes`)."""


def plan_outcomes(kit: StartupKit) -> ResourcesPlan:
    """Put together the resources with `OUTCOMES_COMPONENT`, unless it is among them; everything else stays.

    Raises:
        KitError: it is not the kit of a server.
    """
    if kit.role != "server":
        raise KitError(f"{kit.folder}: found the kit of a site, expected the server's: it decides how a job has ended")
    components = kit.resources.get("components", [])
    if any(component.get("path") == OUTCOMES_COMPONENT["path"] for component in components):
        return ResourcesPlan(kit, (), kit.resources)
    path = str(OUTCOMES_COMPONENT["path"])
    return ResourcesPlan(kit, (path,), kit.resources | {"components": [*components, OUTCOMES_COMPONENT]})
