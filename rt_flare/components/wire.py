"""How updates travel in NVFlare messages: tensors as they are, everything else as plain values."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.app_constant import AppConstants
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.config_service import ConfigService
from pydantic import ValidationError

from rt_flare.components.sender import sender
from rt_flare.components.tensor_exchange import TensorExchange
from rt_flare.core.allocator import keep_freed_memory
from rt_flare.core.environment import Environment
from rt_flare.core.payload import parse_metrics
from rt_flare.core.round_record import Contribution, ContributionStatus, Failure
from rt_flare.core.sample_count import sample_count_problem
from rt_flare.core.state_dict import StateDict
from rt_flare.core.task_runner import TaskOutcome
from rt_flare.core.wire_dtype import BFLOAT16, to_difference
from rt_flare.errors import ResultError, RtFlareError

__all__ = [
    "SiteReport",
    "TensorExchangeError",
    "UncopiedWeights",
    "error_reply",
    "parse_report",
    "read_environment",
    "read_report",
    "register_tensors",
    "result_reply",
    "spare_copy",
]

NUM_SAMPLES = "rt_num_samples"
TRAIN_METRICS = "rt_train_metrics"
VALIDATION_SAMPLES = "rt_validation_samples"
WARNINGS = "rt_warnings"
WIRE_DTYPE = "rt_wire_dtype"
WIRE_ERROR = "rt_wire_error"
WORK_SECONDS = "rt_work_seconds"
ENVIRONMENT = "rt_environment"
FAILURE = "rt_failure"
RESUMED_FROM = "rt_resumed_from"
TRAIN_DEADLINE_SECONDS = "rt_train_deadline_seconds"

_MAX_WARNINGS = 20
_MAX_TEXT = 2_000
_MAX_NAME = 300
_MAX_TRACEBACK = 8_000
_REPORT = "rt_site_report"


class TensorExchangeError(RtFlareError):
    """NVFlare's serialization does not carry tensors in this process."""

    code = "tensor_exchange"


class UncopiedWeights(dict[str, Any]):
    """A state dict whose deep copy shares its tensors: for weights that nobody changes any more."""

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return dict(self)


def spare_copy(model: FLModel, fl_ctx: FLContext) -> FLModel:
    """Return ``model`` without the deep copy that NVFlare makes of what is sent, unless a filter might change it."""
    runner: Any = fl_ctx.get_prop(FLContextKey.RUNNER)
    if runner.config.task_data_filters:
        return model
    sent = copy.copy(model)
    sent.params = UncopiedWeights(model.params)
    return sent


def register_tensors() -> None:
    """Make NVFlare's serialization carry torch tensors, and check that it does.

    NVFlare sends a tensor of an unregistered type as an empty one, and ignores a registration that comes after the
    first such tensor. Every component calls this in its constructor, before the first message.

    Raises:
        TensorExchangeError: tensors do not survive a round trip.
    """
    keep_freed_memory()
    fobs.register(TensorExchange)
    probe = torch.arange(3, dtype=torch.bfloat16)
    settings = ConfigService.get_var_values()
    read_before = set(settings)
    received = fobs.loads(fobs.dumps({"probe": probe}))["probe"]
    # NVFlare keeps for ever what it reads once, defaults too, and the job's own values are loaded after components.
    for name in settings.keys() - read_before:
        del settings[name]
    if not torch.equal(probe, received):
        raise TensorExchangeError(
            "torch tensors do not survive NVFlare's serialization in this process: something sent one before "
            "a decomposer was registered; create rt_flare's components first"
        )


@dataclass(frozen=True)
class SiteReport:
    """What a site's reply says beside the weights. Everything in it comes from the site and is checked.

    Attributes:
        site: the site's name.
        num_samples: as the site gave it, unchecked: the update gate decides.
        train_metrics: metrics of the locally trained model.
        received_model_metrics: metrics of the model that the site received.
        validation_samples: samples behind ``received_model_metrics``.
        warnings: odd but no reason to refuse.
        wire_error: see `Contribution`.
        work_seconds: see `Contribution`.
        failure: the site's error; None when the reply holds a result.
    """

    site: str
    num_samples: Any = None
    train_metrics: dict[str, float] = field(default_factory=dict)
    received_model_metrics: dict[str, float] = field(default_factory=dict)
    validation_samples: int | None = None
    warnings: list[str] = field(default_factory=list)
    wire_error: float | None = None
    work_seconds: float | None = None
    failure: Failure | None = None

    def counted(self, count: Callable[[int], int]) -> SiteReport:
        """This report with the samples that count: ``count`` of those that the site gave, and a warning if fewer."""
        num_samples, validated, warnings = self.num_samples, self.validation_samples, self.warnings
        if sample_count_problem(num_samples) is None and (counted := count(int(num_samples))) != num_samples:
            warnings = [*warnings, f"samples: {num_samples} reported, {counted} counted (max_samples_per_site)"]
            num_samples = counted
        validated = count(validated) if validated is not None else None
        return replace(self, num_samples=num_samples, validation_samples=validated, warnings=warnings)

    def contribution(self, site: str, *, accepted: bool, reason: str | None = None) -> Contribution:
        """The site's part in the round, given what became of its update."""
        status = ContributionStatus.ACCEPTED if accepted else ContributionStatus.REJECTED
        return Contribution(
            site=site,
            status=ContributionStatus.FAILED if self.failure else status,
            reason=reason,
            num_samples=self.num_samples if accepted else None,
            train_metrics=self.train_metrics,
            received_model_metrics=self.received_model_metrics,
            warnings=self.warnings,
            wire_error=self.wire_error,
            work_seconds=self.work_seconds,
            failure=self.failure,
        )


