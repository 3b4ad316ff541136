"""A site's executor: builds the payload, runs user code in its worker process, replies with update or cause."""

from __future__ import annotations

import rt_flare.core.torch_import  # noqa: F401 - before all others: it loads PyTorch faster

# isort: split
import time
from pathlib import Path
from typing import Any

from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from pydantic import ValidationError

from rt_flare.components.site import code_dir, run_dir
from rt_flare.components.site_data import SiteData
from rt_flare.components.site_state import OUT_FOLDER, STATE_FOLDER, take_over_state
from rt_flare.components.waiting_task import wait_for_task
from rt_flare.components.wire import (
    ENVIRONMENT,
    RESUMED_FROM,
    TRAIN_DEADLINE_SECONDS,
    error_reply,
    register_tensors,
    result_reply,
)
from rt_flare.configs import TrainingConfig
from rt_flare.core.environment import own_environment
from rt_flare.core.failures import describe_exception
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.payload import RESERVED_ENV
from rt_flare.core.state_dict import to_plain
from rt_flare.core.task_runner import SiteTask, TaskOutcome, UserCodeConfig
from rt_flare.core.text_flow import LogFlow, without_folders
from rt_flare.core.training_worker import InProcessWorker, TaskAbortedError, TaskFailedError, TrainingWorker, Worker
from rt_flare.core.wire_dtype import WIRE_DTYPES
from rt_flare.errors import ConfigError, DownloadAbortedError

__all__ = ["PayloadExecutor"]

_ISOLATION = {"process": TrainingWorker, "none": InProcessWorker}


