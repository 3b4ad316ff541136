"""What every aggregator of rt_flare does: one gate, two faces to NVFlare, any rule of combination behind it."""

from __future__ import annotations

import rt_flare.core.torch_import  # noqa: F401 - before all others: it loads PyTorch faster

# isort: split
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from rt_flare.components.events import UPDATE_REJECTED, Rejection
from rt_flare.components.sender import sender
from rt_flare.components.waiting_task import answer_sites
from rt_flare.components.wire import NUM_SAMPLES, WIRE_DTYPE, register_tensors
from rt_flare.core.state_dict import StateDict, describe, to_plain
from rt_flare.core.update_gate import UpdateGate
from rt_flare.errors import NoAcceptedUpdateError, UpdateError

_MAX_MESSAGE = 2_000

__all__ = ["GatedAggregator", "UpdateAccumulator"]


class UpdateAccumulator(Protocol):
    """What combines the accepted updates of one round. `WeightedMean` is one.

    Attributes:
        sites: names of the sites whose updates were added.
        total_samples: samples behind them.
    """

    sites: list[str]
    total_samples: int

    def add(self, site: str, state: Mapping[str, torch.Tensor], num_samples: int) -> None:
        """Add one site's checked update.

        Args:
            site: the site's name; each site comes once.
            state: dense CPU tensors, finite, of the same names, shapes and dtypes in every call; not to be changed.
            num_samples: samples behind the update, at least 1, as the site says.

        Raises:
            UpdateError: the update cannot be added; nothing of it was.
        """

    def skip(self, site: str) -> None:
        """Note that no update of ``site`` will come in this round."""

    def result(self) -> Mapping[str, torch.Tensor]:
        """Return the combination, of the updates' names, shapes and dtypes.

        Raises:
            NoAcceptedUpdateError: nothing was added.
            UpdateError: there is no such combination.
        """


