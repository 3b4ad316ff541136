"""Asking the process that runs the user's module for the quickstart; this side imports no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from rt_flare.configs import TrainingConfig
from rt_flare.core.durable_io import read_json, write_json
from rt_flare.core.round_record import Failure

__all__ = ["CompareRequest", "Comparison", "compare"]

_TIMEOUT_SECONDS = 600.0
_TAIL_CHARACTERS = 2_000


class CompareRequest(BaseModel):
    """Train the user's model on the data of all sites in one place, and measure both models on held-out data.

    Attributes:
        code_dir: folder with the user's module.
        scratch_dir: folder for what user code writes.
        global_model: state dict of the last global model.
        pooled_manifest: manifest over the data of all sites, at the root of that data.
        held_out_manifest: manifest of data that no site has seen, at its root.
        samples_per_site: number of samples of every site.
        num_rounds: rounds that the federated job ran.
        training: what the sites trained with.
        adapter_args: options of the dataset adapter.
        seed: seed of the initial model, which is then the federated job's, and of the training.
        num_threads: CPU threads; 0 leaves PyTorch's default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code_dir: Path
    scratch_dir: Path
    global_model: Path
    pooled_manifest: Path
    held_out_manifest: Path
    samples_per_site: tuple[int, ...]
    num_rounds: int
    training: TrainingConfig
    adapter_args: dict[str, Any]
    seed: int
    num_threads: int = 0


class Comparison(BaseModel):
    """What the comparison gave.

    Attributes:
        failure: why it gave nothing; None when it did.
        held_out_accuracy: of the last global model, in [0, 1]; None without ``accuracy`` among the user's metrics.
        central_accuracy: of the model trained by the same function on all data at once.
        federated_steps: optimizer steps of all sites over all rounds.
        central_steps: optimizer steps of the central training: whole epochs, as near to those as they come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    failure: Failure | None = None
    held_out_accuracy: float | None = None
    central_accuracy: float | None = None
    federated_steps: int = 0
    central_steps: int = 0


def compare(request: CompareRequest, folder: Path) -> Comparison:
    """Train centrally and measure, in a process of its own; ``folder`` is for the exchange of files."""
    path = folder / "compare.json"
    reply = path.with_suffix(".reply.json")
    reply.unlink(missing_ok=True)
    write_json(path, request.model_dump(mode="json"))
    command = [sys.executable, "-P", "-m", "rt_flare.quickstart.reference_process", str(path)]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"the user's module did not come to an end within {_TIMEOUT_SECONDS:g} s"
        return Comparison(failure=Failure(kind="worker_timeout", message=message))
    if not reply.is_file():
        tail = done.stdout.decode(errors="replace")[-_TAIL_CHARACTERS:].strip()
        message = f"the process of the user's module ended with exit code {done.returncode}: {tail}"
        return Comparison(failure=Failure(kind="worker_died", message=message))
    return Comparison.model_validate(read_json(reply))
