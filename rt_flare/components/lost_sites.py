"""For the server itself, not for a job: what becomes of a job that finished without one of its sites."""

from __future__ import annotations

from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import RunProcessKey
from nvflare.apis.fl_context import FLContext
from nvflare.widgets.widget import Widget

from rt_flare.errors import ConfigError

__all__ = ["LostSiteOutcomes"]


class LostSiteOutcomes(Widget):
    """Lets a job's status follow from its own end, and not from a site that was lost on the way.

    NVFlare waits at the end of a job until every site has reported how its own part ended. A site that was killed and
    restarted meanwhile does not know of the job any more, and NVFlare calls the job ``FINISHED:ABNORMAL`` for it, with
    all rounds done. For a site that hangs it waits 15 minutes. With this component a restarted site is no longer waited
    for, and the others are for ``outcome_wait_seconds``. What the job's own policy says about missing sites
    (``min_clients``, the rounds' verdicts) is not touched, and a site that reports a failure still fails the job.

    Stands in ``components`` of the server's ``local/resources.json``: ``rt-flare site outcomes KIT --install``.

    Args:
        outcome_wait_seconds: how long a job that has ended waits for the reports of its sites.

    Raises:
        ConfigError: it is not above 0.
    """

    def __init__(self, outcome_wait_seconds: float = 60.0) -> None:
        super().__init__()
        self.outcome_wait_seconds = outcome_wait_seconds
        if not isinstance(outcome_wait_seconds, int | float) or outcome_wait_seconds <= 0:
            raise ConfigError(
                f"LostSiteOutcomes: outcome_wait_seconds must be a number above 0, found {outcome_wait_seconds!r}"
            )
        self._tokens: dict[str, dict[str, str]] = {}

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Set the time at the server's start; then look who takes part, and who comes anew."""
        if event_type == EventType.SYSTEM_START:
            fl_ctx.get_engine().job_runner.client_outcome_wait_timeout = float(self.outcome_wait_seconds)
        elif event_type in (EventType.CLIENT_HEARTBEAT_RECEIVED, EventType.CLIENT_REGISTER_PROCESSED):
            engine = fl_ctx.get_engine()
            self._note_participants(engine)
            self._let_go(engine)

    def _note_participants(self, engine: Any) -> None:
        """Remember with which token each site entered each job: the server forgets it when the job ends."""
        waiting = engine.job_runner.get_client_outcome_jobs()
        self._tokens = {job: tokens for job, tokens in self._tokens.items() if job in waiting}
        for job, process in list(engine.run_processes.items()):
            participants = process.get(RunProcessKey.PARTICIPANTS)
            if participants and job not in self._tokens:
                self._tokens[job] = {client.name: token for token, client in participants.items()}

    def _let_go(self, engine: Any) -> None:
        # A site that registers again gets a new token; NVFlare does not give a running job back to it.
        present = {client.name: client.token for client in engine.get_clients()}
        for job, tokens in self._tokens.items():
            for site, token in tokens.items():
                restarted = site in present and present[site] != token
                if restarted and engine.job_runner.is_client_outcome_pending(job, site):
                    self.logger.warning(f"{site} was restarted during job {job}: its report is not waited for")
                    engine.job_runner.resolve_client_outcome(job, site)
