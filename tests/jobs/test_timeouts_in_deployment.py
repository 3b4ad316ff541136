"""A preset in a real deployment: what the processes of server and site have read while a job runs (T9, T13)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.jobs import poc
from rt_flare.jobs.poc_kits import SERVER
from rt_flare.timeouts.job_placement import JobConfigs, place_in_job
from rt_flare.timeouts.key_map import Place
from rt_flare.timeouts.kit_apply import plan_kit
from rt_flare.timeouts.kit_files import write_comm_config
from rt_flare.timeouts.placement import PlacedSettings, apply_preset

SITES = ("a", "b")
TCP_ONLY = ("sfm_", "streaming_send_timeout")
NOTE = """
from nvflare.fuel.utils.config_service import ConfigService
read = {k: v for k, v in ConfigService.get_var_values().items() if isinstance(v, (int, float, str))}
(run_dir(fl_ctx) / "read.json").write_text(json.dumps(read))
"""


def prepare(kits: Path, placed: PlacedSettings) -> None:
    """Apply the preset as the command line does, and do by hand what it leaves to an operator."""
    for name in (SERVER, *SITES):
        plan = plan_kit(kits / name, placed)
        write_comm_config(plan.kit, plan.content)
        resources = read_json(kits / name / "local" / "resources.json")
        if name == SERVER:
            resources["servers"][0].update(placed.at(Place.SERVER_RESOURCES))
        else:
            resources["client"].update(placed.at(Place.CLIENT_RESOURCES))
        write_json(kits / name / "local" / "resources.json", resources)


def with_preset(job: Path, placed: PlacedSettings) -> Path:
    """Put the preset into a job folder."""
    config = job / "app" / "config"
    files = [config / "config_fed_server.json", config / "config_fed_client.json", job / "meta.json"]
    configs = place_in_job(JobConfigs(*(read_json(file) for file in files)), placed)
    for file, content in zip(files, (configs.server, configs.client, configs.meta), strict=True):
        write_json(file, content)
    return job


@pytest.mark.poc
@pytest.mark.slow
def test_the_processes_of_a_deployment_have_read_the_presets_values(
    tmp_path: Path, mini_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """T9, T13: from `timeouts apply` and a job's files to the processes, through NVFlare's own start and submit."""
    placed = apply_preset("hpc", num_sites=len(SITES), exchange="np")
    provision = poc.provision_kits

    def provision_and_apply(folder: Path, sites: Sequence[str], **settings: Any) -> Path:
        kits = provision(folder, sites, **settings)
        prepare(kits, placed)
        return kits

    monkeypatch.setattr(poc, "provision_kits", provision_and_apply)
    job = with_preset(mini_job(train=NOTE, end=NOTE), placed)
    with poc.PocDeployment(tmp_path / "deployment", SITES) as deployment:
        job_id = deployment.submit(job)
        assert deployment.wait_for_job(job_id) == "FINISHED:COMPLETED"
        at_site = json.loads((deployment.run_dir(job_id, "a") / "read.json").read_text())
        results = deployment.download(job_id, tmp_path / "results")
        at_server = json.loads(next(results.rglob("read.json")).read_text())
        log = deployment.log("server").read_text()
    # What acts on tcp alone is left out of these kits, whose sites connect by grpc.
    left_out = {s.key.key for s in placed.settings if s.key.key.startswith(TCP_ONLY)}
    for found, places, must in (
        (
            at_site,
            {Place.CLIENT_CONFIG, Place.COMM_CONFIG},
            {"get_task_timeout", "submit_task_result_timeout", "max_runner_sync_timeout", "heartbeat_interval"},
        ),
        (at_server, {Place.SERVER_CONFIG, Place.COMM_CONFIG}, {"dead_client_grace_period", "heartbeat_interval"}),
    ):
        expected = {s.key.key: s.value for s in placed.settings if places & set(s.key.places)}
        assert left_out
        assert left_out < expected.keys()
        expected = {key: value for key, value in expected.items() if key not in left_out}
        read = {key: found[key] for key in expected if key in found}
        assert must <= read.keys()
        assert read == {key: expected[key] for key in read}
    assert f"server heartbeat timeout set to {placed.get('resources.heart_beat_timeout')}" in log
