"""The dry run: the model is built and trained on one batch, in a child process with limits of memory and time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import ValidationError

from rt_flare.configs import TrainingConfig
from rt_flare.core.durable_io import write_bytes
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.payload import TrainResult
from rt_flare.core.state_dict import StateDict, check_fit, describe
from rt_flare.core.task_runner import SiteTask, UserCodeConfig
from rt_flare.core.training_worker import TaskFailedError, TrainingWorker, Worker
from rt_flare.errors import StateDictError
from rt_flare.jobs.check.finding import CheckFinding, error, warning
from rt_flare.jobs.check.first_batch import FirstBatch
from rt_flare.jobs.check.trial_failures import failure_finding
from rt_flare.jobs.check.trial_steps import TRIAL_KEY, TrialStep

__all__ = ["Trial", "run_trial"]

_MAX_EPOCHS = 2
_SITE = "site-1"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What to try.

    Attributes:
        files: the job's code, by path in its folder, as a site gets it.
        origin: the author's file for each of ``files``, to name in findings.
        user_module: importable name of the module.
        model_path: dotted path of the model.
        model_args: its keyword arguments.
        from_clients: the model gets no weights from the server in the first round.
        training: what to train with.
        adapter: name of the dataset adapter, ``adapter_args`` its options.
        batch: the data; None only builds the model.
        memory_limit_bytes: memory that the child may take beyond what it has at its start; 0 for what is free on this
            machine, or no limit where it has a GPU, whose memory has its own.
        deadline_seconds: time for each of the two steps.
    """

    files: Mapping[str, bytes]
    origin: Mapping[str, Path] = field(default_factory=dict)
    user_module: str = "model_def"
    model_path: str = "model_def.Model"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    from_clients: bool = False
    training: TrainingConfig = field(default_factory=TrainingConfig)
    adapter: str = "manifest"
    adapter_args: Mapping[str, Any] = field(default_factory=dict)
    batch: FirstBatch | None = None
    memory_limit_bytes: int = 0
    deadline_seconds: float = 120.0


def run_trial(trial: Trial, worker_type: type[Worker] = TrainingWorker) -> list[CheckFinding]:
    """Build the model and train it on one batch; return what went wrong.

    Args:
        trial: what to try.
        worker_type: what runs user code.
    """
    try:
        model = ModelSpec(path=trial.model_path, args=dict(trial.model_args))
    except ValidationError as problem:
        found = "; ".join(str(e["msg"]).removeprefix("Value error, ") for e in problem.errors())
        fix = "Give the model's path, and arguments that are JSON values: they travel in the job's configuration."
        return [error("model-args", "", found, "a model's path and arguments", fix, field="model_args")]
    with tempfile.TemporaryDirectory(prefix="rt_flare_check_") as name:
        code_dir = Path(name) / "custom"
        for file, content in trial.files.items():
            write_bytes(code_dir / file, content)
        config = UserCodeConfig(
            user_module="rt_flare.jobs.check.trial_steps",
            code_dir=code_dir,
            memory_limit_bytes=trial.memory_limit_bytes or _free_memory(),
        )
        worker = worker_type(config, lambda level, text: None)  # type: ignore[call-arg]
        try:
            return list(_try(trial, model, worker, Path(name)))
        finally:
            worker.close()


def _try(trial: Trial, model: ModelSpec, worker: Worker, folder: Path) -> Iterator[CheckFinding]:
    weights: StateDict = {}
    if not trial.from_clients:
        built = _step("build", {}, trial, model, worker, folder)
        if isinstance(built, CheckFinding):
            yield built
            return
        weights = built.weights
    if trial.batch is None:
        return
    trained = _step("train", weights, trial, model, worker, folder)
    if isinstance(trained, CheckFinding):
        yield trained
        return
    file = str(next(iter(trial.origin.values()), ""))
    if weights:
        yield from _compare(weights, trained, file)
    expected = trial.batch.num_samples
    if expected is not None and trained.num_samples != expected:
        fix = "Return the number of samples that this site trained on, such as len(dataset): it weights the update."
        found = f"{trained.num_samples} for a batch of {expected} samples"
        yield warning("samples-differ", file, found, str(expected), fix, field="samples")


def _step(
    step: str, weights: StateDict, trial: Trial, model: ModelSpec, worker: Worker, folder: Path
) -> TrainResult | CheckFinding:
    data_root = trial.batch.data_root if trial.batch else folder
    epochs = min(trial.training.local_epochs, _MAX_EPOCHS)
    training = trial.training.model_copy(update={"local_epochs": epochs}).model_dump(exclude={"extra"})
    todo = TrialStep(step=step, user_module=trial.user_module, model=model)
    task = SiteTask(
        dataset={
            "data_root": str(data_root),
            "adapter": trial.adapter,
            "adapter_args": dict(trial.adapter_args),
            "manifest": str(data_root / trial.training.manifest_file),
        },
        env={
            "SITE_NAME": _SITE,
            "JOB_ID": "check",
            "CURRENT_ROUND": 0,
            "NUM_ROUNDS": 1,
            "STATE_DIR": str(folder / "state"),
            **training,
        },
        extra={**trial.training.extra, TRIAL_KEY: todo.model_dump(mode="json")},
        out_dir=folder / "out",
    )
    try:
        outcome = worker.run(task, weights, deadline_seconds=trial.deadline_seconds, aborted=lambda: False)
    except TaskFailedError as problem:
        return failure_finding(step, problem.failure, trial.origin, trial.training.batch_size)
    assert outcome.result is not None
    return outcome.result


def _compare(weights: StateDict, trained: TrainResult, file: str) -> Iterator[CheckFinding]:
    fix = "Return the state dict of the model that was loaded, whole."
    try:
        check_fit(trained.weights, describe(weights), what="the returned state dict")
    except StateDictError as problem:
        yield error("weights-do-not-fit", file, str(problem), "the names, shapes and dtypes that came", fix)
        return
    if all(torch.equal(trained.weights[name], tensor) for name, tensor in weights.items()):
        fix = "Return the weights of the model that was trained; see that the optimizer has its parameters."
        yield warning("weights-unchanged", file, "the same weights as before the training", "trained weights", fix)


def _free_memory() -> int:
    return 0 if torch.cuda.is_available() else int(psutil.virtual_memory().available)
