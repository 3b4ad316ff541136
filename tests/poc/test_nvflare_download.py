"""A job that NVFlare's own commands submit and download is read by ours: report, doctor, results (N2, N4, X6, X10)."""

from __future__ import annotations

import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rt_flare.cli.app import main
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(420)]

SITES = ["site-1", "site-2"]
MODEL_DEF = """
from pathlib import Path
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

def fl_train_model(payload, out_dir, logger=None):
    number, site = payload["env"]["CURRENT_ROUND"], payload["env"]["SITE_NAME"]
    logger.info("training of <b>%s</b>", site)
    if payload["env"]["fails"] and number == 1:
        raise FileNotFoundError(payload["dataset"]["data_root"] + "/lost.png")
    Path(out_dir, "notes.txt").write_text(f"{site} in round {number}")
    weights = {name: tensor + 1 for name, tensor in payload["initial_weights"].items()}
    return {"weights": weights, "samples": 3 if site == "site-1" else 5, "metrics": {"loss": 1.0 / (number + 1)}}

def fl_validate_model(payload, out_dir, logger=None):
    return {"metrics": {"accuracy": 0.5 + payload["env"]["CURRENT_ROUND"] / 10}}
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    text: str


@dataclass(frozen=True)
class Downloads:
    """Folders that `nvflare job download` wrote, of a job that went well and of one that failed."""

    good: Path
    failed: Path


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Downloads]:
    """Submit, wait for and download both, with NVFlare's commands alone."""
    folder = tmp_path_factory.mktemp("nvflare")
    (folder / "data").mkdir()
    (folder / "model_def.py").write_text(MODEL_DEF)
    found = {}
    with PocDeployment(folder / "poc", SITES) as poc:
        for name, fails, status in (("good", False, "FINISHED:COMPLETED"), ("failed", True, "FINISHED:")):
            job = render_job(
                out=folder / name,
                model_def=folder / "model_def.py",
                training=TrainingConfig(extra={"fails": fails}),
                federation=FederationConfig(
                    num_rounds=2, min_clients=2, job_name=name, round_timeout_seconds=120, num_threads=1
                ),
                sites=SITES,
                data_root=folder / "data",
            )
            job_id = poc.nvflare("job", "submit", "-j", str(job))["job_id"]
            assert poc.nvflare("job", "wait", job_id, timeout_seconds=200)["status"].startswith(status)
            poc.nvflare("job", "download", job_id, "-o", str(folder / "download"))
            found[name] = folder / "download" / job_id
    return Downloads(**found)


@pytest.fixture
def rt_flare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run ``rt-flare`` in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["rt-flare", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGTERM, before)
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out + said.err)

    return run


def test_a_download_has_a_report(downloads: Downloads, rt_flare: Callable[..., Said], tmp_path: Path) -> None:
    """X10, N4: with curves, both sites, their files, the configuration and what they run on; text stays text."""
    done = rt_flare("report", downloads.good, "--out", tmp_path / "report.html")
    assert done.code == 0, done.text
    page = (tmp_path / "report.html").read_text()
    for part in ("FINISHED", "site-1", "site-2", "accuracy", "loss", "model_round_1.pt", "notes.txt", "NUM_ROUNDS"):
        assert part in page, part
    assert "<b>site-1</b>" not in page
    shown = rt_flare("report", downloads.good, "--format", "md")
    assert shown.code == 0, shown.text
    assert "| site-2 |" in shown.text
    told = rt_flare("report", downloads.good, "--format", "json")
    assert json.loads(told.text)["exit_code"] == 0


def test_the_report_of_a_failed_one_says_why(
    downloads: Downloads, rt_flare: Callable[..., Said], tmp_path: Path
) -> None:
    """X10, J5: the root cause with file and line, and the round that was complete."""
    done = rt_flare("report", downloads.failed, "--out", tmp_path / "failed.html")
    assert done.code == 0, done.text
    page = (tmp_path / "failed.html").read_text()
    assert "FileNotFoundError" in page
    assert "model_def.py:14" in page
    assert "data_root/lost.png" in page


def test_the_doctor_finds_the_cause_in_a_download(downloads: Downloads, rt_flare: Callable[..., Said]) -> None:
    """X6, J12: and none where there is none."""
    done = rt_flare("doctor", downloads.failed)
    assert done.code == 1, done.text
    assert "model_def.py:14" in done.text
    assert "round 1" in done.text
    document = json.loads(rt_flare("doctor", downloads.failed, "--format", "json").text)
    assert "lost.png" in json.dumps(document)
    assert rt_flare("doctor", downloads.good).code == 0


def test_the_results_of_a_download_are_listed_read_and_copied(
    downloads: Downloads, rt_flare: Callable[..., Said], tmp_path: Path
) -> None:
    """J13, J8, J11: as those of a job that we submitted."""
    listed = json.loads(rt_flare("results", downloads.good, "--format", "json").text)["data"]["files"]
    names = {file["name"] for file in listed}
    assert names >= {
        "files_out/server.log",
        "files_out/client_1.log",
        "files_out/client_2.log",
        "files_out/metrics.json",
        "files_out/fl_round_complete.json",
        "files_out/environment.json",
        "files_out/site-2/round_1/notes.txt",
        "model_out/global_model.pt",
        "model_out/model_round_0.pt",
    }
    assert rt_flare("results", downloads.good, "files_out/site-2/round_1/notes.txt").text == "site-2 in round 1\n"
    done = rt_flare("results", downloads.good, "model_out/global_model.pt", "--download", "model.pt")
    assert done.code == 0, done.text
    assert (tmp_path / "model.pt").stat().st_size > 500
    assert rt_flare("results", downloads.good, "files_out/client_2.log").text.count("training of <b>site-2</b>") == 2
    assert rt_flare("results", downloads.good, "../model_def.py").code == 1
    failed = rt_flare("results", downloads.failed, "--format", "json")
    assert "model_out/model_round_0.pt" in failed.text
