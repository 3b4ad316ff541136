"""One round of an aggregator, played as NVFlare's controllers play it, in one process and without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

__all__ = ["AggregationRound", "update_of"]


class AggregationRound:
    """Sends updates to an aggregator and takes its result.

    Args:
        aggregator: the aggregator; used for one round after the other.
        model: the global model, as tensors or numpy arrays.
        sites: names of the sites that are asked.
        number: 0-based number of the round.
    """

    def __init__(
        self, aggregator: Aggregator, model: Mapping[str, Any], *, sites: Sequence[str], number: int = 0
    ) -> None:
        self.aggregator = aggregator
        self.number = number
        self.fl_ctx: FLContext = _Engine(sites).contexts.new_context()
        self.start(model, number)

    def start(self, model: Mapping[str, Any], number: int) -> None:
        """Announce a round."""
        self.number = number
        learnable = make_model_learnable(dict(model), {})
        self.fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=True)
        self.fl_ctx.set_prop(AppConstants.CURRENT_ROUND, number, private=True, sticky=True)
        self.aggregator.handle_event(AppEventType.ROUND_STARTED, self.fl_ctx)

    def send(self, site: str, reply: Shareable, *, number: int | None = None) -> bool:
        """Hand over a site's reply as ScatterAndGather and `RtFedAvg` do; True if the aggregator takes it."""
        peer = FLContext()
        peer.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
        self.fl_ctx.set_peer_context(peer)
        reply.add_cookie(AppConstants.CONTRIBUTION_ROUND, self.number if number is None else number)
        return bool(self.aggregator.accept(reply, self.fl_ctx))

    def send_model(self, site: str, weights: Mapping[str, Any], num_samples: int) -> None:
        """Hand over a site's model as FedAvg does."""
        meta = {"client_name": site, MetaKey.NUM_STEPS_CURRENT_ROUND: num_samples}
        model = FLModel(params_type=ParamsType.FULL, params=dict(weights), meta=meta, current_round=self.number)
        self.aggregator.accept_model(model)

    def result(self) -> dict[str, Any]:
        """Take the round's result as ScatterAndGather and `RtFedAvg` do."""
        weights = from_shareable(self.aggregator.aggregate(self.fl_ctx)).data
        assert isinstance(weights, dict)
        return weights

    def reset(self) -> None:
        """Let the aggregator forget the round, as ScatterAndGather does at its end."""
        self.aggregator.reset(self.fl_ctx)


def update_of(weights: Any, num_samples: Any, *, kind: str = DataKind.WEIGHTS) -> Shareable:
    """Return a site's reply with its weights and the samples behind them."""
    return DXO(kind, data=weights, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: num_samples}).to_shareable()


class _Engine:
    """What an aggregator may ask of NVFlare's engine."""

    def __init__(self, sites: Sequence[str]) -> None:
        self._sites = sites
        self.contexts = FLContextManager(engine=self, identity_name="server", job_id="conformance")

    def get_clients(self) -> list[Client]:
        return [Client(site, "token") for site in self._sites]

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Nobody listens."""
