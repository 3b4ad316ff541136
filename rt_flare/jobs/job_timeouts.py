"""The timeout preset of a job, put into its template before the job's own values."""

from __future__ import annotations

import dataclasses

from rt_flare.jobs.hocon import read_hocon
from rt_flare.jobs.template import JobTemplate, find_template
from rt_flare.timeouts.job_placement import JobConfigs, place_in_job
from rt_flare.timeouts.placement import apply_preset

__all__ = ["preset_of_template", "with_timeouts"]


def preset_of_template(name: str) -> str | None:
    """Name of the timeout preset whose values the template ``name`` states; None when it names none.

    Raises:
        ConfigError: there is no such template.
    """
    preset = read_hocon(find_template(name) / "info.conf").get("timeouts")
    return None if preset is None else str(preset)


def with_timeouts(template: JobTemplate, preset: str | None, *, num_sites: int) -> JobTemplate:
    """Return the template with a preset's values, worked out for ``num_sites``.

    Args:
        template: the template; what the preset does not set stays.
        preset: name of a preset (see `rt_flare.timeouts.presets.find_preset`); None takes the template's own, and
            leaves a template that names none as it is.
        num_sites: number of sites.

    Raises:
        ConfigError: there is no such preset, or a value of it is none that NVFlare takes.
    """
    chosen = preset if preset is not None else preset_of_template(template.name)
    if chosen is None:
        return template
    placed = apply_preset(chosen, num_sites=num_sites)
    configs = place_in_job(JobConfigs(template.server, template.client, template.meta), placed)
    return dataclasses.replace(
        template, server=dict(configs.server), client=dict(configs.client), meta=dict(configs.meta)
    )
