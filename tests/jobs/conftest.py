"""A job of NVFlare's own parts, small and without PyTorch: for tests of what runs jobs, not of what they train."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

SERVER = {
    "format_version": 2,
    "server": {"task_request_interval": 0.2},
    "task_data_filters": [],
    "task_result_filters": [],
    "components": [
        {
            "id": "persistor",
            "path": "nvflare.app_common.np.np_model_persistor.NPModelPersistor",
            "args": {"model": [[1.0, 2.0]]},
        },
        {
            "id": "shareable_generator",
            "path": "nvflare.app_common.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator",
            "args": {},
        },
        {
            "id": "aggregator",
            "path": "nvflare.app_common.aggregators.intime_accumulate_model_aggregator."
            "InTimeAccumulateWeightedAggregator",
            "args": {"expected_data_kind": "WEIGHTS"},
        },
        {"id": "summary", "path": "mini.Summary", "args": {"num_rounds": 2}},
    ],
    "workflows": [
        {
            "id": "sag",
            "path": "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather",
            "args": {"min_clients": 2, "num_rounds": 2, "train_timeout": 60, "memory_gc_rounds": 0},
        }
    ],
}
CLIENT = {
    "format_version": 2,
    "executors": [{"tasks": ["train"], "executor": {"path": "mini.Echo", "args": {}}}],
    "task_data_filters": [],
    "task_result_filters": [],
    "components": [],
}
CODE = '''
import json
import os
import time
from pathlib import Path

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.widgets.widget import Widget


def run_dir(fl_ctx):
    return Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))


class Echo(Executor):
    """Adds 1 to every weight and leaves a file, as user code would."""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        number = shareable.get_header(AppConstants.CURRENT_ROUND)
        weights = from_shareable(shareable).data
        self.train(number)
        out = run_dir(fl_ctx) / "out" / f"round_{number}"
        out.mkdir(parents=True)
        (out / "note.txt").write_text(fl_ctx.get_identity_name())
        data = {name: value + 1 for name, value in weights.items()}
        return DXO(DataKind.WEIGHTS, data, {MetaKey.NUM_STEPS_CURRENT_ROUND: 10}).to_shareable()

    def train(self, number):
        TRAIN


class Summary(Widget):
    """Writes the round summary as the job's own writer does."""

    def __init__(self, num_rounds):
        super().__init__()
        self.num_rounds = num_rounds
        self.rounds = []

    def write(self, state, fl_ctx):
        folder = run_dir(fl_ctx) / "files_out"
        folder.mkdir(exist_ok=True)
        document = {"schema": "rt_flare.round_summary/1", "job_id": fl_ctx.get_job_id(), "num_rounds": self.num_rounds,
                    "state": state, "stop_reason": None, "error": None, "rounds": self.rounds}
        part = folder / "part"
        part.write_text(json.dumps(document))
        part.replace(folder / "fl_round_complete.json")

    def handle_event(self, event_type, fl_ctx):
        if event_type == EventType.START_RUN:
            self.write("RUNNING", fl_ctx)
        elif event_type == AppEventType.ROUND_DONE:
            self.rounds.append({"round": len(self.rounds), "verdict": "OK", "started_at": "2025-01-01T00:00:00+00:00",
                                "seconds": 1.0, "num_samples": 20, "contributions": []})
            self.write("RUNNING", fl_ctx)
        elif event_type == EventType.END_RUN:
            self.write("FINISHED" if len(self.rounds) == self.num_rounds else "FAILED", fl_ctx)
            model = run_dir(fl_ctx) / "model_out"
            model.mkdir(exist_ok=True)
            (model / "global_model.pt").write_bytes(b"weights")
'''


@pytest.fixture
def mini_job(tmp_path: Path) -> Callable[..., Path]:
    """Make a job folder for two sites and two rounds; ``train`` is what the sites do in a round, ``top`` what their
    module does when it is imported."""

    def make(train: str = "pass", top: str = "", folder: Path | None = None) -> Path:
        job = folder or tmp_path / "mini_job"
        (job / "app" / "config").mkdir(parents=True)
        (job / "app" / "custom").mkdir()
        meta = {"name": "mini", "resource_spec": {}, "min_clients": 2, "deploy_map": {"app": ["@ALL"]}}
        (job / "meta.json").write_text(json.dumps(meta))
        (job / "app" / "config" / "config_fed_server.json").write_text(json.dumps(SERVER))
        (job / "app" / "config" / "config_fed_client.json").write_text(json.dumps(CLIENT))
        body = textwrap.indent(train, " " * 8).strip()
        (job / "app" / "custom" / "mini.py").write_text(f"{top}\n{CODE.replace('TRAIN', body)}")
        return job

    return make