class PayloadExecutor(Executor):
    """Runs ``fl_train_model(payload, out_dir, logger)`` of the user's module, once per round.

    User code runs in a child process that is kept across rounds. When it fails, dies, or misses its deadline, the
    reply says why, and a new process serves the next round: user code cannot end the site's job process, which
    would fail the whole job.

    Args:
        user_module: importable name of the module with the training function.
        model_path: dotted path of the model class or factory (for ``fl_train(model, env, ...)``).
        model_args: its keyword arguments; JSON values.
        adapter: name of the dataset adapter that `rt_flare.open_dataset` uses.
        adapter_args: keyword options of the adapter.
        local_epochs: passes over the site's data; this and the next six reach user code as ``payload["env"]``.
        batch_size: samples per step.
        learning_rate: step size.
        img_size: side of the images in pixels.
        num_classes: width of the labels; 0 is what the largest label says.
        manifest_file: name of the manifest at the shard's root.
        extra: further keys.
        data_dir: folder that the site's shard is unpacked in, as ``{data_dir}/{shard index}``.
        shards_dir: folder with the shard ZIPs; "" when the data is at the site already.
        shards_from_server: ask the job's `ShardUrlService` for a signed URL of this site's shard.
        site_shards: 1-based shard index of each site.
        data_root: folder with the site's data, used as it is; "" takes the shard.
        cache_max_bytes: disk space of all shards below ``data_dir`` together; 0 sets no limit.
        isolation: ``process``, or ``none`` to run user code in this process (for debuggers).
        train_timeout_seconds: deadline of one task; 0 takes the one that the server sends along.
        worker_memory_limit_bytes: address space that user code may add to the worker process; 0 sets no limit.
        num_threads: CPU threads of the worker; 0 leaves PyTorch's default.
        seed: seed of the random generators, mixed with site and round; None leaves them alone.
        wire_dtype: "" sends the trained weights in full; ``bfloat16`` sends the difference to the received model, its
            float32 and float64 entries rounded to bfloat16: each element by less than 2**-8 of its difference. The
            round's record says by how much. The server needs an aggregator of rt_flare, and a workflow that tells it
            the global model (`RtFedAvg` or ScatterAndGather).

    Raises:
        ConfigError: an argument is invalid.
    """

    def __init__(
        self,
        user_module: str = "model_def",
        model_path: str = "model_def.Model",
        model_args: dict[str, Any] | None = None,
        adapter: str = "manifest",
        adapter_args: dict[str, Any] | None = None,
        local_epochs: int = 2,
        batch_size: int = 32,
        learning_rate: float = 0.001,
        img_size: int = 224,
        num_classes: int = 0,
        manifest_file: str = "manifest.ndjson",
        extra: dict[str, Any] | None = None,
        data_dir: str = "/var/tmp/nvflare/data",  # noqa: S108 - the documented place; shards are verified there
        shards_dir: str = "",
        shards_from_server: bool = False,
        site_shards: dict[str, int] | None = None,
        data_root: str = "",
        cache_max_bytes: int = 0,
        isolation: str = "process",
        train_timeout_seconds: int = 0,
        worker_memory_limit_bytes: int = 0,
        num_threads: int = 0,
        seed: int | None = None,
        wire_dtype: str = "",
    ) -> None:
        super().__init__()
        self.user_module = user_module
        self.model_path = model_path
        self.model_args = model_args
        self.adapter = adapter
        self.adapter_args = adapter_args
        self.local_epochs = local_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.img_size = img_size
        self.num_classes = num_classes
        self.manifest_file = manifest_file
        self.extra = extra
        self.data_dir = data_dir
        self.shards_dir = shards_dir
        self.shards_from_server = shards_from_server
        self.site_shards = site_shards
        self.data_root = data_root
        self.cache_max_bytes = cache_max_bytes
        self.isolation = isolation
        self.train_timeout_seconds = train_timeout_seconds
        self.worker_memory_limit_bytes = worker_memory_limit_bytes
        self.num_threads = num_threads
        self.seed = seed
        self.wire_dtype = wire_dtype
        self._training, self._user_code = self._checked_arguments()
        self._data = SiteData(self)
        register_tensors()
        self._worker: Worker | None = None
        self._log_flow = LogFlow(self._log_user_text)
        self._folders: dict[str, Path | None] = {}
        self._last_round = 0
        self._asks_first, self._has_answered = True, False

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start the worker early, so that it imports user code while the server prepares; end it with the job."""
        if event_type == EventType.START_RUN:
            worker = self._started_worker(fl_ctx)
            if isinstance(worker, TrainingWorker):
                worker.start()
        elif event_type == EventType.AFTER_SEND_TASK_RESULT:
            self._has_answered = True
        elif event_type == EventType.BEFORE_PULL_TASK and self._asks_first and self._has_answered:
            self._asks_first = wait_for_task(fl_ctx)
        elif event_type in (EventType.END_RUN, EventType.SWAP_OUT):
            if self._worker is not None:
                self._worker.close()
                self._worker = None
            self._data.close()

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Run one task of NVFlare; errors become replies that carry the cause."""
        reply = self._reply(task_name, shareable, fl_ctx, abort_signal)
        reply.set_header(ENVIRONMENT, own_environment().model_dump())
        return reply

    def _reply(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        site = fl_ctx.get_identity_name()
        self._last_round = round_number = shareable.get_header(AppConstants.CURRENT_ROUND, self._last_round)
        try:
            if task_name not in (AppConstants.TASK_TRAIN, AppConstants.TASK_VALIDATION):
                raise ConfigError(f"no such task: {task_name!r}; PayloadExecutor serves train and validate")
            return self._execute(task_name, shareable, round_number, fl_ctx, abort_signal)
        except (TaskAbortedError, DownloadAbortedError):
            return make_reply(ReturnCode.TASK_ABORTED)
        except TaskFailedError as error:
            failure = error.failure
        except Exception as error:  # noqa: BLE001 - NVFlare would hide the cause from the server
            failure = describe_exception(error, code_dir=code_dir(fl_ctx), site=site, round_number=round_number)
        finally:
            self._log_flow.finish()
        failure = failure.model_copy(
            update={
                "message": self._without_folders(failure.message),
                "traceback": failure.traceback and self._without_folders(failure.traceback),
            }
        )
        self.log_error(fl_ctx, f"task {task_name} failed: {failure.log_text()}")
        return error_reply(failure)

    def _execute(
        self, task_name: str, shareable: Shareable, round_number: int, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        if place := take_over_state(fl_ctx, shareable.get_header(RESUMED_FROM, []), round_number):
            self.log_info(fl_ctx, f"STATE_DIR is as the earlier job left it in {place}")
        dataset, warnings = self._data.prepare(fl_ctx, lambda: bool(abort_signal.triggered)), []
        task = SiteTask(
            kind=task_name,
            dataset=dataset,
            env=self._env(fl_ctx, round_number, shareable.get_header(AppConstants.NUM_ROUNDS, 0)),
            extra=self.extra or {},
            out_dir=run_dir(fl_ctx) / OUT_FOLDER / f"round_{round_number}",
        )
        weights = to_plain(from_shareable(shareable).data)
        self.log_info(fl_ctx, f"{task_name}: round {round_number}, user code starts")
        started = time.monotonic()
        outcome = self._started_worker(fl_ctx).run(
            task,
            weights,
            deadline_seconds=self._deadline_seconds(shareable),
            aborted=lambda: bool(abort_signal.triggered),
        )
        work_seconds = round(time.monotonic() - started, 3)
        self._report(task_name, round_number, outcome, fl_ctx)
        if outcome.result is not None and (odd := self._data.odd_sample_count(outcome.result.num_samples)):
            self.log_warning(fl_ctx, odd)
            warnings.append(odd)
        # Without a global model there is nothing to differ from: its first weights travel in full.
        base = weights if self.wire_dtype and weights else None
        return result_reply(outcome, round_number=round_number, warnings=warnings, work_seconds=work_seconds, base=base)

    def _report(self, task_name: str, round_number: int, outcome: TaskOutcome, fl_ctx: FLContext) -> None:
        if outcome.received_model_metrics is not None:
            self.log_info(fl_ctx, f"{task_name}: round {round_number}, received model {outcome.received_model_metrics}")
        if outcome.result is not None:
            samples, metrics = outcome.result.num_samples, outcome.result.metrics
            self.log_info(fl_ctx, f"{task_name}: round {round_number} done, {samples} samples, metrics {metrics}")

    def _started_worker(self, fl_ctx: FLContext) -> Worker:
        if self._worker is None:
            config = self._user_code.model_copy(update={"code_dir": code_dir(fl_ctx)})
            self._folders = {"run_dir": run_dir(fl_ctx), "code_dir": code_dir(fl_ctx), "~": Path.home()}
            self._worker = _ISOLATION[self.isolation](config, self._log_flow)
        return self._worker

    def _without_folders(self, text: str) -> str:
        return without_folders(text, {**self._folders, "data_root": self._data.data_root})

    def _log_user_text(self, level: str, text: str) -> None:
        # Indented, so that no line of it passes for a record of the log.
        indented = "\n    ".join(self._without_folders(text).splitlines())
        getattr(self.logger, level)(f"[user code] {indented}")

    def _env(self, fl_ctx: FLContext, round_number: int, num_rounds: int) -> dict[str, Any]:
        return {
            "SITE_NAME": fl_ctx.get_identity_name(),
            "JOB_ID": fl_ctx.get_job_id(),
            "CURRENT_ROUND": round_number,
            "NUM_ROUNDS": num_rounds,
            "STATE_DIR": str(run_dir(fl_ctx) / STATE_FOLDER),
            **self._training.model_dump(exclude={"extra"}),
        }

    def _deadline_seconds(self, shareable: Shareable) -> float | None:
        deadlines = [self.train_timeout_seconds, shareable.get_header(TRAIN_DEADLINE_SECONDS, 0)]
        return min((float(seconds) for seconds in deadlines if seconds), default=None)

    def _checked_arguments(self) -> tuple[TrainingConfig, UserCodeConfig]:
        if self.isolation not in _ISOLATION:
            raise ConfigError(f"isolation: found {self.isolation!r}, expected one of {sorted(_ISOLATION)}")
        if self.wire_dtype not in WIRE_DTYPES:
            raise ConfigError(f"wire_dtype: found {self.wire_dtype!r}, expected one of {WIRE_DTYPES}")
        if taken := sorted(RESERVED_ENV & set(self.extra or {})):
            raise ConfigError(f"extra must not name {', '.join(taken)}: set the argument of that name instead")
        fields = {name: getattr(self, name) for name in TrainingConfig.model_fields}
        try:
            training = TrainingConfig.model_validate({**fields, "extra": self.extra or {}})
            user_code = UserCodeConfig(
                user_module=self.user_module,
                model=ModelSpec(path=self.model_path, args=self.model_args or {}),
                memory_limit_bytes=self.worker_memory_limit_bytes,
                num_threads=self.num_threads,
                seed=self.seed,
            )
        except ValidationError as error:
            raise ConfigError(f"PayloadExecutor: {error}") from error
        return training, user_code
