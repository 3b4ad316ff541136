"""User code in a process of its own: whatever it does, the caller lives on and the next task succeeds (J5, M2, X7)."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from rt_flare.core.payload import RESERVED_ENV
from rt_flare.core.state_dict import StateDict
from rt_flare.core.task_runner import SiteTask, TaskOutcome, UserCodeConfig
from rt_flare.core.training_worker import InProcessWorker, TaskAbortedError, TaskFailedError, TrainingWorker, Worker

MODEL_DEF = """
import ctypes, os, random, signal, subprocess, sys, time
import numpy, torch

CALLS = 0

def fl_train_model(payload, out_dir, logger=None):
    global CALLS
    CALLS += 1
    weights = payload["initial_weights"]
    metrics = ACTIONS[payload["env"]["action"]](payload, logger) or {}
    return {"weights": weights, "samples": 3, "metrics": {"calls": CALLS, **metrics}}

def segfault(payload, logger):
    ctypes.string_at(0)  # the line of the crash

def deep_segfault(payload, logger, depth=40):
    return deep_segfault(payload, logger, depth - 1) if depth else segfault(payload, logger)

def change(payload, logger):
    for tensor in payload["initial_weights"].values():
        tensor.add_(1)

def other_layouts(payload, logger):
    state = payload["initial_weights"]
    state["transposed"] = torch.arange(6.0).reshape(2, 3).t()
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    state["conjugate"] = torch.tensor([1 + 2j]).conj()
    state["expanded"] = torch.tensor(2.0).expand(3)

def draw(payload, logger):
    return {"python": random.random(), "numpy": numpy.random.rand(), "torch": torch.rand(())}

def threads(payload, logger):
    return {"torch": torch.get_num_threads(), "omp": int(os.environ["OMP_NUM_THREADS"])}

def write(payload, logger):
    print("printed")
    print("to stderr", file=sys.stderr)
    os.write(1, b"from C\\n")
    subprocess.run(["echo", "from a child"], check=True)
    logger({"type": "warn", "msg": "logged \\udcff"})

def sleep(payload, logger):
    logger("sleeping")
    time.sleep(1000)

def chatter(payload, logger):
    while True:
        logger("still here")

def allocate(payload, logger):
    held = [torch.ones(2**26) for _ in range(100)]

def allocate_numpy(payload, logger):
    numpy.ones(2**35)

def fail(payload, logger):
    raise ValueError("bad \\udcff batch")

def forgotten(payload, logger):
    payload["initial_weights"] = None
    return {"loss": None}

class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        time.sleep(1000 if index else 0)
        return index

def children(payload, logger):
    started = [subprocess.Popen(["sleep", "1000"]), subprocess.Popen(["sleep 1000; true"], shell=True)]
    batches = iter(torch.utils.data.DataLoader(Slow(), num_workers=1, multiprocessing_context="fork"))
    next(batches)
    pids = [child.pid for child in started] + [worker.pid for worker in batches._workers]
    logger(f"children {' '.join(map(str, pids))}")
    if payload["env"]["then"] == "return":
        KEPT.append(batches)
        return
    time.sleep(1000)

KEPT = []
ACTIONS = {
    "ok": lambda payload, logger: None,
    "exit": lambda payload, logger: os._exit(139),
    "sys.exit": lambda payload, logger: sys.exit("enough"),
    "nan": lambda payload, logger: {"nan": float("nan"), "inf": float("inf"), "neg": -float("inf"), "tenth": 0.1},
    **{name: value for name, value in globals().items() if callable(value) and value.__module__ == __name__},
}

def fl_validate_model(payload, out_dir, logger=None):
    if payload["env"]["action"] != "validate":
        return {"metrics": {}}
    return {"metrics": {"acc": numpy.float32(0.5)}, "samples": numpy.int64(4)}
"""
WEIGHTS: StateDict = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(5)}
PARENT = """
import sys, torch
from pathlib import Path
from rt_flare.core.task_runner import SiteTask, UserCodeConfig
from rt_flare.core.training_worker import TrainingWorker
def log(level, text):
    if text.startswith("children"):
        print(worker.pid, text, flush=True)
config, task = Path(sys.argv[1]).read_text(), Path(sys.argv[2]).read_text()
worker = TrainingWorker(UserCodeConfig.model_validate_json(config), log)
worker.run(SiteTask.model_validate_json(task), {"w": torch.ones(1)}, deadline_seconds=None, aborted=lambda: False)
"""
NUMBERS = itertools.count()
CHILDREN = re.compile("children ")


class Log:
    """Collects what the worker logs; ``on`` reacts to a line at once."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.on: Callable[[str], None] = lambda text: None

    def __call__(self, level: str, text: str) -> None:
        self.lines.append((level, text))
        self.on(text)

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


