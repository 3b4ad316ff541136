"""Files that tell what happened, round by round, in ``files_out/`` of the server's run folder."""

from __future__ import annotations

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from rt_flare.components.round_listener import RoundListener
from rt_flare.components.site import run_dir
from rt_flare.components.wire import read_environment
from rt_flare.core.environment import Environment, Environments, SiteEnvironment, own_environment
from rt_flare.core.ledger import Ledger

__all__ = ["FILES_FOLDER", "MetricsWriter", "RoundSummaryWriter"]

FILES_FOLDER = "files_out"


class MetricsWriter(RoundListener):
    """Writes ``metrics.json`` and ``metrics_summary.json``: per round and site the metrics, samples and seconds."""

    def write(self, ledger: Ledger, fl_ctx: FLContext) -> None:
        """Replace both files, atomically."""
        ledger.write_metrics(run_dir(fl_ctx) / FILES_FOLDER)


class RoundSummaryWriter(RoundListener):
    """Writes ``fl_round_complete.json``: per round the verdict and what became of every site's contribution.

    And ``environment.json``: what the server and the sites run on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._environments: dict[str, Environment] = {}
        self._written: dict[str, Environment] | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Follow the rounds, and what the sites say of themselves."""
        if event_type == EventType.AFTER_PROCESS_SUBMISSION:
            self._note_environment(fl_ctx)
        super().handle_event(event_type, fl_ctx)

    def write(self, ledger: Ledger, fl_ctx: FLContext) -> None:
        """Replace the file, atomically; the other one when there is news."""
        folder = run_dir(fl_ctx) / FILES_FOLDER
        ledger.write_round_summary(folder)
        environments = dict(self._environments)
        if environments != self._written:
            sites = [SiteEnvironment(site=site, **environments[site].model_dump()) for site in sorted(environments)]
            Environments(job_id=ledger.job_id, server=own_environment(), sites=sites).write(folder)
            self._written = environments

    def _note_environment(self, fl_ctx: FLContext) -> None:
        reply = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        environment = read_environment(reply) if isinstance(reply, Shareable) else None
        if environment is not None:
            self._environments[fl_ctx.get_peer_context().get_identity_name()] = environment
