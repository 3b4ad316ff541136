"""The training worker's own process: ``python -m rt_flare.core.worker_process SOCKET_FD``.

Started by `training_worker.TrainingWorker`. It ends when its socket closes, so it never outlives the executor.
"""

from __future__ import annotations

import rt_flare.core.torch_import  # noqa: F401 - before all others: it loads PyTorch faster

# isort: split
import faulthandler
import os
import queue
import resource
import signal
import socket
import sys
import threading

import psutil

from rt_flare.core.failures import describe_exception
from rt_flare.core.round_record import Failure
from rt_flare.core.state_dict import StateDict
from rt_flare.core.task_runner import SiteTask, TaskOutcome, TaskRunner, UserCodeConfig
from rt_flare.core.tensor_channel import ChannelClosedError, TensorChannel
from rt_flare.core.user_logger import UserLogger

_Command = tuple[dict[str, object], StateDict] | Exception


def main(descriptor: int) -> int:
    """Serve tasks from the socket until it closes."""
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    channel = TensorChannel(socket.socket(fileno=descriptor), may_fork=True)
    message, _ = channel.receive()
    config = UserCodeConfig.model_validate(message)
    commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(channel, commands), name="rt-flare-commands", daemon=True).start()
    logger = UserLogger(lambda level, text: channel.send({"op": "log", "level": level, "text": text}))
    if config.memory_limit_bytes:
        _limit_memory(config.memory_limit_bytes)
    try:
        runner = TaskRunner(config, logger)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is the executor's to report
        _send_failure(channel, describe_exception(error, code_dir=config.code_dir), fatal=True)
        return 1
    while True:
        _serve(channel, runner, config, commands)


def _serve(
    channel: TensorChannel, runner: TaskRunner, config: UserCodeConfig, commands: queue.SimpleQueue[_Command]
) -> None:
    try:
        outcome = _run_next(runner, commands)
        result = outcome.result
        reply = {
            "op": "done",
            "num_samples": result.num_samples if result else None,
            "metrics": result.metrics if result else {},
            "warnings": result.warnings if result else [],
            "received_model_metrics": outcome.received_model_metrics,
            "validation_samples": outcome.validation_samples,
        }
        channel.send(reply, result.weights if result else None, let_go=True)
    except BaseException as error:  # noqa: BLE001 - sys.exit() in user code must not end the job either
        _send_failure(channel, describe_exception(error, code_dir=config.code_dir))


def _run_next(runner: TaskRunner, commands: queue.SimpleQueue[_Command]) -> TaskOutcome:
    """Run the next task; the weights that came with it are let go of before its result is sent."""
    command = commands.get()
    if isinstance(command, Exception):
        raise command
    message, weights = command
    return runner.run(SiteTask.model_validate(message), weights)


def _send_failure(channel: TensorChannel, failure: Failure, *, fatal: bool = False) -> None:
    channel.send({"op": "failed", "failure": failure.model_dump(), "fatal": fatal})


def _read(channel: TensorChannel, commands: queue.SimpleQueue[_Command]) -> None:
    while True:
        try:
            commands.put(channel.receive())
        except ChannelClosedError:
            _end()
        except Exception as error:  # noqa: BLE001 - memory for the weights may be missing: that task fails
            commands.put(error)


def _end() -> None:
    """End at once, with the processes that user code started, whatever user code is doing."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _limit_memory(limit_bytes: int) -> None:
    limit = psutil.Process().memory_info().vms + limit_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
