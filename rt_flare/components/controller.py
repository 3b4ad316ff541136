"""Federated averaging with a stated policy for slow, failing and missing sites."""

from __future__ import annotations

import rt_flare.core.torch_import  # noqa: F401 - before all others: it loads PyTorch faster

# isort: split
from collections.abc import Callable
from typing import Any

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.workflows.model_controller import ModelController

from rt_flare.components.events import (
    JOB_ENDING,
    JOB_RESUMED,
    ROUND_CLOSED,
    STOP_REQUESTED,
    UPDATE_REJECTED,
    JobEnding,
)
from rt_flare.components.gated_aggregator import GatedAggregator
from rt_flare.components.persistor import CONTRIBUTORS, CustomPersistor
from rt_flare.components.resumption import resume
from rt_flare.components.site import code_dir
from rt_flare.components.stop_request import StopRequest
from rt_flare.components.wire import (
    NUM_SAMPLES,
    RESUMED_FROM,
    TRAIN_DEADLINE_SECONDS,
    SiteReport,
    read_report,
    register_tensors,
    spare_copy,
)
from rt_flare.core.best_model import BestModel
from rt_flare.core.failures import describe_exception
from rt_flare.core.round_builder import RoundBuilder
from rt_flare.core.round_record import ContributionStatus, Failure, RoundRecord, Verdict
from rt_flare.core.round_window import RoundWindow
from rt_flare.core.verdict import weight_change
from rt_flare.errors import ConfigError

__all__ = ["RtFedAvg"]

_Take = Callable[[RoundBuilder, str, Shareable, FLContext], None]
"""Puts a site's reply into the round: builder, site name, reply, the reply's context."""


