"""Logs, files and figures of all sites of a real deployment, seen with NVFlare's own commands in and after a job.

One deployment for all of them: two sites send, the third one's administrator forbids it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.durable_io import read_json, write_json
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.poc_kits import private_environment
from rt_flare.jobs.render import render_job
from rt_flare.jobs.results import collect_results, downloaded_outcome

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(420)]

SITES = ["site-1", "site-2", "zurich"]
NUM_ROUNDS = 8
MODEL_DEF = """
import time
from pathlib import Path

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    for step in range(3):
        logger.info("step %d, loss %.3f", step, 1 / (1 + step + env["CURRENT_ROUND"]))
        time.sleep(0.7)
    out = Path(out_dir)
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "er" / "checkpoint.pt").write_bytes(bytes(range(256)) * 8192)
    (out / "log.txt").write_text(f"a log of {env['SITE_NAME']}'s own")
    if env["CURRENT_ROUND"] == 0:
        (out / "too_big.bin").write_bytes(bytes(1 << 25))
        (out / "evil\\nname\\x1b[31m").write_text("x")
        (out / "link").symlink_to("/etc/hostname")
    logger(f"checkpoint written in round {env['CURRENT_ROUND']}")
    loss, accuracy = 1 / (2 + env["CURRENT_ROUND"]), 0.5 + env["CURRENT_ROUND"] / 100
    return {"weights": payload["initial_weights"], "samples": 5, "metrics": {"loss": loss, "accuracy": accuracy}}
"""


@dataclass
class Seen:
    """What the commands showed.

    Attributes:
        live_logs: `nvflare job logs --site SITE` while the job ran, by site.
        live_stats: `nvflare job stats` while it ran.
        monitor: all that `nvflare job monitor` printed.
        status: how the job ended.
        logs: `nvflare job logs --site all` after it, as JSON.
        shown_logs: the same, as people see it.
        download: `nvflare job download`.
        folder: the download.
        site_log: site 1's own log.
    """

    live_logs: dict[str, str]
    live_stats: dict[str, Any]
    monitor: str
    status: str
    logs: dict[str, Any]
    shown_logs: str
    download: dict[str, Any]
    folder: Path
    site_log: str


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocDeployment]:
    with PocDeployment(tmp_path_factory.mktemp("site_logs") / "poc", SITES) as poc:
        _forbid_streaming(poc, "zurich")
        yield poc


@pytest.fixture(scope="module")
def seen(deployment: PocDeployment, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder, poc = tmp_path_factory.mktemp("seen"), deployment
    job_id = poc.submit(_job(folder, NUM_ROUNDS))
    monitor = _start(poc, "job", "monitor", job_id, "--interval", "1", "--metric", "verdict")
    live_stats = _await_round(poc, job_id, 2)
    # With --site all NVFlare lists the sites of a running job only if its deploy_map names them.
    live_logs = {
        site: poc.nvflare("job", "logs", job_id, "--site", site)["logs"][site] for site in ("site-1", "site-2")
    }
    status = poc.wait_for_job(job_id)
    shown = monitor.communicate(timeout=60)[0]
    logs = poc.nvflare("job", "logs", job_id, "--site", "all", "--tail", "5000")
    shown_logs = _start(poc, "job", "logs", job_id, "--site", "all", "--tail", "5000").communicate(timeout=60)[0]
    download = poc.nvflare("job", "download", job_id, "-o", str(folder / "download"))
    site_log = (poc.run_dir(job_id, "site-1") / "log.txt").read_text()
    folder = folder / "download" / job_id
    return Seen(live_logs, live_stats, shown, status, logs, shown_logs, download, folder, site_log)


def _job(folder: Path, num_rounds: int) -> Path:
    (folder / "model_def.py").write_text(MODEL_DEF)
    (folder / "data").mkdir()
    return render_job(
        out=folder / "job",
        model_def=folder / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(num_rounds=num_rounds, min_clients=3, round_timeout_seconds=60, num_threads=1),
        sites=SITES,
        data_root=folder / "data",
        server_variables={"MAX_SITE_FILES_BYTES": 1 << 24, "MAX_SITE_LOG_BYTES": 1 << 20},
    )


def _forbid_streaming(poc: PocDeployment, site: str) -> None:
    resources = poc.kit(site) / "local" / "resources.json"
    write_json(resources, read_json(resources) | {"allow_log_streaming": False})
    poc.stop_site(site)
    poc.start_site(site)
    poc.wait_until_registered()


def _start(poc: PocDeployment, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nvflare.cli", *arguments, "--startup-kit", str(poc.admin_kit)],
        cwd=poc.folder,
        env=private_environment(poc.folder, os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _await_round(poc: PocDeployment, job_id: str, round_number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        stats = poc.nvflare("job", "stats", job_id, "--site", "server")
        if f'"round": {round_number}' in json.dumps(stats):
            return stats
    raise AssertionError(f"round {round_number} never showed")


def test_a_site_that_forbids_streaming_takes_part_and_its_log_says_so(seen: Seen) -> None:
    """J8: and nothing of it is sent."""
    assert seen.status == "FINISHED:COMPLETED"
    log = (seen.folder / "workspace" / "files_out" / "client_3.log").read_text()
    assert log == (
        "[rt_flare server] zurich allows no log streaming (allow_log_streaming): its log and files stay there\n"
    )
    assert not (seen.folder / "workspace" / "files_out" / "zurich").exists()


def test_stats_show_round_accuracy_and_loss_while_the_job_runs(seen: Seen) -> None:
    """N3."""
    text = json.dumps(seen.live_stats)
    assert '"accuracy": 0.5' in text
    assert '"loss": 0.' in text
    assert '"verdict": "OK"' in text


def test_monitor_shows_round_accuracy_and_loss(seen: Seen) -> None:
    """N3: under the names that NVFlare's monitor looks for."""
    lines = [line for line in seen.monitor.splitlines() if "round=" in line]
    assert lines, seen.monitor
    assert all("accuracy=0.5" in line and "loss=0." in line for line in lines), lines


