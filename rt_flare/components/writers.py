"""Files that tell what happened, round by round, in ``files_out/`` of the server's run folder."""

from __future__ import annotations

from nvflare.apis.fl_context import FLContext

from rt_flare.components.live_status import LiveStatus
from rt_flare.components.round_listener import RoundListener
from rt_flare.components.site import run_dir
from rt_flare.components.site_environments import SiteEnvironments
from rt_flare.core.contribution_pages import ContributionPages
from rt_flare.core.ledger import FILES_FOLDER, EncodedRounds, Ledger
from rt_flare.core.round_record import Failure, RoundRecord

__all__ = ["MetricsWriter", "RoundSummaryWriter"]


class MetricsWriter(RoundListener):
    """Writes ``metrics.json`` and ``metrics_summary.json``: per round and site the metrics, samples and seconds.

    And ``environment.json``: what the server and the sites run on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._environments = SiteEnvironments()
        self._encoded = EncodedRounds()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Follow the rounds, and what the sites say of themselves."""
        self._environments.handle_event(event_type, fl_ctx)
        super().handle_event(event_type, fl_ctx)

    def write(self, ledger: Ledger, fl_ctx: FLContext) -> None:
        """Replace the files, each atomically."""
        folder = run_dir(fl_ctx) / FILES_FOLDER
        ledger.write_metrics(folder, self._encoded)
        self._environments.write(folder, ledger.job_id)


class RoundSummaryWriter(RoundListener):
    """Writes ``fl_round_complete.json``: per round the verdict and what became of every site's contribution.

    With more than 5,000 contributions these stand in ``contributions.d/``, and that file only counts them.

    The errors of sites come with their tracebacks into the server's log, whichever controller runs. While the job
    runs it also answers `rt-flare status` (see `LiveStatus`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._live = LiveStatus()
        self._encoded = EncodedRounds()
        self._pages = ContributionPages()
        self._moved: list[tuple[str, RoundRecord]] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Follow the rounds and the sites."""
        super().handle_event(event_type, fl_ctx)
        self._live.handle_event(event_type, fl_ctx)

    def note_failure(self, failure: Failure, fl_ctx: FLContext) -> None:
        """Log a site's error."""
        self.log_warning(fl_ctx, f"no update: {failure.log_text()}")

    def keep_contributions(self, moved: list[tuple[str, RoundRecord]]) -> None:
        """Keep them until they are on disk."""
        self._moved += moved

    def write(self, ledger: Ledger, fl_ctx: FLContext) -> None:
        """Replace the files that changed, each atomically; files of contributions before the one that names them."""
        self._live.follow(ledger)
        folder = run_dir(fl_ctx) / FILES_FOLDER
        while self._moved:
            self._pages.add(folder, *self._moved[0])
            self._moved.pop(0)
        self._pages.write(folder)
        ledger.write_round_summary(folder, self._encoded)
