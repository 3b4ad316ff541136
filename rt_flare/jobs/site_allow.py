"""What a site must allow so that jobs without custom code may use rt_flare: its list, and how to complete it."""

from __future__ import annotations

from collections.abc import Sequence

from nvflare.apis.fl_exception import UnsafeComponentError
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.app_common.widgets.component_path_authorizer import (
    CLASS_ALLOW_LIST,
    CLASS_LIST_ENFORCEMENT_MODE,
    ComponentPathAuthorizer,
)

from rt_flare.catalog import load_catalog
from rt_flare.errors import KitError
from rt_flare.jobs.site_kit import ResourcesPlan, StartupKit

__all__ = ["OWN_PREFIX", "missing_prefixes", "needed_prefixes", "plan_allow"]

OWN_PREFIX = "rt_flare."
_ALL = "*"


def needed_prefixes() -> list[str]:
    """The prefixes of rt_flare and of the installed plugins that bring NVFlare components.

    The trailing dot makes an entry of NVFlare's ``class_allow_list`` stand for a package.
    """
    components = load_catalog().components.values()
    packages = {found.entry.path.partition(".")[0] for found in components}
    return [OWN_PREFIX, *sorted({f"{package}." for package in packages} - {OWN_PREFIX})]


def missing_prefixes(kit: StartupKit, prefixes: Sequence[str]) -> list[str]:
    """Those of ``prefixes`` that the kit does not allow.

    Raises:
        KitError: NVFlare would refuse the kit's list, and with it every component of every job.
    """
    try:
        # NVFlare's own reading of the file decides.
        allowed, _, _ = ComponentPathAuthorizer()._get_policy_from_resources(kit.resources)
    except UnsafeComponentError as error:
        raise KitError(
            f"{kit.resources_file}: {CLASS_ALLOW_LIST}, {CLASS_LIST_ENFORCEMENT_MODE}: {error}. NVFlare refuses every "
            "component of every job without custom code until that is corrected"
        ) from error
    if _ALL in allowed:
        return []
    packages = [entry for entry in allowed if entry.endswith(".")]
    return [prefix for prefix in prefixes if not prefix.startswith(tuple(packages))]


def plan_allow(kit: StartupKit, prefixes: Sequence[str]) -> ResourcesPlan:
    """Put together the resources with ``prefixes``; everything else stays. NVFlare reads them again for the next job.

    Raises:
        KitError: as for `missing_prefixes`; or a prefix that is no package with a dot behind it.
    """
    for prefix in prefixes:
        if not prefix.endswith(".") or not all(part.isidentifier() for part in prefix[:-1].split(".")):
            raise KitError(f"prefix: found {prefix!r}, expected a package with a dot behind it, as in 'my_package.'")
    missing = missing_prefixes(kit, prefixes)
    # Without a list NVFlare takes its own; a list takes its place, so it must hold what that one holds.
    present = kit.resources.get(CLASS_ALLOW_LIST, list(DEFAULT_CLASS_ALLOW_LIST))
    return ResourcesPlan(kit, tuple(missing), kit.resources | {CLASS_ALLOW_LIST: [*present, *missing]})