def test_the_log_of_a_site_can_be_read_while_the_job_runs(seen: Seen) -> None:
    """N5, J9: steps, loss and checkpoints."""
    for site in ("site-1", "site-2"):
        assert "[user code] step 1, loss 0.500" in seen.live_logs[site]
        assert "checkpoint written in round 0" in seen.live_logs[site]


def test_logs_of_all_sites_can_be_read_after_the_job(seen: Seen) -> None:
    """N5: to the last line that counts, by programs and by people."""
    assert {"server", "site-1", "site-2"} == set(seen.logs["logs"])
    for log in (seen.logs["logs"]["site-1"], seen.logs["logs"]["site-2"], seen.shown_logs):
        assert f"train: round {NUM_ROUNDS - 1} done, 5 samples" in log
        assert f"checkpoint written in round {NUM_ROUNDS - 1}" in log
    headings = [line for line in seen.shown_logs.splitlines() if line.startswith("=====")]
    assert headings == ["===== server =====", "===== site-1 =====", "===== site-2 =====", "===== zurich ====="]


def test_the_logs_stand_in_files_out_under_the_sites_numbers(seen: Seen) -> None:
    """J8: what stands there is the beginning of the site's own log, byte for byte."""
    log = (seen.folder / "workspace" / "files_out" / "client_1.log").read_text()
    assert log
    assert seen.site_log.startswith(log)


def test_download_finds_model_metrics_and_client_logs(seen: Seen) -> None:
    """N4: nothing that it expects is missing."""
    artifacts = seen.download["artifacts"]
    assert seen.download["missing_artifacts"] == []
    assert set(torch.load(artifacts["global_model"], weights_only=True)) == {"layer.weight", "layer.bias"}
    assert read_json(Path(artifacts["metrics_summary"]))["num_rounds_completed"] == NUM_ROUNDS
    assert "step 1, loss 0.500" in Path(artifacts["client_logs"]["site-1"]).read_text()


def test_files_of_user_code_arrive_per_site_and_round(seen: Seen, tmp_path: Path) -> None:
    """J8: in the layout that a run in the simulator gives, under their own names, within the limit."""
    outcome = downloaded_outcome(seen.folder)
    assert outcome.state is JobState.FINISHED
    collect_results(outcome, tmp_path)
    files = tmp_path / "files_out"
    content = bytes(range(256)) * 8192
    arrived = [r for r in range(NUM_ROUNDS) if (files / f"site-2/round_{r}/deep/er/checkpoint.pt").is_file()]
    assert arrived == list(range(7))
    assert all((files / f"site-2/round_{r}/deep/er/checkpoint.pt").read_bytes() == content for r in arrived)
    for site in ("site-1", "site-2"):
        assert (files / site / "round_5" / "log.txt").read_text() == f"a log of {site}'s own"


def test_what_is_too_big_or_has_a_hostile_name_is_left_out_and_said(seen: Seen) -> None:
    """J8: with the reason; a link is not followed."""
    files = seen.folder / "workspace" / "files_out" / "site-1"
    left_out = (files / "LEFT_OUT.txt").read_text().splitlines()
    assert "round_0/evil?name?[31m: its name has control characters, or is not UTF-8" in left_out
    assert f"round_0/too_big.bin: {1 << 25} bytes, over the limit of {1 << 24} bytes per site" in left_out
    assert sorted(path.name for path in (files / "round_0").iterdir()) == ["deep", "log.txt.from_site"]


def test_logs_and_files_of_an_aborted_job_stay(deployment: PocDeployment, tmp_path: Path) -> None:
    """J5: up to the abort, what a site logs about it too."""
    job_id = deployment.submit(_job(tmp_path, 1000))
    _await_round(deployment, job_id, 1)
    deployment.nvflare("job", "abort", job_id, "--force")
    assert deployment.wait_for_job(job_id) == "FINISHED:ABORTED"
    files = deployment.download(job_id, tmp_path / "download") / "workspace" / "files_out"
    for number in (1, 2):
        log = (files / f"client_{number}.log").read_text()
        assert "checkpoint written in round 1" in log
        assert "ABOUT_TO_END_RUN fired" in log
    assert (files / "site-2" / "round_1" / "deep" / "er" / "checkpoint.pt").is_file()
