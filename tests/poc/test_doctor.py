"""The doctor on failures that are made: one deployment, one job after another, each failing in its own way.

Each failure is looked at in the deployment's folder, in the download, and, where a site's report is enough, in the
server's log alone.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.doctor import Finding, diagnose
from rt_flare.jobs.outcome import read_summary
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(420)]

SITES = ["site-1", "site-2"]
MODEL_DEF = """
import os
import signal
import time
from pathlib import Path

import torch
{top}


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        {build}
        self.layer = torch.nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    if env["SITE_NAME"] == "site-2" and env["CURRENT_ROUND"] == {fault_round}:
        {train}
    time.sleep({seconds})
    return {{"weights": payload["initial_weights"], "samples": 5, "metrics": {{"loss": 1.0}}}}
"""

Render = Callable[..., Path]


@pytest.fixture(scope="module")
def poc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocDeployment]:
    with PocDeployment(tmp_path_factory.mktemp("doctor") / "poc", SITES) as deployment:
        yield deployment


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Render a job of two rounds that needs both sites, and fails at ``train`` of site-2, or at ``build``."""

    def make(
        train: str = "pass",
        *,
        top: str = "",
        build: str = "pass",
        fault_round: int = 1,
        seconds: float = 0.0,
        deadline: int = 60,
        **variables: object,
    ) -> Path:
        (tmp_path / "data").mkdir()
        text = MODEL_DEF.format(top=top, build=build, train=train, fault_round=fault_round, seconds=seconds)
        (tmp_path / "model_def.py").write_text(text)
        return render_job(
            out=tmp_path / "job",
            model_def=tmp_path / "model_def.py",
            training=TrainingConfig(),
            federation=FederationConfig(num_rounds=3, min_clients=2, round_timeout_seconds=deadline, num_threads=1),
            sites=SITES,
            data_root=tmp_path / "data",
            client_variables=variables,
        )

    return make


def run_to_failure(poc: PocDeployment, job: Path) -> str:
    job_id = poc.submit(job)
    status = poc.wait_for_job(job_id)
    assert status not in {"FINISHED:COMPLETED"}, status
    return job_id


def roots(poc: PocDeployment, job_id: str, tmp_path: Path, *, num_places: int = 3) -> list[Finding]:
    """The root cause as the deployment's folder, the download and the server's log tell it: the first of them."""
    download = poc.download(job_id, tmp_path / "download")
    places = [poc.folder, download, download / "workspace" / "log.txt"][:num_places]
    seen = [diagnose(place, job_id=job_id if place == poc.folder else None) for place in places]
    for diagnosis in seen:
        print(f"\n{diagnosis.path}: {diagnosis.state} {diagnosis.notes}")
        for finding in diagnosis.findings:
            print(f"  {finding.time} {finding.row and finding.row.id} {finding.describe()[:150]} {finding.log_line}")
    found = [diagnosis.root for diagnosis in seen]
    assert None not in found
    return [root for root in found if root is not None]


def row_ids(findings: list[Finding]) -> set[str | None]:
    return {finding.row.id if finding.row else None for finding in findings}


