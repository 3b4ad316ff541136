"""Jobs on a real server, as any process with a startup kit sees them, sampled every second."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rt_flare.configs import FederationConfig, ResonTechConfig, TrainingConfig
from rt_flare.errors import LinkError
from rt_flare.jobs.job_status import JobStatus
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.owned_processes import OwnedProcesses
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.submitted_job import Job
from rt_flare.sdk import ResonTech

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(300)]

SITES = ["site-1", "site-2", "site-3"]
MODEL_DEF = """
import time

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    time.sleep(2)
    if env["fail"] == f"{env['SITE_NAME']}/{env['CURRENT_ROUND']}":
        raise ValueError("no scanner")
    return {"weights": payload["initial_weights"], "samples": 5, "metrics": {"loss": 1.0}}
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocDeployment]:
    # A site that is lost is noticed within a minute and not within eleven.
    settings = {"heart_beat_timeout": 25}
    with PocDeployment(tmp_path_factory.mktemp("jobs") / "poc", SITES, server_settings=settings) as poc:
        yield poc


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., Job]:
    """Submit a job whose sites train 2 s a round."""

    def run(where: Path | str, *, num_rounds: int = 8, min_clients: int = 2, fail: str = "") -> Job:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "model_def.py").write_text(MODEL_DEF)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # fewer than all sites are enough, on purpose
            return ResonTech(ResonTechConfig(storage=str(tmp_path))).rt_submit(
                model=tmp_path / "model_def.py",
                name="steady",
                check=False,  # samples are a constant here
                sites=SITES if where == "poc" else None,
                data_root=tmp_path / "data",
                training=TrainingConfig(extra={"fail": fail}),
                federation=FederationConfig(
                    num_rounds=num_rounds, min_clients=min_clients, num_threads=1, round_timeout_seconds=120
                ),
                where=where,
            )

    return run


def _until(job: Job, found: Callable[[JobStatus], bool], seconds: float = 120) -> JobStatus:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = job.refresh()
        if found(status):
            return status
        assert not status.state.is_final, status.error
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {job.status}")


def _results(job: Job) -> set[str]:
    return {file.name for file in job.results().list()}


def test_a_job_finishes_with_its_counters_right_at_every_second(
    deployment: PocDeployment, submit: Callable[..., Job]
) -> None:
    """J1 to J6: a site's error is counted while its round is the last one, and not any more when it is well again."""
    job = submit(deployment.folder, num_rounds=3, fail="site-2/1")
    seen: list[JobStatus] = []
    other = Job.attach(job.status.job_id, deployment.admin_kit)
    assert job.wait(150, on_status=seen.append) is JobState.FINISHED
    order = [JobState.PENDING, JobState.RUNNING, JobState.FINISHED]
    assert [order.index(status.state) for status in seen] == sorted(order.index(status.state) for status in seen)
    running = [status.workers for status in seen if status.state is JobState.RUNNING]
    assert {(counts.total, counts.connected, counts.disconnected) for counts in running} == {(3, 3, 0)}
    errors = [counts.errors for counts in running]
    assert 1 in errors
    assert errors[0] == errors[-1] == 0
    assert all(status.reason for status in seen if status.state is JobState.PENDING)
    assert other.refresh().state is JobState.FINISHED
    assert {"files_out/server.log", "files_out/client_3.log", "model_out/global_model.pt"} <= _results(job)


def test_stop_and_cancel(deployment: PocDeployment, submit: Callable[..., Job]) -> None:
    """J4, J5: by another process that has the job's id and a kit only."""
    job = submit(deployment.folder)
    _until(job, lambda status: status.progress.rounds_done >= 1)
    Job.attach(job.status.job_id, deployment.admin_kit).stop("enough")
    assert job.wait(90) is JobState.FINISHED
    assert job.status.stop_reason == "enough"
    assert job.progress.rounds_done < 8

    job = submit(deployment.folder)
    _until(job, lambda status: status.progress.rounds_done >= 1)
    assert Job.attach(job.status.job_id, deployment.admin_kit).cancel(90) is JobState.CANCELLED
    assert job.wait(30) is JobState.CANCELLED
    assert "model_out/model_round_0.pt" in _results(job)