def result_reply(
    outcome: TaskOutcome,
    *,
    round_number: int,
    warnings: list[str],
    work_seconds: float | None = None,
    base: StateDict | None = None,
) -> Shareable:
    """The reply to a train task (weights) or to a validate task (metrics).

    With ``base``, the model that was received, the weights travel as a difference to it (see `core.wire_dtype`).

    The weights' meta carries the samples as NVFlare's ``NUM_STEPS_CURRENT_ROUND`` too, and the metrics of the
    received model as ``INITIAL_METRICS``: NVFlare's own aggregators, selectors and writers read those.
    """
    meta: dict[str, Any] = {WARNINGS: warnings, WORK_SECONDS: work_seconds}
    if outcome.received_model_metrics is not None:
        meta[MetaKey.INITIAL_METRICS] = outcome.received_model_metrics
        meta[VALIDATION_SAMPLES] = outcome.validation_samples
    if outcome.result is None:
        metrics = outcome.received_model_metrics or {}
        reply = DXO(DataKind.METRICS, data=metrics, meta=meta).to_shareable()
    else:
        num_samples = outcome.result.num_samples
        meta |= {
            MetaKey.NUM_STEPS_CURRENT_ROUND: num_samples,
            NUM_SAMPLES: num_samples,
            TRAIN_METRICS: outcome.result.metrics,
            WARNINGS: [*warnings, *outcome.result.warnings],
        }
        kind, weights = DataKind.WEIGHTS, outcome.result.weights
        if base is not None:
            kind, (weights, meta[WIRE_ERROR]) = DataKind.WEIGHT_DIFF, to_difference(weights, base)
            meta[WIRE_DTYPE] = BFLOAT16
        reply = DXO(kind, data=weights, meta=meta).to_shareable()
    reply.set_header(AppConstants.CURRENT_ROUND, round_number)
    return reply


def error_reply(failure: Failure) -> Shareable:
    """A reply that says why there is no result, with the traceback of user code."""
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(FAILURE, failure.model_dump())
    return reply


def parse_report(reply: Shareable, site: str) -> SiteReport:
    """Read what the reply of ``site`` says beside the weights; never raises for what a site may send."""
    code = reply.get_return_code(ReturnCode.OK)
    if code != ReturnCode.OK:
        return SiteReport(site, failure=_read_failure(reply.get_header(FAILURE), code, site))
    try:
        dxo = from_shareable(reply)
    except Exception as error:  # noqa: BLE001 - a hostile reply may break the parser anywhere
        return SiteReport(site, warnings=[f"the reply cannot be read: {error}"[:_MAX_TEXT]])
    meta = dxo.meta or {}
    warnings = [str(text)[:_MAX_TEXT] for text in list(meta.get(WARNINGS) or [])[:_MAX_WARNINGS]]
    samples = meta.get(VALIDATION_SAMPLES)
    received = dxo.data if dxo.data_kind == DataKind.METRICS else meta.get(MetaKey.INITIAL_METRICS)
    return SiteReport(
        site,
        num_samples=meta.get(NUM_SAMPLES, meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND)),
        train_metrics=_checked_metrics(meta.get(TRAIN_METRICS), warnings),
        received_model_metrics=_checked_metrics(received, warnings),
        validation_samples=samples if type(samples) is int and samples > 0 else None,
        warnings=warnings,
        wire_error=_magnitude(meta.get(WIRE_ERROR)),
        work_seconds=_magnitude(meta.get(WORK_SECONDS)),
    )


def read_report(reply: Shareable, fl_ctx: FLContext) -> SiteReport:
    """`parse_report` of the reply that ``fl_ctx`` came with: parsed for the first who asks, kept for the others."""
    known = fl_ctx.get_prop(_REPORT)
    if known is None or known[0] is not reply:
        known = reply, parse_report(reply, sender(reply, fl_ctx))
        fl_ctx.set_prop(_REPORT, known, private=True, sticky=False)
    report: SiteReport = known[1]
    return report


def read_environment(reply: Shareable) -> Environment | None:
    """Read what a site says that it runs on; None when it says nothing, or nothing that can be read."""
    try:
        return Environment.model_validate(reply.get_header(ENVIRONMENT))
    except ValidationError:
        return None


def _magnitude(sent: Any) -> float | None:
    return sent if type(sent) is float and 0 <= sent < math.inf else None


def _checked_metrics(metrics: Any, warnings: list[str]) -> dict[str, float]:
    try:
        return parse_metrics(metrics)
    except ResultError as error:
        warnings.append(str(error))
        return {}


def _read_failure(sent: Any, code: str, site: str) -> Failure:
    try:
        failure = Failure.model_validate(sent)
    except ValidationError:
        return Failure(kind="exception", message=f"the site replied {code} without saying why", site=site)
    cut = {
        "kind": failure.kind[:_MAX_NAME],
        "message": failure.message[:_MAX_TEXT],
        "file": failure.file[-_MAX_NAME:] if failure.file else None,
        "traceback": (failure.traceback or "")[-_MAX_TRACEBACK:] or None,
    }
    return failure.model_copy(update={"site": site, **cut})
