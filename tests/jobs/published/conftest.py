"""A job as the published SDK uploads it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rt_flare.jobs.published import components

MODULE = """\
import json
from pathlib import Path

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = nn.Linear(width, 1)

    def forward(self, x):
        return self.net(x)


def fl_train(model, env, out_dir, logger=None):
    rows = torch.tensor(json.loads((Path(env["DATA_ROOT"]) / "rows.json").read_text()))
    model.train()
    loss = ((model(rows) - rows.sum(1, keepdim=True)) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight -= env["LR"] * weight.grad
    return {"weights": model.state_dict(), "samples": len(rows), "metrics": {"loss": loss.item()}}
"""
_SCRIPTS = {"custom_client_executor.py": "# the executor\n", "custom_persistor.py": "# the persistor\n"}
_NVFLARE = "nvflare.app_common"


def _documents() -> dict[str, dict[str, Any]]:
    arguments = {
        "data_root": "/app/payload",
        "adapter_module": "model_def",
        "model_class": "Model",
        "model_args": {"width": 3},
        "train_fn": "fl_train",
        "validate_fn": "fl_validate",
        "local_epochs": 1,
        "batch_size": 16,
        "learning_rate": 0.01,
        "window": 8,
    }
    executor = {"path": "custom_client_executor.GenericClientExecutor", "args": arguments}
    workflow = {
        "min_clients": 2,
        "num_rounds": 2,
        "start_round": 0,
        "wait_time_after_min_received": 10,
        "train_task_name": "train",
        "train_timeout": 0,
        "aggregator_id": "aggregator",
        "persistor_id": "persistor",
        "shareable_generator_id": "shareable_generator",
    }
    model = {"path": "model_def.Model", "args": {"width": 3}}
    return {
        "client": {
            "format_version": 2,
            "submit_task_result_timeout": 300.0,
            "executors": [{"tasks": ["train", "validate", "submit_model"], "executor": executor}],
            "task_data_filters": [],
            "task_result_filters": [],
            "components": [],
        },
        "server": {
            "format_version": 2,
            "server": {"heart_beat_timeout": 600},
            "task_data_filters": [],
            "task_result_filters": [],
            "components": [
                {"id": "persistor", "path": "custom_persistor.CustomPersistor", "args": {"model": model}},
                {
                    "id": "aggregator",
                    "path": f"{_NVFLARE}.aggregators.intime_accumulate_model_aggregator"
                    ".InTimeAccumulateWeightedAggregator",
                    "args": {"expected_data_kind": "WEIGHTS"},
                },
                {
                    "id": "shareable_generator",
                    "path": f"{_NVFLARE}.shareablegenerators.full_model_shareable_generator"
                    ".FullModelShareableGenerator",
                    "args": {},
                },
            ],
            "workflows": [
                {
                    "id": "scatter_and_gather",
                    "path": f"{_NVFLARE}.workflows.scatter_and_gather.ScatterAndGather",
                    "args": workflow,
                }
            ],
        },
        "meta": {"name": "rows", "resource_spec": {}, "deploy_map": {"app": ["@ALL"]}, "min_clients": 2},
    }


@dataclass
class Published:
    """A job to change before it is written.

    Attributes:
        folder: where it is written.
        documents: its configurations: ``client``, ``server``, ``meta``.
        module: its module.
        module_name: what that is called.
    """

    folder: Path
    documents: dict[str, dict[str, Any]]
    module: str = MODULE
    module_name: str = "model_def"

    @property
    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self.documents["client"]["executors"][0]["executor"]["args"]
        return arguments

    @property
    def workflow(self) -> dict[str, Any]:
        workflow: dict[str, Any] = self.documents["server"]["workflows"][0]
        return workflow

    def write(self) -> Path:
        """As the SDK uploads it."""
        self._write("configs", "scripts", "configs/meta.json")
        (self.folder / "shards").mkdir()
        for number in range(2):
            with zipfile.ZipFile(self.folder / "shards" / f"shard_{number}.zip", "w") as archive:
                archive.writestr("rows.json", json.dumps([[1.0, 2.0, float(number)]] * 5))
        return self.folder

    def write_for_nvflare(self) -> Path:
        """As NVFlare runs it: without shards."""
        self._write("app/config", "app/custom", "meta.json")
        return self.folder

    def _write(self, configs: str, scripts: str, meta: str) -> None:
        files = {
            f"{configs}/config_fed_client.json": json.dumps(self.documents["client"]),
            f"{configs}/config_fed_server.json": json.dumps(self.documents["server"]),
            meta: json.dumps(self.documents["meta"]),
            f"{scripts}/{self.module_name}.py": self.module,
            **{f"{scripts}/{name}": text for name, text in _SCRIPTS.items()},
        }
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """A job for two sites and two rounds, whose scripts pass for those that the SDK ships."""
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in _SCRIPTS.items()}
    monkeypatch.setattr(components, "_SHIPPED", digests)
    return Published(tmp_path / "published", _documents())
