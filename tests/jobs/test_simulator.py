"""Running jobs in NVFlare's simulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rt_flare.core.round_record import RoundRecord
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.simulator import run_simulator

MakeJob = Callable[..., Path]


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.parametrize("name", ["plain", "with space; $(x) & 'quotes'"])
def test_runs_to_the_end_in_any_folder_and_reports_rounds_as_they_close(
    mini_job: MakeJob, tmp_path: Path, name: str
) -> None:
    """N2, J4, J7, J8."""
    seen: list[RoundRecord] = []
    outcome = run_simulator(mini_job(), tmp_path / name, ["site-b", "site-a"], on_round=seen.append)
    assert outcome.state is JobState.FINISHED, outcome.error
    assert [record.round for record in seen] == [0, 1]
    assert list(outcome.site_dirs) == ["site-b", "site-a"]
    assert outcome.server_dir.is_relative_to(tmp_path / name)
    job_dir = tmp_path / "jobs" / "mini"
    written = {path.relative_to(job_dir).as_posix() for path in collect_results(outcome, job_dir)}
    assert written == {
        "files_out/server.log",
        "files_out/client_1.log",
        "files_out/client_2.log",
        "files_out/fl_round_complete.json",
        "files_out/site-a/round_0/note.txt",
        "files_out/site-a/round_1/note.txt",
        "files_out/site-b/round_0/note.txt",
        "files_out/site-b/round_1/note.txt",
        "model_out/global_model.pt",
    }
    assert "site-b" in (job_dir / "files_out" / "client_1.log").read_text()


@pytest.mark.simulator
@pytest.mark.slow
def test_an_error_in_the_sites_code_fails_the_run_with_its_place(mini_job: MakeJob, tmp_path: Path) -> None:
    """J5."""
    job = mini_job(train="if number == 1:\n    raise OSError('disk on fire')")
    line = next(i for i, text in enumerate((job / "app/custom/mini.py").read_text().splitlines(), 1) if "fire" in text)
    outcome = run_simulator(job, tmp_path / "run", ["a", "b"])
    assert outcome.state is JobState.FAILED
    assert outcome.error is not None
    assert outcome.error.site in {"a", "b"}
    assert outcome.error.message == "OSError: disk on fire"
    assert (outcome.error.file, outcome.error.line) == ("mini.py", line)
    assert len(outcome.rounds) == 1


@pytest.mark.slow
@pytest.mark.simulator
def test_a_module_that_cannot_be_imported_fails_the_run_with_its_place(mini_job: MakeJob, tmp_path: Path) -> None:
    """J5: the server cannot start, so nobody wrote a summary."""
    outcome = run_simulator(mini_job(top="import no_such_module"), tmp_path / "run", ["a", "b"])
    assert outcome.state is JobState.FAILED
    assert outcome.error is not None
    assert outcome.error.kind == "import"
    assert "no_such_module" in outcome.error.message
    assert (outcome.error.file, outcome.error.line) == ("mini.py", 1)


@pytest.mark.slow
@pytest.mark.simulator
def test_an_earlier_runs_summary_is_not_taken_for_this_ones(mini_job: MakeJob, tmp_path: Path) -> None:
    """J5."""
    workspace = tmp_path / "run"
    assert run_simulator(mini_job(), workspace, ["a", "b"]).state is JobState.FINISHED
    broken = mini_job(top="import no_such_module", folder=tmp_path / "broken")
    outcome = run_simulator(broken, workspace, ["a", "b"])
    assert outcome.state is JobState.FAILED
    assert outcome.rounds == ()


@pytest.mark.simulator
def test_ctrl_c_ends_every_process_of_the_run(mini_job: MakeJob, tmp_path: Path) -> None:
    """X7: an interrupted run leaves nothing behind."""
    job = mini_job(train="import os, time\n(Path(os.environ['STARTED']) / str(os.getpid())).touch()\ntime.sleep(600)")
    started = tmp_path / "started"
    started.mkdir()
    code = (
        "import sys, pathlib, signal; from rt_flare.jobs.simulator import run_simulator\n"
        # A shell's background jobs, this test among them, ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run_simulator(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), ['a', 'b'])"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(job), str(tmp_path / "run")], env={**os.environ, "STARTED": str(started)}
    )
    deadline = time.monotonic() + 90
    while len(list(started.iterdir())) < 2 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.1)
    workers = [psutil.Process(int(path.name)) for path in started.iterdir()]
    family = {*workers, *psutil.Process(run.pid).children(recursive=True)}
    assert len(workers) == 2
    run.send_signal(signal.SIGINT)
    try:
        assert run.wait(timeout=30) != 0
    finally:
        run.kill()
    assert [process for process in family if process.is_running() and process.status() != "zombie"] == []


@pytest.mark.slow
@pytest.mark.simulator
def test_a_simulator_that_does_not_end_after_the_job_is_ended(mini_job: MakeJob, tmp_path: Path) -> None:
    """X7: the job's own state counts, with a note."""
    job = mini_job(end="import time\ntime.sleep(600)")
    outcome = run_simulator(job, tmp_path / "run", ["a", "b"], linger_seconds=1.0)
    assert outcome.state is JobState.FINISHED
    assert "did not end" in outcome.notes[0]
    assert outcome.seconds < 60


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    """C6."""
    with pytest.raises(JobError, match=r"no meta\.json"):
        run_simulator(tmp_path, tmp_path / "run", ["a"])


@pytest.mark.parametrize("sites", [[], ["a", "a"], ["a", "A"], ["a b"], ["server"], ["a,b"]])
def test_names_that_nvflare_cannot_use_are_refused(tmp_path: Path, sites: list[str]) -> None:
    """C6."""
    with pytest.raises(ConfigError, match="sites"):
        run_simulator(tmp_path, tmp_path / "run", sites)
