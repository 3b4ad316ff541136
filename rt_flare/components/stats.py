"""Live figures for ``nvflare job monitor`` and ``nvflare job stats``."""

from __future__ import annotations

from nvflare.apis.fl_context import FLContext
from nvflare.widgets.info_collector import InfoCollector

from rt_flare.components.round_listener import RoundListener
from rt_flare.core.ledger import Ledger

__all__ = ["StatsPublisher"]

_GROUP = "rt_flare"


class StatsPublisher(RoundListener):
    """Publishes the last closed round, its verdict, and every metric under its own name.

    Metrics of the global model come before those of local training. NVFlare's monitor shows ``round``,
    ``accuracy`` and ``loss``; others with ``--metric NAME``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._published: dict[str, int | float | str] = {}

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Answer NVFlare's question for figures; it comes on a thread of its own."""
        super().handle_event(event_type, fl_ctx)
        if event_type == InfoCollector.EVENT_TYPE_GET_STATS and self._published:
            collector = fl_ctx.get_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR)
            if collector is not None:
                collector.set_info(_GROUP, dict(self._published))

    def write(self, ledger: Ledger, fl_ctx: FLContext) -> None:
        """Put together the figures of the last closed round, as one new dict."""
        if ledger.rounds:
            last = ledger.rounds[-1]
            metrics = {**last.train_metrics, **(last.global_metrics or {})}
            self._published = {**metrics, "round": last.round, "verdict": last.verdict.value}
