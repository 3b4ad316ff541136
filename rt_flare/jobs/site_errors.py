"""What the sites of an ended job answered last, put into its status."""

from __future__ import annotations

from rt_flare.core.round_record import ContributionStatus
from rt_flare.jobs.job_status import JobStatus
from rt_flare.jobs.outcome import RunOutcome

__all__ = ["with_last_errors"]


def with_last_errors(status: JobStatus, outcome: RunOutcome) -> JobStatus:
    """Return ``status`` with the errors of the last closed round, and with the site that the root error names.

    Nobody may have looked between a site's error and the end of the job that it failed.
    """
    last_round = outcome.rounds[-1] if outcome.rounds else None
    last = last_round.contributions if last_round else []
    errors = {c.site: c.failure for c in last if c.status is ContributionStatus.FAILED and c.failure is not None}
    fine = {c.site for c in last if c.status is ContributionStatus.ACCEPTED}
    paged = last_round.paged if last_round else None
    if paged is not None and paged.rejected + paged.failed + paged.missing == len(last):
        # The record of a large job names only sites that were not accepted, and here it names them all.
        fine = {site.name for site in status.sites} - {c.site for c in last}
    if outcome.error is not None and outcome.error.site is not None:
        errors.setdefault(outcome.error.site, outcome.error)
        fine.discard(outcome.error.site)
    sites = tuple(
        site.model_copy(update={"error": errors.get(site.name, None if site.name in fine else site.error)})
        for site in status.sites
    )
    counts = status.workers.model_copy(update={"errors": sum(site.error is not None for site in sites)})
    return status.model_copy(update={"sites": sites, "workers": counts})
