"""Every value that a preset puts into a job is what NVFlare's own processes then work with (T9, T10, T12).

The job's files are written as a user would have them and loaded by NVFlare's configurators; then the code that uses the
value is run, with stand-ins for the network only, and the value is looked for in what it does.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.workspace import Workspace
from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils.config_service import ConfigService
from nvflare.fuel.utils.fobs import FOBSContextKey
from nvflare.fuel.utils.fobs.decomposers import via_downloader
from nvflare.private.fed.client import client_runner
from nvflare.private.fed.client.client_json_config import ClientJsonConfigurator
from nvflare.private.fed.client.client_runner import ClientRunner
from nvflare.private.fed.server.server_json_config import ServerJsonConfigurator

from rt_flare.timeouts.job_placement import JobConfigs, place_in_job
from rt_flare.timeouts.key_map import Place
from rt_flare.timeouts.placement import PlacedSettings, apply_preset
from rt_flare.timeouts.presets import builtin_presets

WORKFLOWS = {
    "sag": "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather",
    "rt": "rt_flare.components.controller.RtFedAvg",
    "fedavg": "nvflare.app_common.workflows.fedavg.FedAvg",
    "cyclic": "nvflare.app_common.workflows.cyclic_ctl.CyclicController",
    "eval": "nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval",
    "eval2": "nvflare.app_common.workflows.cross_site_eval.CrossSiteEval",
    "swarm": "nvflare.app_common.ccwf.swarm_server_ctl.SwarmServerController",
}
SERVER = {
    "format_version": 2,
    "workflows": [
        {"id": name, "path": path, "args": {"num_rounds": 1} if name == "swarm" else {}}
        for name, path in WORKFLOWS.items()
    ],
    "components": [],
}
CLIENT = {
    "format_version": 2,
    "executors": [
        {
            "tasks": ["train"],
            "executor": {
                "path": "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor",
                "args": {"execution_mode": "external_process", "command": "python3 train.py"},
            },
        },
        {
            "tasks": ["validate"],
            "executor": {"path": "rt_flare.components.executor.PayloadExecutor", "args": {}},
        },
        {
            "tasks": ["swarm_*"],
            "executor": {
                "path": "nvflare.app_common.ccwf.swarm_client_ctl.SwarmClientController",
                "args": {"persistor_id": "persistor"},
            },
        },
    ],
    "components": [],
}
META = {"name": "job", "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}
IN_JOB = [
    (name, exchange, setting.key.id)
    for name in builtin_presets()
    for exchange in ("tensor", "np")
    for setting in apply_preset(name, num_sites=50, exchange=exchange).settings
    if any(place.in_job for place in setting.key.places)
    and (exchange == "tensor" or setting.key.id.startswith("np_"))
    and setting.key.places not in ((Place.RECIPE,), (Place.SERVER_COMPONENT,))
]


class Job:
    """A job folder with a preset's values, and NVFlare's processes that load it."""

    def __init__(self, folder: Path, placed: PlacedSettings) -> None:
        self.folder = folder
        config = folder / "ws" / "job-1" / "app_server" / "config"
        config.mkdir(parents=True)
        for name in ("startup", "local"):
            (folder / "ws" / name).mkdir()
        (folder / "ws" / "job-1" / "app_server" / "custom").mkdir()
        configs = place_in_job(JobConfigs(SERVER, CLIENT, META), placed)
        self.meta = configs.meta
        (config / "config_fed_server.json").write_text(json.dumps(configs.server))
        (config / "config_fed_client.json").write_text(json.dumps(configs.client))
        self._config = config
        self._args = Namespace(
            job_id="job-1", workspace=str(folder / "ws"), client_name="site-1", sp_scheme="http", sp_target="x:1"
        )

    def _load(self, configurator: type, name: str) -> Any:
        ConfigService.reset()
        ConfigService.add_section("resources", {"class_allow_list": ["*"]})
        loaded = configurator(
            workspace_obj=Workspace(str(self.folder / "ws"), "site-1"),
            config_file_name=str(self._config / name),
            args=self._args,
            app_root=str(self._config.parent),
            kv_list=["secure_train=true"],
        )
        loaded.configure()
        return loaded.runner_config

    def server(self) -> Any:
        """What the server's job process runs with."""
        return self._load(ServerJsonConfigurator, "config_fed_server.json")

    def workflow(self, name: str) -> Any:
        """A workflow as the server's job process builds it."""
        return self.server().components[name]

    def client(self) -> Any:
        """What a site's job process runs with."""
        return self._load(ClientJsonConfigurator, "config_fed_client.json")

    def runner(self) -> tuple[ClientRunner, MagicMock]:
        """A site's runner and the engine that it talks through."""
        engine = MagicMock()
        return ClientRunner({"is_leaf": True, "fqsn": "site-1"}, self.client(), "job-1", engine), engine

    def executor(self, task: str) -> Any:
        """An executor as a site's job process builds it."""
        return self.client().task_router.route(task)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[Job, PlacedSettings]]:
    """Jobs with the presets for 50 sites, each written once."""
    made: dict[tuple[str, str], tuple[Job, PlacedSettings]] = {}

    def make(name: str, exchange: Any) -> tuple[Job, PlacedSettings]:
        if (name, exchange) not in made:
            placed = apply_preset(name, num_sites=50, exchange=exchange)
            made[name, exchange] = (Job(tmp_path_factory.mktemp("job"), placed), placed)
        return made[name, exchange]

    return make


