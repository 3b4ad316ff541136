"""Files that tell what happened, round by round, in ``files_out/`` of the server's run folder."""

from __future__ import annotations

from nvflare.apis.fl_context import FLContext

from rt_flare.components.live_status import LiveStatus
from rt_flare.components.round_listener import RoundListener
from rt_flare.components.site import run_dir
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

    While the job runs it also answers `rt-flare status` (see `LiveStatus`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._live = LiveStatus()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Follow the rounds and the sites."""
        super().handle_event(event_type, fl_ctx)
        self._live.handle_event(event_type, fl_ctx)

    def write(self, ledger: Ledger, fl_ctx: FLContext) -> None:
        """Replace the file, atomically."""
        self._live.follow(ledger)
        ledger.write_round_summary(run_dir(fl_ctx) / FILES_FOLDER)