def write_code(folder: Path, source: str = MODEL_DEF) -> str:
    name = f"worker_module_{next(NUMBERS)}"
    (folder / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    return name


def task(folder: Path, action: str = "ok", *, kind: str = "train", round_number: int = 2, **extra: Any) -> SiteTask:
    env = dict.fromkeys(sorted(RESERVED_ENV - {"DEVICE"}), 1) | {"SITE_NAME": "site-1", "CURRENT_ROUND": round_number}
    env["STATE_DIR"] = str(folder / "state")
    return SiteTask(kind=kind, dataset={}, env=env, extra={"action": action, **extra}, out_dir=folder / "out")


def run(
    worker: Worker,
    folder: Path,
    action: str = "ok",
    weights: StateDict = WEIGHTS,
    *,
    deadline_seconds: float | None = 60,
    aborted: Callable[[], bool] = lambda: False,
    **fields: Any,
) -> TaskOutcome:
    return worker.run(task(folder, action, **fields), weights, deadline_seconds=deadline_seconds, aborted=aborted)


def metrics(outcome: TaskOutcome) -> dict[str, float]:
    assert outcome.result is not None
    return outcome.result.metrics


def content(state: StateDict) -> dict[str, tuple[torch.dtype, torch.Size, list[int]]]:
    return {
        name: (tensor.dtype, tensor.shape, tensor.reshape(-1).view(torch.uint8).tolist() if tensor.numel() else [])
        for name, tensor in state.items()
    }


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job code")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[tuple[TrainingWorker, Log]]:
    """One worker for all tests: it is as good as new after each of them, or there is a bug."""
    log = Log()
    config = UserCodeConfig(
        user_module=write_code(folder), code_dir=folder, memory_limit_bytes=2 << 30, num_threads=1, seed=3
    )
    worker = TrainingWorker(config, log)
    yield worker, log
    worker.close()


@pytest.fixture
def worker(shared: tuple[TrainingWorker, Log]) -> TrainingWorker:
    shared[1].lines.clear()
    shared[1].on = lambda text: None
    return shared[0]


@pytest.fixture
def log(shared: tuple[TrainingWorker, Log], worker: TrainingWorker) -> Log:
    return shared[1]


def failure_of(worker: Worker, folder: Path, action: str, **options: Any) -> Any:
    with pytest.raises(TaskFailedError) as caught:
        run(worker, folder, action, **options)
    failure = caught.value.failure
    assert (failure.site, failure.round) == ("site-1", 2)
    assert str(caught.value) == failure.describe()
    return failure


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(MODEL_DEF.splitlines(), start=1) if text in line)


def test_a_module_keeps_its_state_across_tasks(worker: TrainingWorker, folder: Path) -> None:
    """M2: one process for all rounds."""
    first = metrics(run(worker, folder))["calls"]
    pid = worker.pid
    assert metrics(run(worker, folder))["calls"] == first + 1
    assert worker.pid == pid


def test_weights_come_back_as_they_went(worker: TrainingWorker, folder: Path) -> None:
    """M4, M9: every dtype, empty and 0-dimensional ones too."""
    dtypes = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32]
    dtypes += [torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
    dtypes += [torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2]
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"{dtype} {list(shape)}": (torch.randn(shape, generator=generator) * 3).abs().to(dtype)
        for dtype in dtypes
        for shape in ((), (0,), (3,), (2, 0, 4), (2, 3))
    }
    outcome = run(worker, folder, weights=weights)
    assert outcome.result is not None
    assert content(outcome.result.weights) == content(weights)


def test_every_layout_comes_back_dense(worker: TrainingWorker, folder: Path) -> None:
    """M4"""
    outcome = run(worker, folder, "other_layouts")
    assert outcome.result is not None
    found = {name: tensor.tolist() for name, tensor in outcome.result.weights.items() if name not in WEIGHTS}
    assert found == {
        "transposed": [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]],
        "parameter": [1.0, 1.0],
        "conjugate": [1 - 2j],
        "expanded": [2.0, 2.0, 2.0],
    }


def test_user_code_cannot_change_the_callers_weights(worker: TrainingWorker, folder: Path) -> None:
    """M2"""
    before = content(WEIGHTS)
    outcome = run(worker, folder, "change")
    assert content(WEIGHTS) == before
    assert outcome.result is not None
    assert torch.equal(outcome.result.weights["w"], WEIGHTS["w"] + 1)


def test_metrics_keep_nan_and_infinities(worker: TrainingWorker, folder: Path) -> None:
    """M4, J10"""
    found = metrics(run(worker, folder, "nan"))
    assert repr({name: found[name] for name in ("nan", "inf", "neg", "tenth")}) == (
        "{'nan': nan, 'inf': inf, 'neg': -inf, 'tenth': 0.1}"
    )