def line_of(text: str, job: Path) -> int:
    lines = (job / "app" / "custom" / "model_def.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_an_allocation_that_fails_in_user_code(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6: with the line, and the traceback in the server's log alone."""
    job = render("torch.zeros(1 << 34)", WORKER_MEMORY_LIMIT_BYTES=4 << 30)
    found = roots(poc, run_to_failure(poc, job), tmp_path)
    assert row_ids(found) == {"out_of_memory"}
    assert {(f.site, f.round, f.file, f.line) for f in found} == {
        ("site-2", 1, "model_def.py", line_of("torch.zeros", job))
    }
    assert all("torch.zeros(1 << 34)" in (f.traceback or "") and str(tmp_path) not in f.traceback for f in found)  # type: ignore[operator]


def test_a_training_process_that_is_killed(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6: SIGKILL, as the kernel's out-of-memory killer sends it."""
    job = render("os.kill(os.getpid(), signal.SIGKILL)")
    found = roots(poc, run_to_failure(poc, job), tmp_path)
    assert row_ids(found) == {"process_killed"}
    assert {(f.site, f.round) for f in found} == {("site-2", 1)}


def test_a_name_that_is_missing_on_the_server_only(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6: the sites do not build the model."""
    job = render(build="self.extra = nn.Linear(1, 1)")
    found = roots(poc, run_to_failure(poc, job), tmp_path)
    assert row_ids(found) == {"name_not_defined"}
    assert {(f.site, f.file, f.line) for f in found} == {(None, "model_def.py", line_of("nn.Linear(1, 1)", job))}


def test_a_package_that_is_missing_on_the_server_only(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6"""
    job = render(build="import a_package_of_the_sites")
    found = roots(poc, run_to_failure(poc, job), tmp_path)
    assert row_ids(found) == {"import_missing_on_server"}
    assert {(f.site, f.file) for f in found} == {(None, "model_def.py")}


def test_a_shard_without_a_manifest(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6"""
    job = render("open_dataset(payload)", top="from rt_flare import open_dataset")
    found = roots(poc, run_to_failure(poc, job), tmp_path)
    assert row_ids(found) == {"manifest_missing"}
    assert {(f.site, f.file, f.line) for f in found} == {
        ("site-2", "model_def.py", line_of("        open_dataset", job))
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False).returncode:
        pytest.skip("no file system can be mounted here: that needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(poc: PocDeployment, render: Render, small_disk: Path, tmp_path: Path) -> None:
    """J12, X6"""
    job = render(f"Path({str(small_disk)!r}, 'big').write_bytes(bytes(2 << 20))")
    found = roots(poc, run_to_failure(poc, job), tmp_path)
    assert row_ids(found) == {"disk_full"}
    assert {(f.site, f.file, f.line) for f in found} == {("site-2", "model_def.py", line_of("write_bytes", job))}


@pytest.fixture
def expired_url() -> Iterator[str]:
    """A signed URL whose time is over, as a storage answers it."""

    class Storage(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Storage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        query = "X-Amz-Date=20250101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=00"
        yield f"http://127.0.0.1:{server.server_port}/bucket/shard_0002.zip?{query}"
        server.shutdown()


def test_an_expired_url(poc: PocDeployment, render: Render, expired_url: str, tmp_path: Path) -> None:
    """J12, X6, K9: at a site that brings its own URL; the signature is nowhere."""
    own = poc.kit("site-2") / "local" / "rt_flare_data.json"
    own.write_text(json.dumps({"shard": expired_url}))
    try:
        found = roots(poc, run_to_failure(poc, render()), tmp_path)
    finally:
        own.unlink()
    assert row_ids(found) == {"url_expired"}
    assert {(f.site, f.round) for f in found} == {("site-2", 0)}
    assert "X-Amz-Signature" not in repr(found)


def test_a_site_that_hangs(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6: all of its processes are stopped; the server says who gave no answer."""
    job_id = poc.submit(render(seconds=1.0, deadline=20))
    _await_round(poc, job_id, 0)
    for process in poc.site_processes("site-2"):
        process.send_signal(signal.SIGSTOP)
    try:
        assert poc.wait_for_job(job_id) != "FINISHED:COMPLETED"
        found = roots(poc, job_id, tmp_path)
    finally:
        poc.kill_site("site-2")
        poc.start_site("site-2")
        poc.wait_until_registered()
    assert row_ids(found) == {"worker_timeout"}
    assert {f.site for f in found} == {"site-2"}
    assert {f.round for f in found} <= {1, 2}


def test_the_servers_job_process_is_killed(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6: what the sites lose because of it does not win."""
    job_id = poc.submit(render(seconds=2.0))
    _await_round(poc, job_id, 0)
    os.kill(_job_process(poc, "server", job_id).pid, signal.SIGKILL)
    assert poc.wait_for_job(job_id) != "FINISHED:COMPLETED"
    found = roots(poc, job_id, tmp_path, num_places=2)
    assert row_ids(found) == {"process_killed"}
    assert {f.site for f in found} == {None}


def test_a_sites_job_process_is_killed(poc: PocDeployment, render: Render, tmp_path: Path) -> None:
    """J12, X6: NVFlare fails the job; that site's parent process has seen it, and nobody else."""
    job_id = poc.submit(render(seconds=2.0))
    _await_round(poc, job_id, 0)
    os.kill(_job_process(poc, "site-2", job_id).pid, signal.SIGKILL)
    assert poc.wait_for_job(job_id) != "FINISHED:COMPLETED"
    found = roots(poc, job_id, tmp_path, num_places=1)
    assert row_ids(found) == {"process_killed"}
    assert {f.site for f in found} == {"site-2"}


def test_the_whole_server_is_killed(poc: PocDeployment, render: Render) -> None:
    """J12, X6: nobody is left who could say so. While the job ran, nothing was wrong."""
    job_id = poc.submit(render(seconds=2.0))
    _await_round(poc, job_id, 0)
    assert diagnose(poc.folder).root is None
    poc.kill_site("server")
    time.sleep(8)
    diagnosis = diagnose(poc.folder, job_id=job_id)
    for finding in diagnosis.findings:
        print(f"  {finding.time} {finding.row and finding.row.id} {finding.describe()[:150]} {finding.log_line}")
    root = diagnosis.root
    assert root is not None
    assert row_ids([root]) == {"process_killed"}
    assert root.site is None


def _await_round(poc: PocDeployment, job_id: str, number: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        summary = read_summary(poc.run_dir(job_id, "server"))
        if summary is not None and len(summary.rounds) > number:
            return
        time.sleep(0.1)
    raise AssertionError(f"round {number} was not closed within 120 s")


def _job_process(poc: PocDeployment, site: str, job_id: str) -> psutil.Process:
    """The process of NVFlare that runs the job there; the training worker is its child."""
    (process,) = [
        p
        for p in poc.site_processes(site)
        if any(w.endswith("_process") or job_id == w for w in p.cmdline())
        and "rt_flare.core.worker_process" not in p.cmdline()
        and job_id in " ".join(p.cmdline())
    ]
    return process