def test_a_job_that_waits_says_for_what(deployment: PocDeployment, submit: Callable[..., Job]) -> None:
    """J2: and is cancelled before it ever ran."""
    deployment.stop_site("site-3")
    try:
        _gone(deployment, "site-3")
        (job := submit(deployment.folder, min_clients=2)).cancel(60)
        with pytest.raises(AssertionError, match="not within"):
            _until(
                waiting := Job.attach(_submit_for_three(job, deployment), deployment.admin_kit),
                lambda status: status.state is not JobState.PENDING,
                8,
            )
        assert "at least 3 needed" in str(waiting.status.reason)
        assert waiting.cancel(60) is JobState.CANCELLED
    finally:
        deployment.start_site("site-3")
        deployment.wait_until_registered()


def test_sites_lost_below_min_clients_fail_the_job_by_name(
    deployment: PocDeployment, submit: Callable[..., Job]
) -> None:
    """J6: first the counters show it, then the job fails."""
    job = submit(deployment.folder, num_rounds=40, min_clients=3)
    _until(job, lambda status: status.progress.rounds_done >= 1)
    deployment.kill_site("site-3")
    try:
        started = time.monotonic()
        status = _until(job, lambda status: status.workers.disconnected == 1, 60)
        print(f"\nshown as lost after {time.monotonic() - started:.0f} s")
        assert (status.workers.total, status.workers.connected) == (3, 2)
        assert job.wait(200) is JobState.FAILED
        print(f"failed after {time.monotonic() - started:.0f} s: {job.error}")
        assert job.error is not None
        assert "site-3" in job.error.describe()
    finally:
        deployment.start_site("site-3")
        deployment.wait_until_registered()


def test_a_server_that_is_killed_and_started_again(deployment: PocDeployment, submit: Callable[..., Job]) -> None:
    """J5, J1: nobody who waits hangs; NVFlare shows the job as running for ever, and it has FAILED."""
    job = submit(deployment.folder, num_rounds=40)
    _until(job, lambda status: status.progress.rounds_done >= 1)
    deployment.kill_site("server")
    started = time.monotonic()
    with pytest.raises(LinkError):
        job.wait(120, silence_seconds=5)
    assert time.monotonic() - started < 60
    assert job.status.state is JobState.RUNNING
    deployment.start_site("server")
    deployment.wait_until_registered()
    status = _until(job, lambda status: status.state.is_final, 60)
    assert status.state is JobState.FAILED
    assert status.error is not None
    assert "started again" in status.error.message


def test_a_deployment_of_the_jobs_own_whose_server_is_killed(submit: Callable[..., Job]) -> None:
    """J5: FAILED within seconds; the finished round stays, and no process does."""
    job = submit("poc")
    status = _until(job, lambda status: status.progress.rounds_done >= 1)
    assert status.owner is not None
    owned = OwnedProcesses(status.owner.mark)
    for process in owned.living():
        if "server_train" in " ".join(process.cmdline()):
            process.kill()
    assert job.wait(90) is JobState.FAILED
    assert "model_out/model_round_0.pt" in _results(job)
    assert owned.living() == []


def _gone(deployment: PocDeployment, site: str) -> None:
    deadline = time.monotonic() + 60
    while site in deployment.registered() and time.monotonic() < deadline:
        time.sleep(0.5)


def _submit_for_three(job: Job, deployment: PocDeployment) -> str:
    assert job.folder is not None
    meta = job.folder / "job" / "meta.json"
    meta.write_text(meta.read_text().replace('"min_clients": 2', '"min_clients": 3'))
    return deployment.submit(job.folder / "job")