def test_a_validation_may_return_numpy_numbers(worker: TrainingWorker, folder: Path) -> None:
    """M5"""
    assert run(worker, folder, "validate", kind="validate") == TaskOutcome(None, {"acc": 0.5}, 4)


def test_threads_are_limited(worker: TrainingWorker, folder: Path) -> None:
    """X3"""
    found = metrics(run(worker, folder, "threads"))
    assert (found["torch"], found["omp"]) == (1.0, 1.0)


def test_draws_repeat_per_site_and_round(worker: TrainingWorker, folder: Path) -> None:
    """X3: also in another process."""

    def draw(round_number: int) -> list[float]:
        found = metrics(run(worker, folder, "draw", round_number=round_number))
        return [found[name] for name in ("python", "numpy", "torch")]

    first, other = draw(0), draw(1)
    worker.kill()
    assert draw(0) == first
    assert len({*first, *other}) == 6


def test_what_user_code_writes_reaches_the_log(worker: TrainingWorker, log: Log, folder: Path) -> None:
    """M3, J9"""
    run(worker, folder, "write")
    expected = {"[output] printed", "[output] to stderr", "[output] from C", "[output] from a child"}
    assert until(lambda: expected <= set(log.texts))
    assert ("warning", "logged ?") in log.lines


@pytest.mark.parametrize(
    ("action", "kind", "message", "line"),
    [
        ("fail", "exception", "ValueError: bad ? batch", "raise ValueError"),
        ("sys.exit", "exception", "SystemExit: enough", "sys.exit("),
        ("allocate", "out_of_memory", "RuntimeError: ", "torch.ones(2**26)"),
        ("allocate_numpy", "out_of_memory", "MemoryError: Unable to allocate", "numpy.ones(2**35)"),
        ("forgotten", "result", "ResultError: metrics['loss']: found NoneType", "def fl_train_model"),
        ("unknown", "exception", "KeyError: 'unknown'", "ACTIONS[payload"),
    ],
)
def test_a_failure_in_user_code_leaves_the_process_serving(
    worker: TrainingWorker, folder: Path, action: str, kind: str, message: str, line: str
) -> None:
    """J5: with kind, file and line; and the same process does the next task."""
    run(worker, folder)
    pid = worker.pid
    failure = failure_of(worker, folder, action)
    assert (failure.kind, failure.line) == (kind, line_of(line))
    assert failure.file.startswith("worker_module_")
    assert failure.message.startswith(message)
    run(worker, folder)
    assert worker.pid == pid


def test_weights_beyond_the_memory_limit_fail_their_task_only(worker: TrainingWorker, folder: Path) -> None:
    """J5: the memory may be missing before user code runs."""
    run(worker, folder)
    pid = worker.pid
    weights = {"w": torch.zeros(1).expand(3 << 28)}
    assert failure_of(worker, folder, "ok", weights=weights).kind == "out_of_memory"
    run(worker, folder)
    assert worker.pid == pid


@pytest.mark.parametrize(
    ("action", "message", "line"),
    [
        ("exit", "the training worker exited with code 139 in user code", None),
        ("segfault", "the training worker was ended by SIGSEGV in user code", "the line of the crash"),
        ("deep_segfault", "the training worker was ended by SIGSEGV in user code", "the line of the crash"),
    ],
)
def test_the_death_of_the_process_is_a_failure_of_its_task(
    worker: TrainingWorker, folder: Path, action: str, message: str, line: str | None
) -> None:
    """J5: the caller lives on, state is lost, and a new process does the next task."""
    failure = failure_of(worker, folder, action)
    assert (failure.kind, failure.message) == ("worker_died", message)
    assert failure.line == (line_of(line) if line else None)
    assert worker.pid is None
    assert metrics(run(worker, folder))["calls"] == 1


def test_a_kill_from_outside_is_told_apart(worker: TrainingWorker, log: Log, folder: Path) -> None:
    """J5: as the kernel does when memory runs out."""
    log.on = lambda text: os.kill(worker.pid or 0, signal.SIGKILL) if text == "sleeping" else None
    failure = failure_of(worker, folder, "sleep")
    assert failure.kind == "worker_died"
    assert "was ended by SIGKILL (killed from outside, perhaps for using too much memory)" in failure.message
    assert metrics(run(worker, folder))["calls"] == 1


