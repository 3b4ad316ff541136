"""The widget that shortens NVFlare's waits, with NVFlare's own communicator."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nvflare
import pytest
from nvflare.apis.controller_spec import Task
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl import wf_comm_server
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.job_config.api import FedJob

from rt_flare.components.controller import RtFedAvg
from rt_flare.components.pace import RoundPace
from rt_flare.errors import ConfigError
from rt_flare.jobs.simulator import run_simulator


class Engine:
    """Keeps the events that are fired."""

    def __init__(self) -> None:
        self.fired: list[tuple[str, Any]] = []

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        self.fired.append((event_type, fl_ctx.get_prop(FLContextKey.EVENT_DATA)))


def _context(*controllers: Any) -> tuple[FLContext, Engine]:
    engine = Engine()
    workflows = [SimpleNamespace(id=f"workflow-{n}", controller=c) for n, c in enumerate(controllers)]
    fl_ctx = FLContext()
    fl_ctx.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
    runner = SimpleNamespace(config=SimpleNamespace(workflows=workflows))
    fl_ctx.set_prop(FLContextKey.RUNNER, runner, private=True, sticky=False)
    return fl_ctx, engine


def _with_communicator(controller: Any) -> Any:
    controller.set_communicator(WFCommServer())
    return controller


@pytest.mark.parametrize("period", [0, -0.1, 1.01, math.nan, math.inf, True, "0.1", None])
def test_a_period_out_of_range_is_refused(period: Any) -> None:
    """T6, C1: the message names the argument and what was found."""
    with pytest.raises(ConfigError, match=r"period_seconds must be a number above 0 and at most 1, found"):
        RoundPace(period)


@pytest.mark.parametrize("version", ["2.8.2", "2.10.0", "3.0.0rc1"])
def test_an_unknown_nvflare_is_refused_by_its_version(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T12: nothing private is touched in a version that nobody has looked at."""
    monkeypatch.setattr(nvflare, "__version__", version)
    with pytest.raises(ConfigError, match=rf"NVFlare 2\.9, found {version}: leave this component out"):
        RoundPace()


def test_a_patch_release_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """T12"""
    monkeypatch.setattr(nvflare, "__version__", "2.9.3")
    assert RoundPace(0.1).period_seconds == 0.1


def test_an_exported_job_carries_the_period(tmp_path: Path) -> None:
    """M12: NVFlare's own FedJob reads it back from the attribute of the same name."""
    job = FedJob(name="exported")
    job.set_app_packages(["rt_flare"])
    job.to_server(RtFedAvg())
    job.to_server(RoundPace(0.1), id="round_pace")
    job.export_job(str(tmp_path))
    server = json.loads(next(tmp_path.rglob("config_fed_server.json")).read_text())
    [component] = [c for c in server["components"] if c["id"] == "round_pace"]
    assert component == {
        "id": "round_pace",
        "path": "rt_flare.components.pace.RoundPace",
        "args": {"period_seconds": 0.1},
    }


def test_it_reaches_the_communicator_of_every_workflow_before_it_starts() -> None:
    """T6"""
    controllers = [_with_communicator(RtFedAvg()), _with_communicator(ScatterAndGather())]
    fl_ctx, engine = _context(*controllers)
    pace = RoundPace(0.02)
    pace.handle_event(EventType.ABOUT_TO_START_RUN, fl_ctx)
    assert {controller.communicator._task_check_period for controller in controllers} == {0.2}
    pace.handle_event(EventType.START_RUN, fl_ctx)
    assert {controller.communicator._task_check_period for controller in controllers} == {0.02}
    assert not engine.fired


def test_nvflare_waits_for_a_task_in_steps_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """T12: the installed NVFlare reads the attribute where the waiting is done."""
    controller = _with_communicator(ScatterAndGather())
    fl_ctx, _ = _context(controller)
    RoundPace(0.03).handle_event(EventType.START_RUN, fl_ctx)
    task, waits = Task(name="train", data=Shareable()), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        task.completion_status = "done"

    monkeypatch.setattr(wf_comm_server, "time", SimpleNamespace(sleep=sleep, time=time.time))
    controller.communicator.wait_for_task(task, Signal())
    assert waits == [0.03]


def test_a_communicator_without_the_period_ends_the_job() -> None:
    """T12: what a handler raises is only logged by NVFlare, so it panics instead."""
    fl_ctx, engine = _context(SimpleNamespace(communicator=SimpleNamespace()))
    RoundPace().handle_event(EventType.START_RUN, fl_ctx)
    [(event, reason)] = engine.fired
    assert event == EventType.FATAL_SYSTEM_ERROR
    assert "workflow 'workflow-0' has no _task_check_period" in reason


@pytest.mark.slow
@pytest.mark.simulator
def test_a_job_under_scatter_and_gather_runs_with_it(tmp_path: Path) -> None:
    """T6: as a job configures it, in NVFlare itself."""
    app = tmp_path / "job" / "app"
    (app / "config").mkdir(parents=True)
    (app / "custom").mkdir()
    (app / "custom" / "model_def.py").write_text(
        "import torch\n\n\ndef make():\n    return torch.nn.Linear(2, 1)\n\n\n"
        "def fl_train_model(payload, out_dir, logger=None):\n"
        "    data = torch.ones(3, 2)\n"
        '    return {"weights": payload["initial_weights"], "samples": len(data)}\n'
    )
    server = {
        "format_version": 2,
        "server": {"task_request_interval": 0.1},
        "workflows": [
            {
                "id": "scatter_and_gather",
                "path": "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather",
                "args": {
                    "min_clients": 2,
                    "num_rounds": 2,
                    "aggregator_id": "aggregator",
                    "persistor_id": "persistor",
                    "shareable_generator_id": "shareable_generator",
                },
            }
        ],
        "components": [
            {"id": "round_pace", "path": "rt_flare.components.pace.RoundPace", "args": {"period_seconds": 0.04}},
            {
                "id": "persistor",
                "path": "rt_flare.components.persistor.CustomPersistor",
                "args": {"model_path": "model_def.make"},
            },
            {"id": "aggregator", "path": "rt_flare.components.aggregator.SampleWeightedAggregator"},
            {
                "id": "shareable_generator",
                "path": "nvflare.app_common.shareablegenerators.full_model_shareable_generator"
                ".FullModelShareableGenerator",
            },
            {"id": "summary", "path": "rt_flare.components.writers.RoundSummaryWriter"},
        ],
    }
    client = {
        "format_version": 2,
        "executors": [
            {
                "tasks": ["train"],
                "executor": {
                    "path": "rt_flare.components.executor.PayloadExecutor",
                    "args": {"model_path": "model_def.make", "data_root": str(tmp_path)},
                },
            }
        ],
        "components": [],
    }
    meta = {"name": "paced", "min_clients": 2, "deploy_map": {"app": ["@ALL"]}, "resource_spec": {}}
    (tmp_path / "job" / "meta.json").write_text(json.dumps(meta))
    (app / "config" / "config_fed_server.json").write_text(json.dumps(server))
    (app / "config" / "config_fed_client.json").write_text(json.dumps(client))
    outcome = run_simulator(tmp_path / "job", tmp_path / "run", ["site-1", "site-2"])
    assert outcome.state == "FINISHED", outcome.error
    assert len(outcome.rounds) == 2
    log = outcome.server_log.read_text()
    assert "workflow scatter_and_gather: tasks are looked at every 0.04 s, not 0.2" in log
