"""Another aggregator than the template's, by the name that a plugin registered it under."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from rt_flare.catalog import load_catalog
from rt_flare.errors import ConfigError
from rt_flare.jobs.config_values import config_object
from rt_flare.jobs.template import JobTemplate

__all__ = ["use_aggregator"]

_COMPONENT_ID = "aggregator"


def use_aggregator(job: JobTemplate, name: str, args: Mapping[str, Any] | None, *, deterministic: bool) -> JobTemplate:
    """Return ``job`` with the aggregator that is registered as ``name``, made with ``args``.

    The template's own arguments stay where this aggregator has them too and ``args`` does not set them.

    Args:
        job: a template with a component of the id ``aggregator``.
        name: name of an installed aggregator.
        args: its keyword arguments; JSON values only.
        deterministic: whether the result must not depend on the order of arrival.

    Raises:
        ConfigError: the aggregator is not installed, cannot be made with ``args`` or does not promise what
            ``deterministic`` asks for; or ``job`` has no aggregator to replace.
    """
    catalog = load_catalog()
    aggregator = catalog.component(name, kind="aggregator")
    values = config_object(args, "aggregator_args") or {}
    options = inspect.signature(aggregator).parameters
    if deterministic and "deterministic" not in options and not getattr(aggregator, "order_independent", False):
        raise ConfigError(f"aggregator {name!r} does not promise the same bytes for any order: set deterministic=False")
    try:
        aggregator(**values)  # Wrong options are refused here, not on the server.
    except Exception as error:
        known = ", ".join(options) or "none"
        raise ConfigError(f"aggregator {name!r}: aggregator_args: {error}. Its options: {known}") from error
    server = copy.deepcopy(job.server)
    for component in server.get("components", []):
        if component.get("id") == _COMPONENT_ID:
            # The template's variables for arguments that both aggregators have stay in force.
            kept = {option: value for option, value in component.get("args", {}).items() if option in options}
            component["path"], component["args"] = catalog.components[name].entry.nvflare_path, kept | values
            return dataclasses.replace(job, server=server)
    raise ConfigError(f"{job.name}/config_fed_server.conf: found no component with id {_COMPONENT_ID!r} to replace")
