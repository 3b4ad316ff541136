"""What a process of its own costs user code: the training worker against the same code in the executor's process.

Run with ``uv run python -m benchmarks.worker``. User code hands back what it received, after a pass over it, so that a
round is what happens to the weights around it. The limit is a plain copy of the weights into memory that is in use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.figures import Figure, command, spread
from benchmarks.layouts import LAYOUTS, make_state
from rt_flare.core.allocator import keep_freed_memory
from rt_flare.core.state_dict import StateDict
from rt_flare.core.task_runner import SiteTask, UserCodeConfig
from rt_flare.core.training_worker import InProcessWorker, TrainingWorker, Worker

_USER_CODE = """
def fl_train_model(payload, out_dir, logger=None):
    weights = payload["initial_weights"]
    for tensor in weights.values():
        tensor.add_(0.001)
    return {"weights": weights, "samples": 5, "metrics": {"loss": 1.0}}
"""
_SMALL_ROUNDS = 20


class WorkerRounds:
    """Runs rounds of one worker; each begins with the weights that the last one gave."""

    def __init__(self, worker: Worker, folder: Path, weights: StateDict) -> None:
        self._worker = worker
        self._folder = folder
        self._weights = weights
        self._round = 0

    def run(self) -> float:
        """Run one round; return its seconds."""
        env = {"SITE_NAME": "site-1", "JOB_ID": "job", "CURRENT_ROUND": self._round, "NUM_ROUNDS": 10**6}
        env |= {"STATE_DIR": str(self._folder / "state")}
        task = SiteTask(dataset={}, env=env, out_dir=self._folder / "out")
        self._round += 1
        start = time.perf_counter()
        outcome = self._worker.run(task, self._weights, deadline_seconds=600, aborted=lambda: False)
        seconds = time.perf_counter() - start
        assert outcome.result is not None
        self._weights = outcome.result.weights
        return seconds


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure a small and a large model."""
    keep_freed_memory()  # as in every process that NVFlare runs our components in
    figures = []
    for megabytes in (1, options.megabytes):
        isolated, inside, copies = _seconds(megabytes, options.repeats)
        print(f"{megabytes} MB, seconds a round")
        for what, values in (("isolated", isolated), ("in process", inside), ("a copy", copies)):
            print(f"  {what:12} {spread(values)}", flush=True)
        costs = [a - b for a, b in zip(isolated, inside, strict=True)]
        if megabytes == 1:
            costs = [cost * 1e3 for cost in costs]
            figures.append(Figure("a small model: isolation's cost a round", tuple(costs), at_most=30, unit="ms"))
        else:
            ratios = tuple(cost / copy for cost, copy in zip(costs, copies, strict=True))
            figures.append(Figure(f"{megabytes} MB: isolation's cost / a copy of the weights", ratios, at_most=1.5))
    return figures


def _seconds(megabytes: int, repeats: int) -> tuple[list[float], list[float], list[float]]:
    weights = make_state(LAYOUTS["transformer"](megabytes * 10**6 // 4), torch.float32, seed=0)
    target = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    isolated, inside, copies = [], [], []
    with tempfile.TemporaryDirectory(prefix="rt-flare-worker-") as name:
        folder = Path(name)
        (folder / "worker_user_code.py").write_text(_USER_CODE)
        config = UserCodeConfig(user_module="worker_user_code", code_dir=folder)
        workers = TrainingWorker(config, _forget), InProcessWorker(config, _forget)
        apart, together = (WorkerRounds(worker, folder, weights) for worker in workers)
        # The first rounds start the process and get the memory that all later ones use again.
        for rounds in (apart, together) * 3:
            rounds.run()
        several = _SMALL_ROUNDS if megabytes == 1 else 1
        for _ in range(repeats):
            isolated.append(sum(apart.run() for _ in range(several)) / several)
            inside.append(sum(together.run() for _ in range(several)) / several)
            start = time.perf_counter()
            for entry, tensor in weights.items():
                target[entry].copy_(tensor)
            copies.append(time.perf_counter() - start)
        for worker in workers:
            worker.close()
    return isolated, inside, copies


def _forget(level: str, text: str) -> None:
    pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400)
    command(parser, measure)


if __name__ == "__main__":
    main()
