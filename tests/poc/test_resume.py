"""A job whose server is killed in the middle of a round, resumed: it ends as if nothing had happened.

Two sites, four rounds, deterministic aggregation, random generators seeded by site and round: every byte of every
model is compared with that of a run that nobody disturbed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rt_flare.configs import FederationConfig, ResonTechConfig
from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.errors import ResumeError
from rt_flare.jobs.destination import Destination
from rt_flare.jobs.doctor import diagnose
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.submit import submit_job
from rt_flare.jobs.submitted_job import Job
from rt_flare.sdk import ResonTech

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(300)]

SITES = ["site-1", "site-2"]
NUM_ROUNDS = 4
KILLED_ROUND = 2
POINTS = ["after_broadcast", "between_contributions", "before_save", "during_save", "after_save"]
MODEL_DEF = """
from pathlib import Path

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(300, 70))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


def fl_train_model(payload, out_dir, logger=None):
    env, weights = payload["env"], payload["initial_weights"]
    state = Path(env["STATE_DIR"]) / "rounds.txt"
    with state.open("a") as file:
        file.write(f"{env['CURRENT_ROUND']}\\n")
    (Path(out_dir) / "note.txt").write_text(state.read_text())
    moved = weights["w"] * 0.9 + torch.randn(300, 70) * 0.1
    samples = 3 if env["SITE_NAME"] == "site-1" else 7
    loss = float(moved.abs().mean())
    return {"weights": {"w": moved, "steps": weights["steps"] + 1}, "samples": samples, "metrics": {"loss": loss}}


def fl_validate_model(payload, out_dir, logger=None):
    return {"samples": 5, "metrics": {"accuracy": 1.0 / (1 + payload["env"]["CURRENT_ROUND"])}}
