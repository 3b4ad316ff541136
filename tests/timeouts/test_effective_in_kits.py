"""Every value that a preset has for a startup kit is what NVFlare's own processes then work with (T9, T11, T12, T13).

The kits are NVFlare's own; what belongs to an operator is done as the command line says. The files are loaded as the
site's processes do, and the code that uses the value is run, with stand-ins for the network only.
"""

from __future__ import annotations

import socket
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from nvflare.apis.workspace import Workspace
from nvflare.fuel.f3.comm_config import CommConfigurator
from nvflare.fuel.f3.drivers.socket_conn import SocketConnection
from nvflare.fuel.f3.sfm.heartbeat_monitor import HeartbeatMonitor
from nvflare.fuel.f3.streaming.byte_receiver import RxTask
from nvflare.fuel.f3.streaming.byte_streamer import STREAM_RETRY_WAIT, ByteStreamer
from nvflare.fuel.utils.config_service import ConfigService
from nvflare.private.fed.app import fl_conf, utils
from nvflare.private.fed.app.deployer import server_deployer
from nvflare.private.fed.client import fed_client_base
from nvflare.private.fed.server import job_runner
from nvflare.private.fed.server.fed_server import FederatedServer
from nvflare.private.fed.server.job_runner import JobRunner

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.jobs.poc_kits import SERVER, provision_kits
from rt_flare.timeouts.key_map import Place
from rt_flare.timeouts.kit_apply import plan_kit
from rt_flare.timeouts.kit_files import write_comm_config
from rt_flare.timeouts.placement import PlacedSettings, apply_preset
from rt_flare.timeouts.presets import builtin_presets

NUM_SITES = 144
AT_KITS = [
    (name, setting.key.id)
    for name in builtin_presets()
    for setting in apply_preset(name, num_sites=NUM_SITES).at_the_kit
]
MONITOR = {
    "comm.heartbeat_interval": "interval",
    "comm.sfm_send_stall_timeout": "send_stall_timeout",
    "comm.sfm_close_stalled_connection": "close_stalled_connection",
    "comm.sfm_send_stall_consecutive_checks": "stall_consecutive_checks",
}


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NVFlare's kits of a server and a site."""
    return provision_kits(tmp_path_factory.mktemp("kits"), ["site-1"], class_prefixes=[], server_settings={})


@pytest.fixture(autouse=True)
def _configuration_of_its_own() -> Iterator[None]:
    yield
    ConfigService.reset()
    CommConfigurator.reset()


def prepare(kit: Path, placed: PlacedSettings) -> None:
    """Do to a kit what ``rt-flare timeouts apply`` does, and what it leaves to an operator."""
    fed = kit / "startup" / ("fed_server.json" if kit.name == SERVER else "fed_client.json")
    document = read_json(fed)
    document["servers"][0]["service"]["scheme"] = "tcp"
    write_json(fed, document)
    plan = plan_kit(kit, placed)
    assert not plan.skipped
    write_comm_config(plan.kit, plan.content)
    resources = read_json(kit / "local" / "resources.json.default")
    if kit.name == SERVER:
        resources["servers"][0].update(placed.at(Place.SERVER_RESOURCES))
    else:
        resources["client"].update(placed.at(Place.CLIENT_RESOURCES))
    write_json(kit / "local" / "resources.json", resources)


def start(kit: Path) -> None:
    """What every process of a site does before it opens a connection."""
    ConfigService.reset()
    CommConfigurator.reset()
    ConfigService.initialize(
        section_files={}, config_path=[str(kit)], parsed_args=Namespace(), var_dict={"secure_train": True}
    )


def communication(kit: Path, key: str) -> Any:
    start(kit)
    if key in MONITOR:
        return getattr(HeartbeatMonitor({}), MONITOR[key])
    if key == "comm.streaming_read_timeout":
        return RxTask(1, "server", MagicMock()).timeout
    if key == "comm.streaming_retry_timeout":
        return RxTask(1, "server", MagicMock()).completed_task_ttl - STREAM_RETRY_WAIT
    if key == "comm.streaming_chunk_size":
        return ByteStreamer(MagicMock()).chunk_size
    assert key == "comm.streaming_send_timeout"
    near, far = socket.socketpair()
    with near, far:
        return SocketConnection(near, SimpleNamespace(params={}, driver=MagicMock())).send_timeout


