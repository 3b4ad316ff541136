"""User code in a process of its own: it may crash, hang or exhaust memory, and the site's job process lives on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import rt_flare
from rt_flare.core.credentials import without_credentials
from rt_flare.core.failures import describe_exception, relative_paths
from rt_flare.core.payload import TrainResult
from rt_flare.core.round_record import Failure
from rt_flare.core.state_dict import StateDict
from rt_flare.core.task_runner import SiteTask, TaskOutcome, TaskRunner, UserCodeConfig
from rt_flare.core.tensor_channel import ChannelClosedError, TensorChannel
from rt_flare.core.user_logger import UserLogger
from rt_flare.errors import WorkerError

__all__ = ["InProcessWorker", "TaskAbortedError", "TaskFailedError", "TrainingWorker", "Worker"]

LogSink = Callable[[str, str], None]
_POLL_SECONDS = 0.1
_TAIL_LINES = 120
"""Longer than the stack that faulthandler prints: at most 100 frames."""
_MAX_TAIL = 8_000
_STACK_DUMP_SECONDS = 0.3
_DUMPED_FRAME = re.compile(r'File "([^"]+)", line (\d+) in ')
"""A frame as faulthandler prints it, innermost first."""


class TaskFailedError(WorkerError):
    """A task gave no result; ``failure`` says why."""

    code = "task_failed"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.describe())
        self.failure = failure


class TaskAbortedError(WorkerError):
    """A task was aborted from outside."""

    code = "task_aborted"


class Worker(ABC):
    """Runs a site's tasks."""

    @abstractmethod
    def run(
        self, task: SiteTask, weights: StateDict, *, deadline_seconds: float | None, aborted: Callable[[], bool]
    ) -> TaskOutcome:
        """Run one task.

        Args:
            task: what to do.
            weights: the global model, plain CPU tensors.
            deadline_seconds: time that the task may take; None sets no deadline.
            aborted: asked about ten times a second; True ends the task.

        Raises:
            TaskFailedError: user code failed, or the worker died or missed the deadline.
            TaskAbortedError: ``aborted`` returned True.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what the worker holds; it starts again when it is used again."""


class InProcessWorker(Worker):
    """Runs user code in this process, for debuggers: deadlines and aborts do not interrupt it."""

    def __init__(self, config: UserCodeConfig, log: LogSink) -> None:
        self._config = config
        self._log = log
        self._runner: TaskRunner | None = None

    def run(
        self, task: SiteTask, weights: StateDict, *, deadline_seconds: float | None, aborted: Callable[[], bool]
    ) -> TaskOutcome:
        """Run one task (see `Worker.run`)."""
        try:
            if self._runner is None:
                self._runner = TaskRunner(self._config, UserLogger(self._log))
            outcome = self._runner.run(task, {name: tensor.clone() for name, tensor in weights.items()})
        except (Exception, SystemExit) as error:
            raise TaskFailedError(_located(error, self._config, task)) from error
        if aborted():
            raise TaskAbortedError("the task was aborted")
        return outcome

    def close(self) -> None:
        """Forget the user's module's runner."""
        self._runner = None