@pytest.fixture(autouse=True)
def _configuration_of_its_own() -> Iterator[None]:
    yield
    ConfigService.reset()


def sync(job: Job, patch: pytest.MonkeyPatch) -> tuple[float, str]:
    """Start a runner whose server does not answer: the timeout of an attempt, and the final error."""
    runner, engine = job.runner()
    engine.send_aux_request.return_value = {}
    clock = iter(range(0, 10**9, 10**5))
    patch.setattr(client_runner, "time", SimpleNamespace(time=lambda: next(clock), sleep=lambda _: None))
    engine.new_context.return_value.__enter__.return_value = FLContext()
    with pytest.raises(RuntimeError, match="cannot sync") as caught:
        runner.init_run(str(job.folder), Namespace())
    return engine.send_aux_request.call_args.kwargs["timeout"], str(caught.value)


def decomposer(key: str) -> Any:
    return TensorDecomposer() if key.startswith("tensor_") else NumpyArrayDecomposer()


def both(job: Job, read: Callable[[], Any]) -> Any:
    """What is read in the server's job process and in a site's: the same."""
    job.server()
    at_server = read()
    job.client()
    assert read() == at_server
    return at_server


def chunk_size(key: str) -> Any:
    subject = decomposer(key)
    context = via_downloader._DecomposeCtx()
    subject.to_downloadable = lambda items, max_chunk_size, fobs_ctx: max_chunk_size
    return subject._create_downloadable({subject.decompose_ctx_key: context})


def lifetime(key: str, patch: pytest.MonkeyPatch) -> Any:
    made = MagicMock()
    patch.setattr(via_downloader, "ObjectDownloader", made)
    decomposer(key)._create_downloader({FOBSContextKey.CELL: MagicMock()})
    return made.call_args.kwargs["timeout"]


def per_request(key: str) -> Any:
    subject = decomposer(key)
    subject.download = MagicMock(return_value=("", {}))
    ref = {via_downloader._RefKey.REF_ID: "r", via_downloader._RefKey.FQCN: "server"}
    subject._download_from_remote_cell({FOBSContextKey.CELL: MagicMock()}, ref)
    return subject.download.call_args.kwargs["per_request_timeout"]


def grace(job: Job) -> Any:
    job.server()
    communicator = WFCommServer()
    communicator._task_monitor = MagicMock()
    communicator.initialize_run(MagicMock())
    return communicator._dead_client_grace


def lead_time(job: Job, expected: float) -> Any:
    """A dead site counts just after the lead time and not just before."""
    job.server()
    communicator = WFCommServer()
    communicator.get_client_disconnect_time = lambda name: 1.0
    task = SimpleNamespace(targets=["site-1"], client_tasks=[], last_client_task_map={}, schedule_time=0.0)
    task.schedule_time = time.time() - expected + 5
    before = communicator._get_task_dead_clients(task)
    task.schedule_time = time.time() - expected - 5
    after = communicator._get_task_dead_clients(task)
    return expected if (before, after) == (None, ["site-1"]) else (before, after)


RUNNER_KEYS = (
    "get_task_timeout",
    "submit_task_result_timeout",
    "task_check_timeout",
    "task_check_interval",
    "job_heartbeat_interval",
)
WORKFLOW_ATTRIBUTES: dict[str, dict[str, str]] = {
    "workflow.min_clients": {"sag": "_min_clients", "rt": "min_clients", "swarm": "min_clients"},
    "workflow.train_timeout": {"sag": "_train_timeout"},
    "workflow.wait_time_after_min_received": {
        "sag": "_wait_time_after_min_received",
        "rt": "wait_time_after_min_received",
    },
    "workflow.round_timeout_seconds": {"rt": "round_timeout_seconds"},
    "workflow.memory_gc_rounds": {
        "sag": "_memory_gc_rounds",
        "fedavg": "memory_gc_rounds",
        "cyclic": "_memory_gc_rounds",
    },
    "workflow.snapshot_every_n_rounds": {"sag": "_snapshot_every_n_rounds", "cyclic": "_snapshot_every_n_rounds"},
    "workflow.enable_tensor_disk_offload": {
        "sag": "enable_tensor_disk_offload",
        "fedavg": "enable_tensor_disk_offload",
    },
    "workflow.task_check_period": {
        "fedavg": "_task_check_period",
        "eval": "_task_check_period",
        "eval2": "_task_check_period",
    },
    "workflow.submit_model_timeout": {"eval": "_submit_model_timeout", "eval2": "_submit_model_timeout"},
    "workflow.validation_timeout": {"eval": "_validation_timeout", "eval2": "_validation_timeout"},
    "workflow.progress_timeout": {"swarm": "progress_timeout"},
}


