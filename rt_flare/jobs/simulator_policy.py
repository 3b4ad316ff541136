"""What NVFlare's simulator lets a job without custom code use: on one's own machine, what is installed here."""

from __future__ import annotations

from pathlib import Path

from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.app_common.widgets.component_path_authorizer import CLASS_ALLOW_LIST

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.jobs.site_allow import needed_prefixes

__all__ = ["allow_in_simulator"]


def allow_in_simulator(workspace: Path) -> None:
    """Put the prefixes of rt_flare and of installed plugins into the simulator's ``class_allow_list``.

    Args:
        workspace: the folder that the simulator is started with; what it holds in ``local/`` outlives a run.
    """
    path = workspace / "local" / "resources.json"
    resources = read_json(path) if path.is_file() else {"format_version": 2}
    # Without a list NVFlare takes its own; a list takes its place, so it must hold what that one holds.
    allowed = resources.get(CLASS_ALLOW_LIST, list(DEFAULT_CLASS_ALLOW_LIST))
    missing = [prefix for prefix in needed_prefixes() if prefix not in allowed]
    if missing:
        write_json(path, {**resources, CLASS_ALLOW_LIST: [*allowed, *missing]})