@pytest.mark.parametrize("action", ["sleep", "chatter"])
def test_a_missed_deadline_is_a_failure(worker: TrainingWorker, folder: Path, action: str) -> None:
    """X7: of silent code, and of code that never stops to log."""
    run(worker, folder)
    started, pid = time.monotonic(), worker.pid or 0
    failure = failure_of(worker, folder, action, deadline_seconds=0.5)
    assert (failure.kind, time.monotonic() - started < 20) == ("worker_timeout", True)
    assert "longer than its deadline of 0.5 s" in failure.message
    assert (failure.file or "").startswith("worker_module")
    assert failure.line is not None
    assert not is_alive(pid)


def test_an_abort_ends_the_process(worker: TrainingWorker, log: Log, folder: Path) -> None:
    """J4: at once."""
    run(worker, folder)
    pid = worker.pid or 0
    with pytest.raises(TaskAbortedError, match="the training worker was killed"):
        run(worker, folder, "chatter", aborted=lambda: "still here" in log.texts)
    assert not is_alive(pid)


@pytest.mark.parametrize("then", ["sleep", "return"])
def test_processes_that_user_code_started_end_with_it(
    worker: TrainingWorker, log: Log, folder: Path, then: str
) -> None:
    """J5: a DataLoader's workers and plain children, when the task is killed and at the end of the job."""
    if then == "return":
        run(worker, folder, "children", then=then)
        worker.close()
    else:
        with pytest.raises(TaskAbortedError):
            run(worker, folder, "children", then=then, aborted=lambda: any(map(CHILDREN.match, log.texts)))
    (line,) = [text for text in log.texts if CHILDREN.match(text)]
    pids = [int(pid) for pid in line.split()[1:]]
    assert len(pids) == 3
    assert until(lambda: not any(map(is_alive, pids)))


def test_nothing_outlives_the_callers_death(folder: Path, tmp_path: Path) -> None:
    """J5: no orphan holds the GPU after the site's job process was killed."""
    config = UserCodeConfig(user_module=write_code(folder), code_dir=folder, num_threads=1)
    (tmp_path / "config").write_text(config.model_dump_json(), encoding="utf-8")
    (tmp_path / "task").write_text(task(tmp_path, "children", then="sleep").model_dump_json(), encoding="utf-8")
    arguments = [sys.executable, "-c", PARENT, str(tmp_path / "config"), str(tmp_path / "task")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split() if word.isdigit()]
        assert len(pids) == 4
        assert all(map(is_alive, pids))
        parent.kill()
    assert until(lambda: not any(map(is_alive, pids)))


def test_an_import_failure_is_the_same_every_round(tmp_path: Path) -> None:
    """J5, C6: and names the line."""
    name = write_code(tmp_path, "x = 1\nimport not_installed_anywhere\n")
    worker = TrainingWorker(UserCodeConfig(user_module=name, code_dir=tmp_path), Log())
    for _ in range(2):
        failure = failure_of(worker, tmp_path, "ok")
        assert (failure.kind, failure.file, failure.line) == ("import", f"{name}.py", 2)
        assert worker.pid is None


def test_a_death_at_import_is_a_failure_too(tmp_path: Path) -> None:
    """J5"""
    name = write_code(tmp_path, "import os\nprint('last words')\nos._exit(5)\n")
    worker = TrainingWorker(UserCodeConfig(user_module=name, code_dir=tmp_path), Log())
    worker.start()
    failure = failure_of(worker, tmp_path, "ok")
    assert (failure.kind, failure.message) == ("worker_died", "the training worker exited with code 5 in user code")
    assert failure.traceback == "last words"


def test_closing_twice_and_killing_nothing_are_no_errors(tmp_path: Path) -> None:
    """J4"""
    worker = TrainingWorker(UserCodeConfig(code_dir=tmp_path), Log())
    worker.kill()
    worker.close()
    assert worker.pid is None


@pytest.fixture
def in_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> InProcessWorker:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return InProcessWorker(UserCodeConfig(user_module=write_code(folder), code_dir=folder), Log())


def test_in_process_user_code_cannot_change_the_callers_weights(in_process: InProcessWorker, folder: Path) -> None:
    """M2: isolation none."""
    before = content(WEIGHTS)
    assert metrics(run(in_process, folder, "change"))["calls"] == 1
    assert content(WEIGHTS) == before


@pytest.mark.parametrize(
    ("action", "kind"), [("fail", "exception"), ("sys.exit", "exception"), ("forgotten", "result")]
)
def test_in_process_failures_are_told_the_same(
    in_process: InProcessWorker, folder: Path, action: str, kind: str
) -> None:
    """J5: sys.exit() too ends the task only."""
    assert failure_of(in_process, folder, action).kind == kind
    in_process.close()
    run(in_process, folder)


def test_in_process_an_abort_is_seen_after_the_task(in_process: InProcessWorker, folder: Path) -> None:
    """J4"""
    with pytest.raises(TaskAbortedError):
        run(in_process, folder, aborted=lambda: True)