def what_nvflare_reads(job: Job, key: str, expected: Any, patch: pytest.MonkeyPatch) -> Any:
    if key in RUNNER_KEYS:
        return getattr(job.runner()[0], key)
    if key == "runner_sync_timeout":
        return sync(job, patch)[0]
    if key == "max_runner_sync_timeout":
        return float(sync(job, patch)[1].split()[-2])
    if key.endswith("_download_chunk_size"):
        return both(job, lambda: chunk_size(key))
    if key.endswith("_min_download_timeout"):
        return both(job, lambda: lifetime(key, patch))
    if key.endswith("_streaming_per_request_timeout"):
        return both(job, lambda: per_request(key))
    if key == "dead_client_grace_period":
        return grace(job)
    if key == "dead_client_check_lead_time":
        return lead_time(job, expected)
    if key == "server.task_request_interval":
        return job.server().task_request_interval
    if key == "meta.min_clients":
        return job.meta["min_clients"]
    if key in WORKFLOW_ATTRIBUTES:
        values = {getattr(job.workflow(name), attribute) for name, attribute in WORKFLOW_ATTRIBUTES[key].items()}
        return values.pop() if len(values) == 1 else values
    name = key.removeprefix("executor.")
    executor = job.executor("swarm_learn" if "ack" in name else "train")
    return getattr(executor, name, None) or getattr(executor, f"_{name}")


@pytest.mark.parametrize(("preset", "exchange", "key"), IN_JOB, ids=lambda part: part)
def test_nvflare_works_with_the_value_of_the_preset(
    jobs: Callable[[str, str], tuple[Job, PlacedSettings]],
    preset: str,
    exchange: str,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T9, T10, T12: from the job's file to the code that uses it."""
    job, placed = jobs(preset, exchange)
    expected = placed.get(key)
    assert expected is not None
    assert what_nvflare_reads(job, key, expected, monkeypatch) == expected


def test_the_pace_component_gets_its_period(jobs: Callable[[str, str], tuple[Job, PlacedSettings]]) -> None:
    """T6: the server builds it with the preset's value."""
    pytest.importorskip("rt_flare.components.pace", reason="the component is not part of this version")
    job, placed = jobs("low_latency", "tensor")
    assert job.server().components["round_pace"].period_seconds == placed.get("component.task_check_period_seconds")


def test_the_swarm_recipe_hands_its_round_timeout_to_the_sites(tmp_path: Path) -> None:
    """T10: both acknowledgement timeouts of the sites come from it."""
    from nvflare.app_opt.pt.recipes.swarm import SwarmLearningRecipe

    script = tmp_path / "train.py"
    script.write_text("")
    timeout = apply_preset("swarm", num_sites=3).get("recipe.round_timeout")
    recipe = SwarmLearningRecipe(
        name="swarm",
        model={"class_path": "torch.nn.Linear", "args": {"in_features": 2, "out_features": 2}},
        num_rounds=1,
        min_clients=3,
        train_script=str(script),
        round_timeout=timeout,
    )
    recipe.export(str(tmp_path / "out"))
    client = json.loads(next((tmp_path / "out").rglob("config_fed_client.json")).read_text())
    args = next(e["executor"]["args"] for e in client["executors"] if "Swarm" in e["executor"]["path"])
    assert args["learn_task_ack_timeout"] == args["final_result_ack_timeout"] == timeout


def test_every_key_of_every_preset_is_covered() -> None:
    """T12: by this file, or by the one about kits."""
    here = {key for _, _, key in IN_JOB} | {"component.task_check_period_seconds", "recipe.round_timeout"}
    for name in builtin_presets():
        for exchange in ("tensor", "np"):
            for setting in apply_preset(name, num_sites=50, exchange=exchange).settings:
                in_job = any(place.in_job for place in setting.key.places)
                assert (setting.key.id in here) == in_job, setting.key.id
