"""Jobs in the simulator, as any process sees them: submitted, sampled every second, stopped, cancelled, killed."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rt_flare.configs import FederationConfig, ResonTechConfig, TrainingConfig
from rt_flare.core.ledger import read_ledger
from rt_flare.errors import JobNotRunningError, JobTimeoutError
from rt_flare.jobs.destination import Destination
from rt_flare.jobs.job_status import JobStatus
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.owned_processes import OwnedProcesses
from rt_flare.jobs.submit import submit_job
from rt_flare.jobs.submitted_job import Job
from rt_flare.sdk import ResonTech

pytestmark = [pytest.mark.simulator, pytest.mark.timeout(240)]

MODEL_DEF = """
import os
import time

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    time.sleep(1.5)
    if env["fail"] == f"{env['SITE_NAME']}/{env['CURRENT_ROUND']}":
        raise ValueError("no scanner")
    return {"weights": payload["initial_weights"], "samples": 5, "metrics": {"loss": 1.0}}
"""


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., Job]:
    """Submit a job of six rounds whose two sites train 1.5 s each."""

    def run(*, fail: str = "", num_rounds: int = 6, min_clients: int = 1) -> Job:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "model_def.py").write_text(MODEL_DEF)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one of two sites is enough, on purpose
            return ResonTech(ResonTechConfig(storage=str(tmp_path))).rt_submit(
                model=tmp_path / "model_def.py",
                name="steady",
                check=False,  # samples are a constant here
                sites=["site-1", "site-2"],
                data_root=tmp_path / "data",
                training=TrainingConfig(extra={"fail": fail}),
                federation=FederationConfig(
                    num_rounds=num_rounds, min_clients=min_clients, num_threads=1, round_timeout_seconds=60
                ),
            )

    return run


def _until(job: Job, found: Callable[[JobStatus], bool], seconds: float = 90) -> JobStatus:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = job.refresh()
        if found(status):
            return status
        assert not status.state.is_final, status.error
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {job.status}")


def _left(job: Job) -> list[psutil.Process]:
    owner = job.status.owner
    assert owner is not None
    return OwnedProcesses(owner.mark).living()


def test_a_job_finishes_with_its_counters_right_at_every_second(mini_job: Callable[..., Path], tmp_path: Path) -> None:
    """J1, J3, J6, C5: never RUNNING before the sites are there; never a count that cannot be; found again by folder."""
    job = submit_job(mini_job(train="import time; time.sleep(2)"), tmp_path / "jobs" / "mini", Destination("simulator"))
    seen: list[JobStatus] = []
    assert Job.open(tmp_path / "jobs" / "mini").wait(120, on_status=seen.append) is JobState.FINISHED
    order = [JobState.PENDING, JobState.RUNNING, JobState.FINISHED]
    assert sorted({order.index(status.state) for status in seen}) == [0, 1, 2]
    assert [order.index(status.state) for status in seen] == sorted(order.index(status.state) for status in seen)
    assert all(status.workers.total == 2 for status in seen)
    running = [status for status in seen if status.state is JobState.RUNNING]
    assert all((status.workers.connected, status.workers.errors) == (2, 0) for status in running)
    assert all(status.reason for status in seen if status.state is JobState.PENDING)
    assert job.progress.rounds_done == 2
    names = {file.name for file in job.results().list()}
    assert {"files_out/server.log", "files_out/client_2.log", "model_out/global_model.pt"} <= names
    assert set(job.logs()) == {"server", "site-1", "site-2"}
    assert _left(job) == []


@pytest.mark.slow
def test_a_graceful_stop_ends_after_the_round(submit: Callable[..., Job]) -> None:
    """J4: FINISHED, with a reason, and with the outputs of every round that began."""
    job = submit()
    _until(job, lambda status: status.progress.rounds_done >= 1)
    Job.open(str(job.folder)).stop("enough")
    assert job.wait(60) is JobState.FINISHED
    assert job.status.stop_reason == "enough"
    assert job.folder is not None
    ledger = read_ledger(job.folder / "files_out" / "fl_round_complete.json")
    assert (ledger.state, ledger.stop_reason) == ("FINISHED", "enough")
    assert 1 <= len(ledger.rounds) < 6
    assert (job.folder / "model_out" / f"model_round_{len(ledger.rounds) - 1}.pt").is_file()
    with pytest.raises(JobNotRunningError, match="is FINISHED already"):
        job.stop()


@pytest.mark.slow
def test_a_cancelled_job_ends_at_once_and_keeps_its_finished_rounds(submit: Callable[..., Job]) -> None:
    """J4, J5."""
    job = submit()
    _until(job, lambda status: status.progress.rounds_done >= 1)
    with pytest.raises(JobTimeoutError, match="it goes on"):
        job.wait(0.1)
    started = time.monotonic()
    assert Job.open(str(job.folder)).cancel() is JobState.CANCELLED
    assert time.monotonic() - started < 15
    assert job.state is JobState.CANCELLED
    assert "model_out/model_round_0.pt" in {file.name for file in job.results().list()}
    assert _left(job) == []


@pytest.mark.slow
def test_a_failed_site_is_counted_and_named(submit: Callable[..., Job]) -> None:
    """J5, J6: the first root error with text, site, round, file and line."""
    job = submit(fail="site-2/1", min_clients=2)
    assert job.wait(120) is JobState.FAILED
    assert job.workers.errors == 1
    assert [site.name for site in job.status.sites if site.error is not None] == ["site-2"]
    error = job.error
    assert error is not None
    assert (error.site, error.round, error.message) == ("site-2", 1, "ValueError: no scanner")
    assert error.file == "model_def.py"
    assert MODEL_DEF.splitlines()[(error.line or 0) - 1].strip().startswith("raise")


@pytest.mark.slow
def test_a_killed_server_fails_the_job(submit: Callable[..., Job]) -> None:
    """J5: within seconds; the finished round stays, and so do the logs."""
    job = submit()
    _until(job, lambda status: status.progress.rounds_done >= 1)
    [simulator] = [p for p in _left(job) if "rt_flare.jobs.simulator_process" in p.cmdline() and p.ppid() == _pid(job)]
    simulator.kill()
    assert job.wait(60) is JobState.FAILED
    assert job.error is not None
    assert {"files_out/server.log", "model_out/model_round_0.pt"} <= {file.name for file in job.results().list()}
    assert _left(job) == []


@pytest.mark.slow
def test_a_killed_owner_is_found_out_by_the_next_who_looks(submit: Callable[..., Job]) -> None:
    """J5: FAILED and not RUNNING for ever; nothing is left running, and the results are there."""
    job = submit()
    _until(job, lambda status: status.progress.rounds_done >= 1)
    os.kill(_pid(job), signal.SIGKILL)
    status = _until(Job.open(str(job.folder)), lambda status: status.state.is_final, 30)
    assert status.state is JobState.FAILED
    assert status.error is not None
    assert "was killed" in status.error.message
    assert "model_out/model_round_0.pt" in {file.name for file in job.results().list()}
    assert _left(job) == []


def _pid(job: Job) -> int:
    assert job.status.owner is not None
    return job.status.owner.pid
