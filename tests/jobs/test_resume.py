"""Jobs on this machine that go on: after a cancellation, a kill, a stop, and again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.configs import FederationConfig, ResonTechConfig
from rt_flare.core.ledger import read_ledger
from rt_flare.errors import JobError, ResumeError
from rt_flare.jobs.doctor import diagnose
from rt_flare.jobs.job_status import JobStatus, Owner, Progress, now_text, write_status
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.submission import Submission, write_submission
from rt_flare.jobs.submitted_job import Job
from rt_flare.report.contents import report_contents
from rt_flare.report.run_folder import read_run
from rt_flare.sdk import ResonTech

MODEL_DEF = """
import time
from pathlib import Path

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(40, 5))


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    with (Path(env["STATE_DIR"]) / "rounds.txt").open("a") as file:
        file.write(f"{env['CURRENT_ROUND']} ")
    (Path(out_dir) / "state.txt").write_text((Path(env["STATE_DIR"]) / "rounds.txt").read_text())
    time.sleep(1.2)
    w = payload["initial_weights"]["w"] * 0.9 + torch.randn(40, 5) * 0.1
    return {"weights": {"w": w}, "samples": 3 + len(env["SITE_NAME"]), "metrics": {"loss": float(w.abs().mean())}}
"""


def _status(state: JobState, **changes: object) -> JobStatus:
    base = {"name": "j", "where": "simulator", "submitted_at": now_text(), "updated_at": now_text()}
    return JobStatus.model_validate({**base, "state": state, **changes})


@pytest.mark.parametrize(
    ("status", "num_rounds", "message"),
    [
        (_status(JobState.RUNNING, owner=Owner.this_process("x")), None, "is RUNNING, expected one that has ended"),
        (_status(JobState.PENDING, owner=Owner.this_process("x")), None, "is PENDING, expected one that has ended"),
        (_status(JobState.FINISHED, progress=Progress(round=4, num_rounds=5)), None, "all its 5 rounds are done"),
        (_status(JobState.FINISHED, progress=Progress(round=4, num_rounds=5)), 5, "all its 5 rounds are done"),
        (
            _status(JobState.FAILED, progress=Progress(round=4, num_rounds=9)),
            3,
            "found 3 rounds, expected at least the 5",
        ),
        (_status(JobState.CANCELLED), None, "found 0 server configurations"),
    ],
)
def test_what_cannot_go_on_is_refused(tmp_path: Path, status: JobStatus, num_rounds: int | None, message: str) -> None:
    """X8: a running job, one with nothing left, one whose rounds are more than asked for, one without its job."""
    write_status(tmp_path, status)
    write_submission(tmp_path, Submission(name="j", where="simulator", sites=("a",), submitted_at=now_text()))
    with pytest.raises(ResumeError, match=message):
        Job.open(tmp_path).resume(num_rounds=num_rounds)


def test_a_job_without_a_folder_here_is_refused() -> None:
    """X8: its job folder is what is submitted again."""
    with pytest.raises(JobError, match="expected jobs/NAME to resume from"):
        Job(None, _status(JobState.FAILED)).resume()


@pytest.fixture
def submit(tmp_path: Path) -> Callable[[str], Job]:
    """Submit a job of four rounds to the simulator, deterministic and seeded."""

    def run(name: str) -> Job:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "model_def.py").write_text(MODEL_DEF)
        return ResonTech(ResonTechConfig(storage=str(tmp_path))).rt_submit(
            model=tmp_path / "model_def.py",
            name=name,
            check=False,  # samples are a constant here
            sites=["a", "bb"],
            data_root=tmp_path / "data",
            federation=FederationConfig(num_rounds=4, min_clients=2, num_threads=1, seed=3, deterministic=True),
        )

    return run


def _await_rounds(job: Job, count: int) -> None:
    deadline = time.monotonic() + 90
    while job.refresh().progress.rounds_done < count:
        assert time.monotonic() < deadline
        assert not job.status.state.is_final, job.error
        time.sleep(0.1)


def _models(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((folder / "model_out").glob("*.pt"))}


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.timeout(300)
def test_a_job_in_the_simulator_goes_on_twice_and_ends_as_if_undisturbed(submit: Callable[[str], Job]) -> None:
    """X8: cancelled, resumed, killed with the process that runs it, resumed, extended: one history all along."""
    undisturbed, job = submit("whole"), submit("again")
    assert undisturbed.folder is not None
    assert job.folder is not None
    _await_rounds(job, 1)
    assert job.cancel() is JobState.CANCELLED
    job.resume()
    assert job.progress.rounds_done >= 1
    with pytest.raises(ResumeError, match="expected one that has ended"):
        Job.open(job.folder).resume()
    _await_rounds(job, 3)
    assert job.status.owner is not None
    os.kill(job.status.owner.pid, signal.SIGKILL)
    job = Job.open(job.folder)
    assert job.wait(30) is JobState.FAILED
    assert job.progress.rounds_done >= 3
    job.resume()
    assert job.wait(90) is JobState.FINISHED, job.error
    assert undisturbed.wait(90) is JobState.FINISHED
    assert _models(job.folder) == _models(undisturbed.folder)
    ledger = read_ledger(job.folder / "files_out" / "fl_round_complete.json")
    assert [record.round for record in ledger.rounds] == [0, 1, 2, 3]
    assert ledger.resumed_from == ["simulate_job", "simulate_job"]
    assert [r["round"] for r in json.loads((job.folder / "files_out" / "metrics.json").read_text())["rounds"]] == [
        0,
        1,
        2,
        3,
    ]
    names = {file.name for file in job.results().list()}
    assert {"files_out/run.1/server.log", "files_out/run.2/client_2.log", "files_out/bb/round_0/state.txt"} <= names
    state = (job.folder / "files_out" / "bb" / "round_3" / "state.txt").read_text().split()
    assert sorted(set(state)) == ["0", "1", "2", "3"]
    assert diagnose(job.folder).root is None
    with pytest.raises(ResumeError, match="all its 4 rounds are done"):
        job.resume()
    assert job.resume(num_rounds=5).wait(90) is JobState.FINISHED, job.error
    assert job.progress.rounds_done == 5
    contents = report_contents(read_run(job.folder), seen_from=job.folder)
    assert [row.record.round for row in contents.rounds] == [0, 1, 2, 3, 4]
