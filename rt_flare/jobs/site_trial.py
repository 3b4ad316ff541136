"""What can only be found out by the interpreter that a site trains with: it runs this module and reads the JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from rt_flare.catalog import load_catalog
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.task_runner import SiteTask, UserCodeConfig
from rt_flare.core.training_worker import TaskFailedError, TrainingWorker

__all__ = ["run_trial"]

_DEADLINE_SECONDS = 120.0
_MODULE = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)


def fl_train_model(payload, out_dir, logger=None):
    return {"weights": payload["initial_weights"], "samples": 1, "metrics": {"loss": 0.0}}
"""


def run_trial() -> dict[str, Any]:
    """Load the plugins, look for GPUs, and train one round of nothing in a training worker.

    Returns:
        ``plugins`` (distribution to version, rt_flare's own left out), ``problems`` (texts), ``gpus`` (names),
        ``worker_seconds`` (start to answer), ``worker_failure`` (None, or why there was none).
    """
    catalog = load_catalog()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    started = time.monotonic()
    failure = _train()
    return {
        "plugins": {p.distribution: p.version for p in catalog.plugins if p.distribution != "rt-flare"},
        "problems": [f"{p.distribution}, {p.plugin}: {p.message}" for p in catalog.check()],
        "gpus": gpus,
        "worker_seconds": time.monotonic() - started,
        "worker_failure": failure,
    }


def _train() -> str | None:
    with tempfile.TemporaryDirectory(prefix="rt_flare_trial_") as name:
        folder = Path(name)
        (folder / "trial_model_def.py").write_text(_MODULE)
        config = UserCodeConfig(
            user_module="trial_model_def", code_dir=folder, model=ModelSpec(path="trial_model_def.Model")
        )
        task = SiteTask(
            dataset={"data_root": name, "adapter": "manifest", "adapter_args": {}, "manifest": ""},
            env={
                "SITE_NAME": "trial",
                "JOB_ID": "trial",
                "CURRENT_ROUND": 0,
                "NUM_ROUNDS": 1,
                "STATE_DIR": str(folder / "state"),
            },
            out_dir=folder / "out",
        )
        worker = TrainingWorker(config, lambda level, text: None)
        try:
            weights = {"layer.weight": torch.zeros(1, 2), "layer.bias": torch.zeros(1)}
            worker.run(task, weights, deadline_seconds=_DEADLINE_SECONDS, aborted=lambda: False)
        except TaskFailedError as error:
            return f"{error}\n{error.failure.traceback or ''}".strip()
        finally:
            worker.close()
    return None


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # plugins may print while they are imported
        found = run_trial()
    print(json.dumps(found))