def server_parent(kit: Path, key: str, patch: pytest.MonkeyPatch) -> Any:
    """Start the server's parent up to the objects that take the value."""
    start(kit)
    args = Namespace(job_id=None, workspace=str(kit), config_folder="config", set=[])
    configurator = fl_conf.FLServerStarterConfiger(Workspace(str(kit), "server"), args)
    configurator.configure()
    made = MagicMock()
    if key == "resources.admin_timeout":
        patch.setattr(utils, "FedAdminServer", made)
        utils.create_admin_server(MagicMock(), server_conf=configurator.config_data["servers"][0], args=args)
        return made.call_args.kwargs["timeout"]
    patch.setattr(server_deployer, "FederatedServer", made)
    deployer = SimpleNamespace(
        server_config=configurator.config_data["servers"],
        logger=MagicMock(),
        host=None,
        cmd_modules=None,
        snapshot_persistor=None,
    )
    server_deployer.ServerDeployer.create_fl_server(deployer, args)
    return made.call_args.kwargs[key.removeprefix("resources.")]


def client_parent(kit: Path, patch: pytest.MonkeyPatch) -> Any:
    """Start a site's parent up to its communicator."""
    start(kit)
    args = Namespace(job_id=None, workspace=str(kit), config_folder="config", set=[])
    configurator = fl_conf.FLClientStarterConfiger(Workspace(str(kit), "site-1"), args, kv_list=["uid=site-1"])
    configurator.configure()
    made = MagicMock()
    patch.setattr(fed_client_base, "Communicator", made)
    fed_client_base.FederatedClientBase(
        client_name="site-1",
        client_args=configurator.config_data["client"],
        secure_train=True,
        server_args={},
        retry_timeout=30,
        client_state_processors=[],
        handlers=[],
        compression=None,
        cell=MagicMock(),
        args=args,
    )
    return made.call_args.kwargs["timeout"]


def strict_start(patch: pytest.MonkeyPatch) -> Any:
    """Start a job in the server's parent: how it looks at the sites' answers."""
    runner, context, seen = JobRunner("ws"), MagicMock(), MagicMock(side_effect=InterruptedError)
    engine = context.get_engine.return_value
    engine.start_app_on_server.return_value = ""
    engine.get_job_clients.return_value = {}
    patch.setattr(job_runner, "check_client_replies", seen)
    with pytest.raises(InterruptedError):
        runner._start_run("job-1", MagicMock(), {}, context)
    return seen.call_args.kwargs["strict"]


def previous_report() -> Any:
    """Whether the server's parent reports a job as dead that a site has not reported yet."""
    reported: list[str] = []
    site = SimpleNamespace(name="site-1")
    server = MagicMock()
    server.engine.run_processes = {"job-1": {job_runner.RunProcessKey.PARTICIPANTS: {"token": site}}}
    server.engine.job_runner.get_client_outcome_jobs.return_value = set()
    server._job_reported_clients = {}
    server._notify_dead_job = lambda client, job, reason: reported.append(job)
    request = MagicMock()
    request.get_header.return_value = []
    FederatedServer._sync_client_jobs(server, request, "token")
    return not reported


def what_nvflare_reads(kits: Path, key: str, placed: PlacedSettings, patch: pytest.MonkeyPatch) -> Any:
    place = next(setting.key.places[0] for setting in placed.settings if setting.key.id == key)
    if place is Place.SERVER_ENVIRONMENT:
        for name, value in placed.at(place).items():
            patch.setenv(f"NVFLARE_{name.upper()}", str(value).lower())
        start(kits / SERVER)
        return strict_start(patch) if key == "env.strict_start_job_reply_check" else previous_report()
    if place is Place.SERVER_RESOURCES:
        prepare(kits / SERVER, placed)
        return server_parent(kits / SERVER, key, patch)
    if place is Place.CLIENT_RESOURCES:
        prepare(kits / "site-1", placed)
        return client_parent(kits / "site-1", patch)
    values = []
    for kit in (kits / SERVER, kits / "site-1"):
        prepare(kit, placed)
        values.append(communication(kit, key))
    assert values[0] == values[1]
    return values[0]


@pytest.mark.parametrize(("preset", "key"), AT_KITS, ids=lambda part: part)
def test_nvflare_works_with_the_value_of_the_preset(
    kits: Path, preset: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T9, T11, T12, T13: from the kit's file, or the server's environment, to the code that uses it."""
    placed = apply_preset(preset, num_sites=NUM_SITES)
    assert what_nvflare_reads(kits, key, placed, monkeypatch) == placed.get(key)


@pytest.mark.parametrize("flag", ["strict_start_job_reply_check", "sync_client_jobs_require_previous_report"])
def test_the_safety_flags_work_both_ways(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T11: what the server's parent does follows the environment."""
    for text, expected in (("true", True), ("false", False)):
        ConfigService.reset()
        monkeypatch.setenv(f"NVFLARE_{flag.upper()}", text)
        assert (strict_start(monkeypatch) if flag.startswith("strict") else previous_report()) is expected
