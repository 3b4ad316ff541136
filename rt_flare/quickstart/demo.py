"""The quickstart from data to result: shards, job, simulator, results, and the comparison with central training."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.durable_io import write_bytes
from rt_flare.core.round_record import RoundRecord
from rt_flare.data.manifest import MANIFEST_NAME
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.render import render_job
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.simulator import run_simulator
from rt_flare.quickstart.digits import IMG_SIZE, NUM_CLASSES, pool_shards, write_digits
from rt_flare.quickstart.reference import CompareRequest, Comparison, compare

__all__ = ["QuickstartResult", "run_quickstart"]

_NAME = "digits"
_ADAPTER_ARGS = {"channels": 1}
_LEARNING_RATE = 0.002
# Just above the simulator's own turnaround: a site that asks earlier waits half a second more.
_TASK_REQUEST_INTERVAL = 0.4


@dataclass(frozen=True)
class QuickstartResult:
    """What the quickstart gave.

    Attributes:
        outcome: the federated job.
        comparison: held-out and central accuracies; None when the job did not finish.
        job_dir: folder with ``job/``, ``shards/``, ``files_out/``, ``model_out/`` and ``workspace/``.
        outputs: the job's results, sorted.
        model_def: the module that was trained.
        sites: names of the sites.
    """

    outcome: RunOutcome
    comparison: Comparison | None
    job_dir: Path
    outputs: tuple[Path, ...]
    model_def: Path
    sites: tuple[str, ...]


def run_quickstart(
    out: Path,
    *,
    num_rounds: int = 10,
    num_sites: int = 3,
    seed: int = 0,
    model_def: Path | None = None,
    on_stage: Callable[[str], None] = lambda text: None,
    on_round: Callable[[RoundRecord], None] = lambda record: None,
) -> QuickstartResult:
    """Train a small network on scanned digits at several sites, in NVFlare's simulator.

    Args:
        out: folder for everything; made if missing. A second run in it starts anew and finds the shards unpacked.
        num_rounds: rounds of training.
        num_sites: sites; each gets one shard.
        seed: seed of the split, the initial model and the training.
        model_def: module to train; None takes the package's own and copies it to ``out/model_def.py``.
        on_stage: called with a line of text when something begins.
        on_round: called with every closed round.

    Raises:
        ConfigError: an argument is out of range, or ``out/model_def.py`` was changed and not given as ``model_def``.
        JobError: ``model_def`` cannot be read.
        DataError: scikit-learn is missing.
    """
    out = out.resolve()
    sites = tuple(f"site-{number}" for number in range(1, num_sites + 1))
    module = _module(out, model_def)
    job_dir = out / "jobs" / _NAME
    workspace, data_dir = job_dir / "workspace", out / "data"
    workspace.mkdir(parents=True, exist_ok=True)
    training = TrainingConfig(img_size=IMG_SIZE, num_classes=NUM_CLASSES, learning_rate=_LEARNING_RATE)
    federation = FederationConfig(
        num_rounds=num_rounds,
        min_clients=num_sites,
        deterministic=True,
        seed=seed,
        num_threads=1,
        job_name=_NAME,
        task_request_interval=_TASK_REQUEST_INTERVAL,
    )

    on_stage(f"Sharing out 1,797 scanned digits to {num_sites} sites")
    digits = write_digits(job_dir / "shards", data_dir / "held_out", num_sites=num_sites, seed=seed)
    job = render_job(
        out=job_dir / "job",
        model_def=module,
        training=training,
        federation=federation,
        sites=sites,
        shards_dir=digits.shards_dir,
        data_dir=data_dir,
        adapter_args=_ADAPTER_ARGS,
    )
    on_stage("Starting NVFlare's simulator: one server process, one process and one training worker per site")
    outcome = run_simulator(job, workspace, sites, on_round=on_round)
    outputs = tuple(collect_results(outcome, job_dir))
    result = QuickstartResult(outcome, None, job_dir, outputs, module, sites)
    if outcome.state is not JobState.FINISHED:
        return result

    on_stage("Training the same model on all data in one place, to compare")
    comparison = compare(
        CompareRequest(
            code_dir=job / "app" / "custom",
            scratch_dir=workspace / "central",
            global_model=job_dir / "model_out" / "global_model.pt",
            pooled_manifest=pool_shards(data_dir, num_sites),
            held_out_manifest=digits.held_out / MANIFEST_NAME,
            samples_per_site=digits.num_samples,
            num_rounds=len(outcome.rounds),
            training=training,
            adapter_args=_ADAPTER_ARGS,
            seed=seed,
            num_threads=federation.num_threads,
        ),
        workspace,
    )
    return replace(result, comparison=comparison)


def _module(out: Path, model_def: Path | None) -> Path:
    """The module to train: the one given, else the package's own, copied to where the user can change it."""
    if model_def is not None:
        if not model_def.is_file():
            raise JobError(f"{model_def}: no such file; expected a module with Model and fl_train_model")
        return model_def.resolve()
    own = importlib.resources.files("rt_flare.quickstart").joinpath("model_def.py").read_bytes()
    copy = out / "model_def.py"
    if copy.is_file() and copy.read_bytes() != own:
        raise ConfigError(f"{copy} was changed: train with it by --model-def {copy}, or remove it to start anew")
    write_bytes(copy, own)
    return copy