class RtFedAvg(ModelController):
    """Broadcast, gate and aggregate as updates arrive, judge, save, next round; at the end, evaluate.

    A round ends when every asked site has answered; or ``wait_time_after_min_received`` seconds after
    ``min_clients`` updates were accepted; or when ``min_clients`` cannot be reached any more; or at its deadline.
    Sites that answered with an error or a refused update do not count as received. A round with fewer than
    ``min_clients`` accepted updates fails the job, and the last good model stays.

    The last round's model is evaluated by the sites too, when their code has a validation function.

    Args:
        num_rounds: rounds of the whole job, counted from round 0.
        min_clients: accepted updates that a round needs.
        wait_time_after_min_received: seconds to wait for the others after that.
        round_timeout_seconds: deadline of a round; there is no way to turn it off.
        train_timeout_seconds: deadline of user code at a site; 0 takes the round's, less a tenth (at most 30 s) for
            the answer's way back.
        start_round: first round to run; above 0 for a model that earlier rounds were trained on elsewhere.
        resume_from: ids of jobs of the same submitter, newest first: the job goes on after the last complete round of
            the first one that the server still has, with its models, files and records; None or [] for a new job.
        aggregator_id: id of the aggregator component.
        persistor_id: id of the persistor component.
        train_task_name: name of the training task.
        validate_task_name: name of the task that evaluates the last global model; "" leaves it out.
        best_metric: metric of the global model whose best round is kept as ``best_model.pt``; "" keeps none. A
            leading minus sign, as in ``-loss``, means that less is better.
        patience: rounds without a better ``best_metric`` after which the job stops; 0 never stops early.
        allow_empty_global_weights: accept an empty initial model, to be made by the first round's updates.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        num_rounds: int = 5,
        min_clients: int = 1,
        wait_time_after_min_received: int = 10,
        round_timeout_seconds: int = 3600,
        train_timeout_seconds: int = 0,
        start_round: int = 0,
        aggregator_id: str = "aggregator",
        persistor_id: str = AppConstants.DEFAULT_PERSISTOR_ID,
        train_task_name: str = AppConstants.TASK_TRAIN,
        validate_task_name: str = AppConstants.TASK_VALIDATION,
        best_metric: str = "",
        patience: int = 0,
        allow_empty_global_weights: bool = False,
        resume_from: list[str] | None = None,
    ) -> None:
        super().__init__(persistor_id=persistor_id, allow_empty_global_weights=allow_empty_global_weights)
        self.num_rounds = num_rounds
        self.min_clients = min_clients
        self.wait_time_after_min_received = wait_time_after_min_received
        self.round_timeout_seconds = round_timeout_seconds
        self.train_timeout_seconds = train_timeout_seconds
        self.start_round = start_round
        self.aggregator_id = aggregator_id
        self.persistor_id = persistor_id
        self.train_task_name = train_task_name
        self.validate_task_name = validate_task_name
        self.best_metric = best_metric
        self.patience = patience
        self.allow_empty_global_weights = allow_empty_global_weights
        self.resume_from = resume_from
        self._check_arguments()
        register_tensors()
        self._best = BestModel(best_metric, patience)
        self._rejections: dict[str, str] = {}
        self._stop = StopRequest(self._announce_stop)

    def request_stop(self, reason: str) -> None:
        """End the job after the current round, with its outputs complete."""
        self._stop.make(reason)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Note why the aggregator refuses an update, and listen for a wish to stop."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.START_RUN:
            self._stop.listen(fl_ctx)
        if event_type == UPDATE_REJECTED:
            rejection = fl_ctx.get_prop(UPDATE_REJECTED)
            self._rejections[rejection.site] = f"{rejection.reason}: {rejection.message}"

    def run(self) -> None:
        """Run the rounds; NVFlare calls this."""
        try:
            self._run()
        except Exception as error:
            self._end_with(describe_exception(error, code_dir=code_dir(self.fl_ctx)))
            raise

    def process_result_of_unknown_task(
        self, client: Any, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Drop an answer that comes after its round closed: it is never aggregated."""
        self.log_warning(fl_ctx, f"{client.name} answered {task_name} after its round was closed: not used")

    def _run(self) -> None:
        self.aggregator = self.engine.get_component(self.aggregator_id)
        if not isinstance(self.aggregator, Aggregator):
            raise ConfigError(f"component {self.aggregator_id!r} is {type(self.aggregator).__name__}, no Aggregator")
        start_round, record = self._resume() if self.resume_from else (self.start_round, None)
        model = self.load_model()
        if model is None:
            return
        for round_number in range(start_round, self.num_rounds):
            record = self._run_round(round_number, model, record)
            if record is None or self.abort_signal.triggered:
                return
            if (reason := self._stop.look(self.fl_ctx)) and round_number + 1 < self.num_rounds:
                self.info(f"stopping after round {round_number}: {reason}")
                self._announce(JOB_ENDING, JobEnding(stop_reason=reason))
                break
        if record is not None:
            self._evaluate_last(model, record)
        self.event(AppEventType.TRAINING_FINISHED)

    def _resume(self) -> tuple[int, RoundRecord | None]:
        """Take over an earlier job's complete rounds: the round to go on with, and the record of the one before."""
        found = resume(self.fl_ctx, self.resume_from or [], self.persistor, self._best, num_rounds=self.num_rounds)
        for note in found.notes:
            self.info(f"resumed: {note}")
        self._announce(JOB_RESUMED, found.ledger)
        if found.is_over:
            self._announce(JOB_ENDING, JobEnding(stop_reason=self._patience_reason()))
        rounds = found.ledger.rounds
        return self.num_rounds if found.is_over else found.start_round, rounds[-1] if rounds else None

    def _patience_reason(self) -> str:
        return f"no better {self.best_metric} for {self.patience} rounds"

    def _announce_stop(self, reason: str, fl_ctx: FLContext) -> None:
        self.log_info(fl_ctx, f"to stop after the current round: {reason}")
        self.fire_event_with_data(STOP_REQUESTED, fl_ctx, STOP_REQUESTED, reason)

    def _run_round(self, round_number: int, model: FLModel, previous: RoundRecord | None) -> RoundRecord | None:
        """Run one round; None when the job must end. ``model`` receives the new weights."""
        self._enter_round(round_number, model)
        current = self._broadcast(model, self.train_task_name, self.min_clients, self._take_update)
        if self.abort_signal.triggered:
            return None
        if previous is not None and previous.global_metrics is None:
            self._note_global_metrics(previous, current.received_model_metrics())
        current.stop_collecting()
        record = current.close(self.min_clients, missing=f"no answer within the round's {current.elapsed():.0f} s")
        for lost in (c for c in record.contributions if c.status is ContributionStatus.MISSING):
            self.warning(f"no update: {lost.site}, round {round_number}: {lost.reason}")
        if record.verdict is Verdict.FAILED:
            self._announce(ROUND_CLOSED, record)
            self._end_with(current.failures[0] if current.failures else _shortage(record))
            self.panic(f"round {round_number} failed: {'; '.join(record.verdict_reasons)}")
            return None
        change = self._aggregate(model, record)
        aggregated = current.elapsed()
        self.save_model(model)
        phases = {
            "aggregate_seconds": round(aggregated - (record.collect_seconds or 0.0), 3),
            "save_seconds": round(current.elapsed() - aggregated, 3),
        }
        record = record.model_copy(update={"weight_change": change, "seconds": current.elapsed(), **phases})
        self._announce(ROUND_CLOSED, record)
        self.event(AppEventType.ROUND_DONE)
        self.info(f"Round {round_number} finished: {record.verdict}, {record.num_samples} samples")
        return record

    def _enter_round(self, round_number: int, model: FLModel) -> None:
        self.info(f"Round {round_number} started.")
        model.start_round, model.current_round, model.total_rounds = self.start_round, round_number, self.num_rounds
        learnable = make_model_learnable(model.params, model.meta)
        self.fl_ctx.set_prop(AppConstants.NUM_ROUNDS, self.num_rounds, private=True, sticky=True)
        self.fl_ctx.set_prop(AppConstants.CURRENT_ROUND, round_number, private=True, sticky=True)
        self.fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=True)
        self._rejections = {}
        self.event(AppEventType.ROUND_STARTED)

    def _broadcast(self, model: FLModel, task_name: str, min_clients: int, take: _Take) -> RoundBuilder:
        """Send ``model`` to all sites and wait until the round ends; answers go through ``take``."""
        sites = [client.name for client in self.engine.get_clients()]
        builder = RoundBuilder(model.current_round, sites)
        window = RoundWindow(
            builder,
            min_clients=min_clients,
            wait_after_min_seconds=self.wait_time_after_min_received,
            deadline_seconds=self.round_timeout_seconds,
        )

        def receive(client_task: ClientTask, fl_ctx: FLContext) -> None:
            site, reply, client_task.result = client_task.client.name, client_task.result, None
            window.take(lambda builder: take(builder, site, reply, fl_ctx))

        data = self._build_shareable(spare_copy(model, self.fl_ctx))
        data.set_header(TRAIN_DEADLINE_SECONDS, self._train_deadline_seconds())
        data.set_header(RESUMED_FROM, list(self.resume_from or []))
        task = Task(
            name=task_name,
            data=data,
            timeout=self.round_timeout_seconds,
            before_task_sent_cb=self._prepare_task_data,
            result_received_cb=receive,
        )
        self.broadcast(task=task, fl_ctx=self.fl_ctx, targets=sites, min_responses=0)
        window.wait(lambda: task.completion_status is not None or self.abort_signal.triggered)
        if task.completion_status is None:
            self.cancel_task(task)
        return builder

    def _take_update(self, builder: RoundBuilder, site: str, reply: Shareable, fl_ctx: FLContext) -> None:
        report = self._report(reply, fl_ctx)
        accepted, reason = False, None
        if report.failure is not None:
            self.log_warning(fl_ctx, f"no update: {report.failure.log_text()}")
            if isinstance(self.aggregator, GatedAggregator):
                self.aggregator.skip(site)
        else:
            accepted = self._offer(reply, fl_ctx)
            reason = None if accepted else self._rejections.get(site, f"refused by {type(self.aggregator).__name__}")
        contribution = report.contribution(site, accepted=accepted, reason=reason)
        builder.add(contribution, validation_samples=report.validation_samples)

    def _report(self, reply: Shareable, fl_ctx: FLContext) -> SiteReport:
        report, aggregator = read_report(reply, fl_ctx), self.aggregator
        return report.counted(aggregator.counted) if isinstance(aggregator, GatedAggregator) else report

    def _offer(self, reply: Shareable, fl_ctx: FLContext) -> bool:
        fl_ctx.set_prop(AppConstants.TRAINING_RESULT, reply, private=True, sticky=False)
        self.fire_event(AppEventType.BEFORE_CONTRIBUTION_ACCEPT, fl_ctx)
        accepted = bool(self.aggregator.accept(reply, fl_ctx))
        fl_ctx.set_prop(AppConstants.AGGREGATION_ACCEPTED, accepted, private=True, sticky=False)
        self.fire_event(AppEventType.AFTER_CONTRIBUTION_ACCEPT, fl_ctx)
        fl_ctx.set_prop(AppConstants.TRAINING_RESULT, None, private=True, sticky=False)
        return accepted

    def _aggregate(self, model: FLModel, record: RoundRecord) -> float | None:
        """Put the mean into ``model`` and return how far the weights moved."""
        self.info(f"Start aggregation of {len(record.accepted)} updates.")
        self.event(AppEventType.BEFORE_AGGREGATION)
        result = self.aggregator.aggregate(self.fl_ctx)
        self.fire_event_with_data(AppEventType.AFTER_AGGREGATION, self.fl_ctx, AppConstants.AGGREGATION_RESULT, result)
        self.event(AppEventType.BEFORE_SHAREABLE_TO_LEARNABLE)
        weights = from_shareable(result).data
        change = weight_change(model.params, weights)
        model.params, model.params_type = weights, ParamsType.FULL
        model.meta = {CONTRIBUTORS: [c.site for c in record.accepted], NUM_SAMPLES: record.num_samples}
        learnable = make_model_learnable(weights, model.meta)
        self.fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=True)
        self.event(AppEventType.AFTER_SHAREABLE_TO_LEARNABLE)
        self.info("End aggregation.")
        return change

    def _note_global_metrics(self, record: RoundRecord, metrics: dict[str, float] | None) -> None:
        """Complete a closed round's record by what the sites measured on its model."""
        if metrics is None:
            return
        self._announce(ROUND_CLOSED, record.model_copy(update={"global_metrics": metrics}))
        if self._best.is_better(record.round, metrics) and isinstance(self.persistor, CustomPersistor):
            self.persistor.mark_best(record.round)
            self.event(AppEventType.GLOBAL_BEST_MODEL_AVAILABLE)
        if self._best.out_of_patience:
            self.request_stop(self._patience_reason())

    def _evaluate_last(self, model: FLModel, record: RoundRecord) -> None:
        if record.global_metrics is not None or not self.validate_task_name:
            return
        if not any(c.received_model_metrics for c in record.contributions):
            return
        self.info("evaluating the last global model")
        trained_samples = {c.site: c.num_samples for c in record.contributions}

        def take(builder: RoundBuilder, site: str, reply: Shareable, fl_ctx: FLContext) -> None:
            report = self._report(reply, fl_ctx)
            if report.failure is not None:
                self.log_warning(fl_ctx, f"no evaluation: {report.failure.log_text()}")
            samples = report.validation_samples or trained_samples.get(site)
            builder.add(report.contribution(site, accepted=report.failure is None), validation_samples=samples)

        model.current_round = record.round + 1
        builder = self._broadcast(model, self.validate_task_name, 1, take)
        self._note_global_metrics(record, builder.received_model_metrics())

    def _train_deadline_seconds(self) -> float:
        if self.train_timeout_seconds:
            return float(self.train_timeout_seconds)
        return self.round_timeout_seconds - min(30.0, self.round_timeout_seconds / 10)

    def _end_with(self, error: Failure) -> None:
        self._announce(JOB_ENDING, JobEnding(error=error))

    def _announce(self, event_type: str, data: Any) -> None:
        self.fire_event_with_data(event_type, self.fl_ctx, event_type, data)

    def _check_arguments(self) -> None:
        if not all(isinstance(job_id, str) for job_id in self.resume_from or []):
            raise ConfigError(f"RtFedAvg: resume_from must be a list of jobs' ids, found {self.resume_from!r}")
        for name, least in (
            ("num_rounds", 1),
            ("min_clients", 1),
            ("wait_time_after_min_received", 0),
            ("round_timeout_seconds", 1),
            ("train_timeout_seconds", 0),
            ("start_round", 0),
            ("patience", 0),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"RtFedAvg: {name} must be an int of at least {least}, found {value!r}")


def _shortage(record: RoundRecord) -> Failure:
    return Failure(kind="server", message="; ".join(record.verdict_reasons), round=record.round)