"""
KILLER = '''
import json
import os
import signal
import time
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from rt_flare.core import checkpoints


class Killer(FLComponent):
    """Kills its process, and its parent if it is told so, once, at one point of one round."""

    def __init__(self, point, round_number, marker, parent):
        super().__init__()
        self.point, self.round_number, self.marker, self.parent = point, round_number, marker, parent
        self.accepted = 0

    def handle_event(self, event_type, fl_ctx):
        if event_type == EventType.START_RUN and self.point == "during_save":
            self.listen_to_saves()
        if fl_ctx.get_prop(AppConstants.CURRENT_ROUND) != self.round_number:
            return
        if event_type == AppEventType.AFTER_CONTRIBUTION_ACCEPT:
            self.accepted += 1
        if (event_type, self.point) in (
            (EventType.AFTER_PROCESS_TASK_REQUEST, "after_broadcast"),
            (AppEventType.BEFORE_LEARNABLE_PERSIST, "before_save"),
        ) or (self.point == "between_contributions" and self.accepted == 1):
            self.kill()
        if event_type == AppEventType.ROUND_DONE and self.point == "after_save":
            run = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
            while json.loads((run / "model_out" / "global_model.json").read_text())["round"] != self.round_number:
                time.sleep(0.01)
            self.kill()

    def listen_to_saves(self):
        save, killer = checkpoints._save, self

        def watched(path, weights):
            if path.name == f"model_round_{killer.round_number}.pt":
                writes, write = [], checkpoints._HashingFile.write

                def interrupted(file, content):
                    writes.append(write(file, content))
                    if len(writes) == 8:
                        killer.kill()
                    return writes[-1]

                checkpoints._HashingFile.write = interrupted
            return save(path, weights)

        checkpoints._save = watched

    def kill(self):
        if os.path.exists(self.marker):
            return
        Path(self.marker).write_text(self.point)
        if self.parent:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocDeployment]:
    with PocDeployment(tmp_path_factory.mktemp("resume") / "poc", SITES) as poc:
        yield poc


def _build(folder: Path, point: str = "", *, parent: bool = False, round_number: int = KILLED_ROUND) -> Path:
    """Render the job into ``folder``; with a point, its server process kills itself there, once."""
    (folder / "data").mkdir(parents=True)
    (folder / "model_def.py").write_text(MODEL_DEF)
    (folder / "killer.py").write_text(KILLER)
    job = ResonTech(ResonTechConfig(storage=str(folder))).build(
        model=folder / "model_def.py",
        name="steady",
        sites=SITES,
        data_root=folder / "data",
        extra_files=[folder / "killer.py"],
        server_variables={"BEST_METRIC": "accuracy"},
        federation=FederationConfig(
            num_rounds=NUM_ROUNDS,
            min_clients=2,
            num_threads=1,
            seed=11,
            deterministic=True,
            round_timeout_seconds=120,
        ),
    )
    if point:
        path = job / "app" / "config" / "config_fed_server.json"
        document = json.loads(path.read_text())
        marker = str(folder / "killed.txt")
        arguments = {"point": point, "round_number": round_number, "marker": marker, "parent": parent}
        document["components"].append({"id": "killer", "path": "killer.Killer", "args": arguments})
        path.write_text(json.dumps(document))
    return job


def _models(folder: Path) -> dict[str, str]:
    """SHA-256 of every model."""
    files = sorted((folder / "model_out").glob("*.pt"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _ledger(folder: Path) -> Ledger:
    return read_ledger(folder / "files_out" / "fl_round_complete.json")


def _told(ledger: Ledger) -> list[object]:
    """What rounds were, without times."""
    return [
        (r.round, r.verdict, r.num_samples, r.weight_change, r.train_metrics, r.global_metrics, len(r.contributions))
        for r in ledger.rounds
    ]


@pytest.fixture(scope="module")
def undisturbed(deployment: PocDeployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job = submit_job(_build(folder), folder / "jobs" / "steady", Destination("kit", deployment.admin_kit), sites=SITES)
    assert job.wait(120) is JobState.FINISHED
    assert job.folder is not None
    return job.folder


def _await_final(job: Job, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not job.refresh().state.is_final:
        assert time.monotonic() < deadline, job.status
        time.sleep(0.5)


def _restart(deployment: PocDeployment) -> None:
    deadline = time.monotonic() + 60
    while deployment.site_processes("server"):
        assert time.monotonic() < deadline, "the server was not killed"
        time.sleep(0.2)
    deployment.start_site("server")
    deployment.wait_until_registered()


def _is_as_undisturbed(job: Job, undisturbed: Path) -> None:
    assert job.folder is not None
    ledger = _ledger(job.folder)
    assert [record.round for record in ledger.rounds] == list(range(NUM_ROUNDS))
    assert _told(ledger) == _told(_ledger(undisturbed))
    assert _models(job.folder) == _models(undisturbed)
    assert len(ledger.resumed_from) == 1
    assert (job.progress.rounds_done, job.progress.num_rounds) == (NUM_ROUNDS, NUM_ROUNDS)
    assert diagnose(job.folder).root is None


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_server_process(deployment: PocDeployment, undisturbed: Path, tmp_path: Path, point: str) -> None:
    """X8: NVFlare has moved the run into its job store; the next job finds it there."""
    job = submit_job(
        _build(tmp_path, point), tmp_path / "jobs" / "steady", Destination("kit", deployment.admin_kit), sites=SITES
    )
    assert job.wait(120) is JobState.FAILED
    assert (tmp_path / "killed.txt").read_text() == point
    assert job.resume() is job
    assert job.wait(120) is JobState.FINISHED, job.error
    _is_as_undisturbed(job, undisturbed)
    assert job.folder is not None
    notes = job.folder / "files_out" / "site-1"
    assert {path.name for path in notes.glob("round_*")} == {f"round_{n}" for n in range(NUM_ROUNDS)}
    with pytest.raises(ResumeError, match="all its 4 rounds are done, nothing is left"):
        job.resume()


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_and_restarted_server(
    deployment: PocDeployment, undisturbed: Path, tmp_path: Path, point: str
) -> None:
    """X8: NVFlare shows the job as running for ever; the run folder is still in the server's workspace."""
    job = submit_job(
        _build(tmp_path, point, parent=True),
        tmp_path / "jobs" / "steady",
        Destination("kit", deployment.admin_kit),
        sites=SITES,
    )
    _restart(deployment)
    _await_final(job)
    assert job.status.error is not None
    assert "rt-flare resume" in job.status.error.message
    job.resume()
    assert job.wait(120) is JobState.FINISHED, job.error
    _is_as_undisturbed(job, undisturbed)


def test_a_server_process_killed_before_the_last_evaluation(
    deployment: PocDeployment, undisturbed: Path, tmp_path: Path
) -> None:
    """X8, M5: all rounds are complete; what is left to do is to evaluate the last model."""
    job_folder = _build(tmp_path, "after_save", round_number=NUM_ROUNDS - 1)
    destination = Destination("kit", deployment.admin_kit)
    job = submit_job(job_folder, tmp_path / "jobs" / "steady", destination, sites=SITES)
    assert job.wait(120) is JobState.FAILED
    job.resume()
    assert job.wait(120) is JobState.FINISHED, job.error
    _is_as_undisturbed(job, undisturbed)


def test_a_deployment_of_the_jobs_own(undisturbed: Path, tmp_path: Path) -> None:
    """X8: its next deployment is a new one, which knows nothing of the old one but what it is given."""
    job = submit_job(_build(tmp_path, "during_save"), tmp_path / "jobs" / "steady", Destination("poc"), sites=SITES)
    assert job.wait(120) is JobState.FAILED
    job.resume()
    assert job.wait(120) is JobState.FINISHED, job.error
    _is_as_undisturbed(job, undisturbed)
    assert job.folder is not None
    kept = (job.folder / "files_out" / "site-2" / "round_3" / "note.txt").read_text().split()
    assert kept == ["0", "1", "2", "2", "3"]  # STATE_DIR: of the killed round too