class TrainingWorker(Worker):
    """A child process, started once and kept across rounds; a new one follows when it dies.

    Args:
        config: what the process needs to know at its start.
        log: receives level and text of what user code logs and prints.
    """

    def __init__(self, config: UserCodeConfig, log: LogSink) -> None:
        self._config = config
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: TensorChannel | None = None
        self._output: threading.Thread | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    @property
    def pid(self) -> int | None:
        """The process's id; None when none runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process if none runs; it imports the user's module while the caller goes on."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            # -P keeps the working folder, where user code writes files, off the import path.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "rt_flare.core.worker_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=_environment(self._config),
            )
        self._channel = TensorChannel(ours)
        self._tail.clear()
        self._output = threading.Thread(
            target=self._copy_output, args=(self._process.stdout,), name="rt-flare-worker-output", daemon=True
        )
        self._output.start()
        with contextlib.suppress(ChannelClosedError):  # a process that died at once is reported by `run`
            self._channel.send(self._config.model_dump(mode="json"))

    def run(
        self, task: SiteTask, weights: StateDict, *, deadline_seconds: float | None, aborted: Callable[[], bool]
    ) -> TaskOutcome:
        """Run one task (see `Worker.run`)."""
        deadline = time.monotonic() + deadline_seconds if deadline_seconds is not None else None
        self.start()
        assert self._channel is not None
        with contextlib.suppress(ChannelClosedError):  # found again, with the cause, by the loop below
            self._channel.send(task.model_dump(mode="json"), weights)
        while True:
            # Asked before reading: what the process sent before it ended is read first.
            ended = self._process is None or self._process.poll() is not None
            try:
                if self._channel.wait(_POLL_SECONDS):
                    outcome = self._take(task, *self._channel.receive())
                    if outcome is not None:
                        return outcome
                elif ended:
                    raise self._died(task)
            except ChannelClosedError as error:
                raise self._died(task) from error
            if aborted():
                self.kill()
                raise TaskAbortedError("the task was aborted; the training worker was killed")
            if deadline is not None and time.monotonic() > deadline:
                raise self._overdue(task, f"its deadline of {deadline_seconds:g} s")

    def kill(self) -> None:
        """End the process, and the processes that user code started in its group, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """End the process and those that user code started: at the end of its socket, or killed 2 s later."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._output is not None:
                self._output.join(2)
            self._process = None

    def _take(self, task: SiteTask, message: dict[str, Any], weights: StateDict) -> TaskOutcome | None:
        match message["op"]:
            case "log":
                self._log(message["level"], message["text"])
                return None
            case "failed":
                if message["fatal"]:
                    self.close()
                where = {"site": task.env["SITE_NAME"], "round": task.env["CURRENT_ROUND"]}
                raise TaskFailedError(Failure.model_validate(message["failure"] | where))
        received = message["received_model_metrics"]
        result = None
        if message["num_samples"] is not None:
            metrics = {name: float(value) for name, value in message["metrics"].items()}
            result = TrainResult(weights, message["num_samples"], metrics, tuple(message["warnings"]))
        return TaskOutcome(
            result,
            None if received is None else {name: float(value) for name, value in received.items()},
            message["validation_samples"],
        )

    def _died(self, task: SiteTask) -> TaskFailedError:
        process = self._process
        assert process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        self.kill()
        message = f"the training worker {_ending(process.returncode)} in user code"
        return self._last_seen(_failure("worker_died", message, task))

    def _overdue(self, task: SiteTask, limit: str) -> TaskFailedError:
        if self.pid is not None:
            # The worker answers with the stack of what it is doing.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGUSR1)
            time.sleep(_STACK_DUMP_SECONDS)
        self.kill()
        message = f"training took longer than {limit}; the worker was killed"
        return self._last_seen(_failure("worker_timeout", message, task))

    def _last_seen(self, failure: Failure) -> TaskFailedError:
        tail = "\n".join(self._tail)
        shown = relative_paths(tail, self._config.code_dir)
        seen = {"traceback": shown[-_MAX_TAIL:] or None, **self._crash_place(tail)}
        return TaskFailedError(failure.model_copy(update=seen))

    def _crash_place(self, tail: str) -> dict[str, Any]:
        code_dir = self._config.code_dir
        frames = _DUMPED_FRAME.findall(tail) if code_dir is not None else []
        for file, line in frames:
            if Path(file).is_relative_to(code_dir or ""):
                return {"file": str(Path(file).relative_to(code_dir or "")), "line": int(line)}
        return {}

    def _copy_output(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in iter(lambda: pipe.readline(4096), b""):
                text = line.decode(errors="replace").rstrip()
                self._tail.append(text)
                self._log("info", f"[output] {text}")


def _environment(config: UserCodeConfig) -> dict[str, str]:
    environment = without_credentials(os.environ)
    own = str(Path(rt_flare.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), own]))
    environment["PYTHONUNBUFFERED"] = "1"
    if config.num_threads:
        environment["OMP_NUM_THREADS"] = str(config.num_threads)
    return environment


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "closed its connection and hung"
    if returncode >= 0:
        return f"exited with code {returncode}"
    name = signal.Signals(-returncode).name
    hint = " (killed from outside, perhaps for using too much memory)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _failure(kind: str, message: str, task: SiteTask) -> Failure:
    return Failure(kind=kind, message=message, site=task.env["SITE_NAME"], round=task.env["CURRENT_ROUND"])


def _located(error: BaseException, config: UserCodeConfig, task: SiteTask) -> Failure:
    return describe_exception(
        error, code_dir=config.code_dir, site=task.env["SITE_NAME"], round_number=task.env["CURRENT_ROUND"]
    )
