"""Rounds of rt_flare's aggregator, called as its controller calls it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from rt_flare.components.aggregator import SampleWeightedAggregator

__all__ = ["CLOCKS", "AggregatorRounds", "Clock"]

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


class AggregatorRounds:
    """Runs round after round: each begins with the last one's result, as in a job.

    Args:
        updates: state dicts that the sites send, in turn.
        num_sites: number of sites.
        deterministic: as `SampleWeightedAggregator`'s.
        clock: what tells the seconds.
    """

    def __init__(
        self, updates: list[dict[str, Any]], num_sites: int, *, deterministic: bool, clock: Clock = time.perf_counter
    ) -> None:
        self._updates = updates
        self._clock = clock
        self._sites = [f"site-{number:03}" for number in range(num_sites)]
        self._aggregator = SampleWeightedAggregator(deterministic=deterministic)
        self._model = make_model_learnable(updates[0], {})
        self._contexts = FLContextManager(engine=self, identity_name="server", job_id="job")

    def get_clients(self) -> list[Client]:
        """Part of NVFlare's engine."""
        return [Client(name, "token") for name in self._sites]

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Part of NVFlare's engine.

        Raises:
            RuntimeError: the aggregator refused an update.
        """
        raise RuntimeError(f"{event_type}: no event was expected here")

    def run(self, *, reverse: bool = False) -> float:
        """Run one round; return its seconds."""
        fl_ctx = self._contexts.new_context()
        start = self._clock()
        self._begin(fl_ctx)
        for number in range(len(self._sites))[:: -1 if reverse else 1]:
            self.accept(number, self._updates[number % len(self._updates)], fl_ctx)
        self._end(fl_ctx)
        return self._clock() - start

    def run_with(self, make_update: Any) -> None:
        """Run one round in which every site sends an update of its own, made when it is its turn."""
        fl_ctx = self._contexts.new_context()
        self._begin(fl_ctx)
        for number in range(len(self._sites)):
            self.accept(number, make_update(number), fl_ctx)
        self._end(fl_ctx)

    def accept(self, number: int, update: dict[str, Any], fl_ctx: FLContext) -> None:
        """Take one site's reply."""
        peer = FLContext()
        peer.set_prop("__identity_name__", self._sites[number], private=False, sticky=False)
        fl_ctx.set_peer_context(peer)
        reply = DXO(DataKind.WEIGHTS, data=update, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 100 + number}).to_shareable()
        reply.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
        if not self._aggregator.accept(reply, fl_ctx):
            raise RuntimeError(f"the update of {self._sites[number]} was refused")

    def _begin(self, fl_ctx: FLContext) -> None:
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._model, private=True, sticky=True)
        fl_ctx.set_prop(AppConstants.CURRENT_ROUND, 0, private=True, sticky=True)
        self._aggregator.handle_event(AppEventType.ROUND_STARTED, fl_ctx)

    def _end(self, fl_ctx: FLContext) -> None:
        self._model = make_model_learnable(from_shareable(self._aggregator.aggregate(fl_ctx)).data, {})
        self._aggregator.reset(fl_ctx)
