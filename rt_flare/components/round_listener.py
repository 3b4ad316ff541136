"""Base of the writers: hears of every round, whichever of NVFlare's controllers runs it."""

from __future__ import annotations

from abc import abstractmethod

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.widgets.widget import Widget

from rt_flare.components.events import JOB_ENDING, JOB_RESUMED, ROUND_CLOSED, UPDATE_REJECTED, JobEnding
from rt_flare.components.wire import read_report
from rt_flare.core.full_disk import outlast_full_disk
from rt_flare.core.ledger import Ledger
from rt_flare.core.round_builder import RoundBuilder
from rt_flare.core.round_record import Failure, RoundRecord

__all__ = ["RoundListener"]


class RoundListener(Widget):
    """Keeps a `Ledger` up to date and calls `write` whenever it changed.

    `RtFedAvg` announces closed rounds itself. Under NVFlare's ScatterAndGather and FedAvg the same record is put
    together from their events: every answer passes ``AFTER_PROCESS_SUBMISSION``, and ``AFTER_AGGREGATION`` ends a
    round; the weight change and metrics of the global model's own are then not known.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ledger: Ledger | None = None
        self._open: RoundBuilder | None = None
        self._announced = False
        self._rejections: dict[str, str] = {}
        self._lost: set[str] = set()

    @abstractmethod
    def write(self, ledger: Ledger, fl_ctx: FLContext) -> None:
        """Write what this component writes; called on NVFlare's own threads, one at a time."""

    def keep_contributions(self, moved: list[tuple[str, RoundRecord]]) -> None:
        """Take the contributions that the ledger of a large job gives up: (file that they belong into, round)."""

    def note_failure(self, failure: Failure, fl_ctx: FLContext) -> None:
        """Hear of a site's error under NVFlare's controllers, which keep it to themselves."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Follow the rounds."""
        match event_type:
            case EventType.START_RUN:
                self._ledger = Ledger(job_id=fl_ctx.get_job_id(), num_rounds=0)
            case AppEventType.ROUND_STARTED:
                self._enter_round(fl_ctx)
            case _ if event_type == UPDATE_REJECTED:
                rejection = fl_ctx.get_prop(UPDATE_REJECTED)
                self._rejections[rejection.site] = f"{rejection.reason}: {rejection.message}"
            case EventType.AFTER_PROCESS_SUBMISSION:
                self._take_answer(fl_ctx)
            case AppEventType.BEFORE_AGGREGATION if self._open is not None:
                self._open.stop_collecting()
            case AppEventType.AFTER_AGGREGATION:
                self._close_open_round(fl_ctx)
            case _ if event_type == ROUND_CLOSED:
                self._announced, self._open = True, None
                self._put(fl_ctx.get_prop(ROUND_CLOSED), fl_ctx)
            case _ if event_type == JOB_RESUMED:
                self._announced, self._ledger = True, fl_ctx.get_prop(JOB_RESUMED).model_copy(deep=True)
                self.write(self._known, fl_ctx)
            case _ if event_type == JOB_ENDING:
                self._note_ending(fl_ctx.get_prop(JOB_ENDING), fl_ctx)
            case EventType.CLIENT_DISCONNECTED:
                self._lost.add(str(fl_ctx.get_prop(FLContextKey.DISCONNECTED_CLIENT_NAME)))
            case EventType.CLIENT_RECONNECTED:
                self._lost.discard(str(fl_ctx.get_prop(FLContextKey.RECONNECTED_CLIENT_NAME)))
            case EventType.FATAL_SYSTEM_ERROR:
                self._note_fatal_error(str(fl_ctx.get_prop(FLContextKey.EVENT_DATA, "")), fl_ctx)
            case EventType.END_RUN:
                self._finish(fl_ctx)

    @property
    def _known(self) -> Ledger:
        assert self._ledger is not None, "START_RUN comes first"
        return self._ledger

    def _enter_round(self, fl_ctx: FLContext) -> None:
        self._close_open_round(fl_ctx)
        self._known.num_rounds = fl_ctx.get_prop(AppConstants.NUM_ROUNDS) or self._known.num_rounds
        self._rejections = {}
        if not self._announced:
            sites = [client.name for client in fl_ctx.get_engine().get_clients()]
            self._open = RoundBuilder(fl_ctx.get_prop(AppConstants.CURRENT_ROUND), sites)
        if not self._known.rounds:
            self.write(self._known, fl_ctx)

    def _take_answer(self, fl_ctx: FLContext) -> None:
        reply = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        is_training = fl_ctx.get_prop(FLContextKey.TASK_NAME) == AppConstants.TASK_TRAIN
        if self._open is None or not is_training or not isinstance(reply, Shareable):
            return
        report = read_report(reply, fl_ctx)
        site = report.site
        if report.failure is not None:
            self.note_failure(report.failure, fl_ctx)
        accepted = bool(fl_ctx.get_prop(AppConstants.AGGREGATION_ACCEPTED)) and site not in self._rejections
        reason = None if accepted or report.failure else self._rejections.get(site, "refused by the aggregator")
        contribution = report.contribution(site, accepted=accepted, reason=reason)
        self._open.add(contribution, validation_samples=report.validation_samples)

    def _close_open_round(self, fl_ctx: FLContext) -> None:
        if self._open is None:
            return
        builder, self._open = self._open, None
        record = builder.close(min_clients=1)
        if record.collect_seconds is not None:
            rest = round(record.seconds - record.collect_seconds, 3)
            record = record.model_copy(update={"aggregate_seconds": rest})
        metrics = builder.received_model_metrics()
        if metrics is not None and self._known.rounds:
            self._known.put(self._known.rounds[-1].model_copy(update={"global_metrics": metrics}))
        self._put(record, fl_ctx)

    def _put(self, record: RoundRecord, fl_ctx: FLContext) -> None:
        is_known = any(known.round == record.round for known in self._known.rounds)
        if moved := self._known.put(record):
            self.keep_contributions(moved)
            if is_known:
                return  # a large job's round that was evaluated: the next round's end is near, and writes this too
        self.write(self._known, fl_ctx)

    def _note_ending(self, ending: JobEnding, fl_ctx: FLContext) -> None:
        ledger = self._known
        ledger.stop_reason = ledger.stop_reason or ending.stop_reason
        ledger.error = ledger.error or ending.error
        self.write(ledger, fl_ctx)

    def _note_fatal_error(self, reason: str, fl_ctx: FLContext) -> None:
        failures = self._open.failures if self._open else []
        if self._lost:
            reason = f"{reason}: lost {', '.join(sorted(self._lost))}"
        first = failures[0] if failures else Failure(kind="server", message=reason)
        self._note_ending(JobEnding(error=first), fl_ctx)

    def _finish(self, fl_ctx: FLContext) -> None:
        self._close_open_round(fl_ctx)
        aborted = bool(fl_ctx.get_run_abort_signal() and fl_ctx.get_run_abort_signal().triggered)
        self._known.state = "FAILED" if self._known.error else "CANCELLED" if aborted else "FINISHED"
        # Until here the next round writes what could not be written; nothing follows this one.
        outlast_full_disk(lambda: self.write(self._known, fl_ctx))
