"""The timeout preset of a job, put into its template before the job's own values."""

from __future__ import annotations

import dataclasses

from rt_flare.jobs.template import JobTemplate
from rt_flare.timeouts.job_placement import JobConfigs, place_in_job
from rt_flare.timeouts.placement import apply_preset

__all__ = ["with_timeouts"]


def with_timeouts(template: JobTemplate, preset: str | None, *, num_sites: int) -> JobTemplate:
    """Return the template with a preset's values, worked out for ``num_sites``.

    Args:
        template: the template; what the preset does not set stays.
        preset: name of a preset (see `rt_flare.timeouts.presets.find_preset`); None takes the one that the template
            names as ``timeouts`` in its ``info.conf``, and leaves a template that names none as it is.
        num_sites: number of sites.

    Raises:
        ConfigError: there is no such preset, or a value of it is none that NVFlare takes.
    """
    chosen = preset if preset is not None else template.info.get("timeouts")
    if chosen is None:
        return template
    placed = apply_preset(chosen, num_sites=num_sites)
    configs = place_in_job(JobConfigs(template.server, template.client, template.meta), placed)
    return dataclasses.replace(
        template, server=dict(configs.server), client=dict(configs.client), meta=dict(configs.meta)
    )
