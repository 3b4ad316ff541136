"""Templates on a real server and sites, submitted with `nvflare job submit`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rt_flare.builtin_plugin import templates_home
from rt_flare.core.ledger import read_ledger
from rt_flare.jobs.job_folder import create_job, set_in_job
from rt_flare.jobs.poc import PocDeployment

pytestmark = [pytest.mark.poc, pytest.mark.timeout(600)]

SITES = ["site-1", "site-2"]
MODEL_DEF = """
from pathlib import Path

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, 3))


def fl_train_model(payload, out_dir, logger=None):
    assert (Path(payload["dataset"]["data_root"]) / "rows.txt").is_file()
    number = int(payload["env"]["SITE_NAME"][-1])
    weights = {name: tensor + number for name, tensor in payload["initial_weights"].items()}
    return {"weights": weights, "samples": 10 * number, "metrics": {"loss": 0.25}}
"""
FEW = ["NUM_ROUNDS=2", "MIN_CLIENTS=2", "min_clients=2", "NUM_THREADS=1"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with data."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.txt").write_text("1")
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Install the module where the server's and the sites' processes find it; return the settings that name it."""
    package = tmp_path / "installed/our_models"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "readings.py").write_text(MODEL_DEF)
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
    return ["USER_MODULE=our_models.readings", "MODEL_PATH=our_models.readings.Model"]


@pytest.fixture
def poc(tmp_path: Path, installed: list[str]) -> Iterator[PocDeployment]:
    """A server and two sites, whose class_allow_list has rt_flare's prefix."""
    with PocDeployment(tmp_path / "poc", SITES) as deployment:
        yield deployment


def _assert_trained(poc: PocDeployment, job: Path, folder: Path) -> None:
    job_id = poc.submit(job)
    assert poc.wait_for_job(job_id) == "FINISHED:COMPLETED"
    workspace = poc.download(job_id, folder) / "workspace"
    ledger = read_ledger(workspace / "files_out/fl_round_complete.json")
    assert [record.num_samples for record in ledger.rounds] == [30, 30]
    model = torch.load(workspace / "model_out/global_model.pt", weights_only=True)
    torch.testing.assert_close(model["weight"], torch.full((2, 3), 10 / 3))


@pytest.mark.slow
def test_a_job_without_code_runs_under_a_class_allow_list(
    poc: PocDeployment, tmp_path: Path, data: Path, installed: list[str]
) -> None:
    """N1, N2, N7: data and module are at the sites; the same job is refused where the list lacks the prefix."""
    for site in SITES:
        (poc.kit(site) / "local/rt_flare_data.json").write_text(f'{{"data_root": "{data}"}}')
    job = tmp_path / "job"
    create_job("rt_site_data", job, [*FEW, *installed])
    assert not (job / "app/custom").exists()
    _assert_trained(poc, job, tmp_path / "download")
    for site in ("server", *SITES):
        # NVFlare reads the file anew when it has changed.
        path = poc.kit(site) / "local/resources.json"
        path.write_text(path.read_text().replace('"rt_flare."', '"rt_flare.nothing."'))
    assert poc.wait_for_job(poc.submit(job)) != "FINISHED:COMPLETED"


@pytest.mark.slow
@pytest.mark.parametrize("template", ["rt_fedavg", "rt_sag"])
def test_what_nvflares_command_creates_runs(
    template: str, poc: PocDeployment, tmp_path: Path, data: Path, nvflare_cli: Callable[..., Any]
) -> None:
    """N1, N2: created by `nvflare job create -w`, given its code, set, submitted by `nvflare job submit`."""
    create = ["job", "create", "-w", str(templates_home() / template), "-j", "job"]
    (said,) = nvflare_cli(tmp_path, [[*create, "-f", "config_fed_server.conf", "num_rounds=2"]])
    assert said.code == 0, said.text
    (tmp_path / "job/app/custom/model_def.py").write_text(MODEL_DEF)
    set_in_job(tmp_path / "job", [*FEW[1:], f"DATA_ROOT={data}"])
    _assert_trained(poc, tmp_path / "job", tmp_path / "download")
    shutil.rmtree(tmp_path / "download")
