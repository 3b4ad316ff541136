"""The process that runs the user's module for the quickstart; its only argument is the request file.

It measures the federated model, and trains and measures the one that it is compared with.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.core.failures import describe_exception
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.round_record import Failure
from rt_flare.core.state_dict import StateDict
from rt_flare.core.task_runner import SiteTask, TaskOutcome, UserCodeConfig
from rt_flare.core.training_worker import InProcessWorker, TaskFailedError
from rt_flare.quickstart.reference import CompareRequest

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Do what the request file says and write the reply file beside it."""
    path = Path(arguments[0])
    request = CompareRequest.model_validate(read_json(path))
    failure: Failure | None = None
    reply: dict[str, Any] = {}
    try:
        reply = _compare(request)
    except TaskFailedError as error:
        failure = error.failure
    except Exception as error:  # noqa: BLE001 - the user's module may raise anything; the parent shows it
        failure = describe_exception(error, code_dir=request.code_dir)
    write_json(path.with_suffix(".reply.json"), {"failure": failure.model_dump() if failure else None, **reply})
    return 0


def _compare(request: CompareRequest) -> dict[str, Any]:
    """Train on the pooled data as the sites did, and measure both models on the held-out data."""
    config = UserCodeConfig(code_dir=request.code_dir, num_threads=request.num_threads, seed=request.seed)
    worker = InProcessWorker(config, _ignore)
    batch_size = request.training.batch_size
    steps_per_round = sum(math.ceil(n / batch_size) for n in request.samples_per_site) * request.training.local_epochs
    federated_steps = steps_per_round * request.num_rounds
    steps_per_epoch = math.ceil(sum(request.samples_per_site) / batch_size)
    # Whole epochs: as near as they come to the steps that the sites made together.
    epochs = max(1, round(federated_steps / steps_per_epoch))

    def run(kind: str, manifest: Path, weights: StateDict) -> TaskOutcome:
        task = _task(request, kind, manifest, epochs)
        return worker.run(task, weights, deadline_seconds=None, aborted=lambda: False)

    federated = run("validate", request.held_out_manifest, _load(request.global_model))
    # The worker has imported the user's module by now: its folder is on the import path.
    torch.manual_seed(request.seed)
    initial = ModelSpec().build().state_dict()
    central = run("train", request.pooled_manifest, initial).result
    assert central is not None
    measured = run("validate", request.held_out_manifest, central.weights)
    return {
        "held_out_accuracy": (federated.received_model_metrics or {}).get("accuracy"),
        "central_accuracy": (measured.received_model_metrics or {}).get("accuracy"),
        "federated_steps": federated_steps,
        "central_steps": epochs * steps_per_epoch,
    }


def _task(request: CompareRequest, kind: str, manifest: Path, epochs: int) -> SiteTask:
    return SiteTask(
        kind=kind,
        dataset={
            "data_root": str(manifest.parent),
            "adapter": "manifest",
            "adapter_args": request.adapter_args,
            "manifest": str(manifest),
        },
        env={
            "SITE_NAME": "central",
            "JOB_ID": "central",
            "CURRENT_ROUND": 0,
            "NUM_ROUNDS": 1,
            "STATE_DIR": str(request.scratch_dir / "state"),
            **request.training.model_dump(exclude={"extra"}),
            "local_epochs": epochs,
            "manifest_file": manifest.name,
        },
        extra=request.training.extra,
        out_dir=request.scratch_dir / "out",
    )


def _load(path: Path) -> StateDict:
    weights: StateDict = torch.load(path, weights_only=True, map_location="cpu")
    return weights


def _ignore(level: str, text: str) -> None:
    """What user code logs here is of no interest to anybody: the sites have logged the same."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