class GatedAggregator(ModelAggregator):
    """Checks every update whole, and gives the sound ones to an accumulator.

    Nothing of an update is added before all of it is checked (see `UpdateGate`); a refused one is logged with the
    rule that it broke, and the result is that of the others alone. A round without one accepted update raises, which
    makes NVFlare's controllers fail the job and leaves the last good model as it is.

    One class with two faces: `Aggregator` (``accept``, ``aggregate``, ``reset``: ScatterAndGather and `RtFedAvg`) and
    `ModelAggregator` (``accept_model``, ``aggregate_model``, ``reset_stats``: FedAvg). A subclass implements
    `new_accumulator`, and stores its arguments under their own names.

    Attributes:
        order_independent: the result's bytes never depend on the order in which the updates arrive.
    """

    order_independent: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        register_tensors()
        self._base: StateDict = {}
        self._expected_sites: set[str] | None = None
        self._sends_numpy = False
        self._accumulator: UpdateAccumulator | None = None
        self._start_round(None)

    @abstractmethod
    def new_accumulator(self, expected_sites: Collection[str]) -> UpdateAccumulator:
        """Return the accumulator of one round.

        Args:
            expected_sites: names of the sites that were asked; empty when they are not known.
        """

    def counted(self, num_samples: int) -> int:
        """Return the samples that an update counts with whose site reports ``num_samples``: as many, unless capped."""
        return num_samples

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Learn at each round's start what the global model looks like and who is expected."""
        super().handle_event(event_type, fl_ctx)
        if event_type == AppEventType.ROUND_STARTED:
            self._base = _global_model(fl_ctx)
            self._expected_sites = {client.name for client in fl_ctx.get_engine().get_clients()}
            self._start_round(fl_ctx.get_prop(AppConstants.CURRENT_ROUND))
        elif event_type == EventType.START_RUN:
            self.fl_ctx = fl_ctx
            # Here, because every workflow that rt_flare's executor serves has an aggregator.
            answer_sites(fl_ctx)

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Check and add one site's reply. Never raises: a refused update returns False, and the log says why."""
        self.fl_ctx = fl_ctx
        site = sender(shareable, fl_ctx)
        if shareable.get_return_code(ReturnCode.OK) != ReturnCode.OK:
            return self._refuse(site, UpdateError("error_reply", f"{site} replied with an error"))
        try:
            dxo = from_shareable(shareable)
        except Exception as error:  # noqa: BLE001 - a hostile reply may break the parser anywhere
            return self._refuse(site, UpdateError("unreadable", f"update of {site}: {error}"))
        round_number = shareable.get_cookie(AppConstants.CONTRIBUTION_ROUND)
        return self._accept(site, round_number, dxo.data_kind, dxo.data, dxo.meta or {})

    def accept_model(self, model: FLModel) -> bool:
        """Check and add one site's model (NVFlare's FedAvg). Never raises, as `accept`."""
        meta = model.meta or {}
        kind = DataKind.WEIGHT_DIFF if model.params_type == ParamsType.DIFF else DataKind.WEIGHTS
        return self._accept(str(meta.get("client_name", "")), model.current_round, kind, model.params, meta)

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """The round's result as a Shareable (ScatterAndGather); raises `NoAcceptedUpdateError` without updates."""
        self.fl_ctx = fl_ctx
        meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: self._updates.total_samples}
        return DXO(DataKind.WEIGHTS, data=self._result(), meta=meta).to_shareable()

    def aggregate_model(self) -> FLModel:
        """The round's result as an FLModel (FedAvg); raises `NoAcceptedUpdateError` without updates."""
        return FLModel(params_type=ParamsType.FULL, params=self._result(), meta={})

    def reset(self, fl_ctx: FLContext) -> None:
        """Forget the round (ScatterAndGather)."""
        self._start_round(self._round)

    def reset_stats(self) -> None:
        """Forget the round (FedAvg)."""
        self._start_round(self._round)

    def skip(self, site: str) -> None:
        """Note that no update of ``site`` will come in this round."""
        self._updates.skip(site)

    def _start_round(self, round_number: int | None) -> None:
        self._round = round_number
        self._gate = UpdateGate(round_number, describe(self._base), self._expected_sites, self._base or None)
        self._accumulator = None

    @property
    def _updates(self) -> UpdateAccumulator:
        # Made when it is first used: a subclass stores its arguments after this class's constructor.
        if self._accumulator is None:
            self._accumulator = self.new_accumulator(self._expected_sites or ())
        return self._accumulator

    def _accept(self, site: str, round_number: int | None, kind: str, weights: Any, meta: dict[str, Any]) -> bool:
        try:
            state, num_samples = self._check(site, round_number, kind, weights, meta)
        except UpdateError as error:
            return self._refuse(site, error)
        except Exception as error:  # noqa: BLE001 - a hostile reply may hold what no check foresees
            return self._refuse(site, UpdateError("unreadable", f"update of {site}: {type(error).__name__}: {error}"))
        try:
            self._updates.add(site, state, self.counted(num_samples))
        except UpdateError as error:
            return self._refuse(site, error)
        return True

    def _check(
        self, site: str, round_number: int | None, kind: str, weights: Any, meta: dict[str, Any]
    ) -> tuple[Mapping[str, torch.Tensor], int]:
        wire_dtype = meta.get(WIRE_DTYPE, "")
        expected = DataKind.WEIGHT_DIFF if wire_dtype else DataKind.WEIGHTS
        if kind != expected:
            raise UpdateError("data_kind", f"update of {site}: found {kind}, expected {expected}")
        weights = _read_spilled(site, weights)
        checked = self._gate.check(site, round_number, weights, _num_samples(site, meta), wire_dtype)
        self._sends_numpy = any(isinstance(value, np.ndarray) for value in weights.values())
        return checked

    def _refuse(self, site: str, error: UpdateError) -> bool:
        self._updates.skip(site)
        # In one line: nothing that a site writes passes for a record of the log.
        message = " / ".join(str(error).splitlines())[:_MAX_MESSAGE]
        self.warning(f"refused ({error.reason}): {message}")
        rejection = Rejection(site=site, reason=error.reason, message=message)
        self.fire_event_with_data(UPDATE_REJECTED, self.fl_ctx, UPDATE_REJECTED, rejection)
        return False

    def _result(self) -> dict[str, Any]:
        try:
            result = self._updates.result()
        except NoAcceptedUpdateError:
            self.error("no update was accepted in this round")
            raise
        self.info(f"aggregated {len(self._updates.sites)} updates of {self._updates.total_samples} samples")
        if self._sends_numpy:
            return {name: tensor.numpy() for name, tensor in result.items()}
        return dict(result)


def _num_samples(site: str, meta: dict[str, Any]) -> Any:
    ours, nvflares = meta.get(NUM_SAMPLES), meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND)
    if ours is not None and nvflares is not None and ours != nvflares:
        raise UpdateError("samples_conflict", f"update of {site}: two sample counts, {ours!r} and {nvflares!r}")
    return nvflares if ours is None else ours


def _read_spilled(site: str, weights: Any) -> Any:
    """Read tensors that wait in files (see `TensorExchange.limit_memory`, and NVFlare's own disk offload)."""
    if not isinstance(weights, Mapping) or not any(hasattr(value, "materialize") for value in weights.values()):
        return weights
    try:
        return {name: v.materialize() if hasattr(v, "materialize") else v for name, v in weights.items()}
    except Exception as error:
        raise UpdateError("unreadable", f"update of {site}: {error}") from error


def _global_model(fl_ctx: FLContext) -> StateDict:
    model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
    if not isinstance(model, ModelLearnable) or model.is_empty():
        return {}
    return to_plain(model[ModelLearnableKey.WEIGHTS])
