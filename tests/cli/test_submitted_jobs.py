"""``rt-flare submit``, ``status``, ``watch``, ``stop``, ``cancel``, ``resume``, ``logs``, ``results``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from rt_flare.cli.app import main
from rt_flare.cli.job_view import job_view, print_status
from rt_flare.core.round_record import Failure
from rt_flare.jobs.job_status import JobStatus, Owner, Progress, SiteStatus, now_text, write_status
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.submission import Submission, write_submission
from rt_flare.jobs.worker_counts import WorkerCounts


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


RtFlare = Callable[..., Said]


@pytest.fixture
def rt_flare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RtFlare:
    """Run ``rt-flare`` with these arguments in ``tmp_path``, in this process: a new one costs a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["rt-flare", *arguments])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGTERM, before)
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return run


def _status(**changes: object) -> JobStatus:
    base = {"name": "digits", "where": "simulator", "submitted_at": now_text(), "updated_at": now_text()}
    return JobStatus.model_validate({**base, **changes})


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A folder of a job that has failed, with results."""
    folder = tmp_path / "jobs" / "digits"
    error = Failure(kind="exception", message="ValueError: [bold]x", site="b", round=1, file="model_def.py", line=3)
    sites = (SiteStatus(name="a", connected=True, seen=True), SiteStatus(name="b", seen=True, error=error))
    counts = WorkerCounts(total=2, connected=1, errors=1, disconnected=1)
    write_status(folder, _status(state=JobState.FAILED, error=error, sites=sites, workers=counts))
    write_submission(folder, Submission(name="digits", where="simulator", sites=("a", "b"), submitted_at=now_text()))
    out = folder / "files_out"
    out.mkdir()
    (out / "server.log").write_text("one\ntwo\nthree\n")
    (out / "client_2.log").write_text("of b\n")
    (out / "metrics.json").write_text("{}\n")
    return folder


@pytest.mark.parametrize("name", ["digits", "jobs/digits"])
def test_a_failed_job_is_shown_with_its_root_cause_and_exit_code_1(rt_flare: RtFlare, ended: Path, name: str) -> None:
    """J5, J6, N6: found by its name or folder; text from a site is text."""
    done = rt_flare("status", name)
    assert done.returncode == 1
    assert "FAILED: 1/2 connected, 1 with errors, 1 disconnected" in done.stdout
    assert "Root cause: b, round 1: ValueError: [bold]x (model_def.py:3)" in done.stdout


def test_json_is_nvflares_envelope(rt_flare: RtFlare, ended: Path) -> None:
    """N6."""
    done = rt_flare("status", "digits", "--format", "json")
    document = json.loads(done.stdout)
    assert (document["schema_version"], document["status"], document["exit_code"]) == ("1", "error", 1)
    assert document["data"]["state"] == "FAILED"
    assert document["data"]["workers"] == {
        "total": 2,
        "connected": 1,
        "errors": 1,
        "disconnected": 1,
        "healthy": False,
    }
    assert done.returncode == 1


def test_logs_and_results_of_an_ended_job(rt_flare: RtFlare, ended: Path, tmp_path: Path) -> None:
    """J13, N5, K3: listed, read, cut, downloaded; nothing outside of the results."""
    assert rt_flare("logs", "digits", "--tail", "2").stdout == "two\nthree\n"
    assert rt_flare("logs", "digits", "--site", "b").stdout == "of b\n"
    listed = json.loads(rt_flare("results", "digits", "--format", "json").stdout)["data"]["files"]
    assert [file["name"] for file in listed] == [
        "files_out/client_2.log",
        "files_out/metrics.json",
        "files_out/server.log",
    ]
    assert rt_flare("results", "digits", "files_out/metrics.json").stdout == "{}\n"
    rt_flare("results", "digits", "files_out/server.log", "--download", "copy.txt")
    assert (tmp_path / "copy.txt").read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["status", "nowhere"], 4, "nowhere: found no status.json"),
        (["logs", "digits", "--site", "c"], 4, "no log of 'c' here, found: server, b"),
        (["results", "digits", "status.json"], 4, "below files_out or model_out"),
        (["results", "digits", "files_out/../status.json"], 4, "below files_out or model_out"),
        (["results", "digits", "files_out/none"], 4, "no result 'files_out/none'"),
        (["results", "digits", "--url"], 4, "need FILE"),
        (["results", "digits", "files_out/server.log", "--url"], 4, "no signed URLs"),
        (["stop", "digits"], 1, "is FAILED already"),
        (["cancel", "digits"], 1, "is FAILED already"),
        (["resume", "digits"], 1, "found 0 server configurations"),
        (["resume", "nowhere"], 4, "nowhere: found no status.json"),
        (["resume", "digits", "--rounds", "0"], 4, "--rounds"),
        (["submit", "nowhere"], 4, "no meta.json"),
        (["submit", "mini_job", "--where", "https://example.com"], 4, "expected simulator, poc"),
        (["submit", "mini_job", "--where", "mini_job"], 4, "no startup kit of an administrator"),
        (["watch", "digits", "--kit", "mini_job"], 4, "no startup kit of an administrator"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    rt_flare: RtFlare, ended: Path, mini_job: Path, arguments: list[str], code: int, text: str
) -> None:
    """N6."""
    done = rt_flare(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_waiting_ends_with_exit_code_3_and_the_job_goes_on(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N6: no poller hangs."""
    folder = tmp_path / "jobs" / "long"
    running = _status(name="long", state=JobState.RUNNING, workers=WorkerCounts(total=1, connected=1))
    write_status(folder, running.model_copy(update={"owner": Owner.this_process("none")}))
    done = rt_flare("watch", "long", "--timeout", "0.2")
    assert done.returncode == 3
    assert "it goes on" in done.stderr


def test_a_shell_completes_commands_and_the_names_of_jobs(ended: Path, tmp_path: Path) -> None:
    """N6."""

    def complete(words: str, number: int) -> set[str]:
        code = "from rt_flare.cli.app import main; main()"
        environment = {**os.environ, "_RT_FLARE_COMPLETE": "complete_bash", "COMP_WORDS": words}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**environment, "COMP_CWORD": str(number)},
            capture_output=True,
            text=True,
            check=False,
        )
        return set(done.stdout.split())

    assert {"status", "stop"} <= complete("rt-flare st", 1)
    assert complete("rt-flare status dig", 2) == {"digits"}


def test_a_terminal_gets_a_table_and_a_pipe_a_line_per_change() -> None:
    """J2, J3, N6: PENDING for over a minute says for how long, and why."""
    pending = _status(submitted_at="2024-01-01T00:00:00.000+00:00", reason="waits for site-2", min_clients=2)
    running = _status(
        state=JobState.RUNNING,
        workers=WorkerCounts(total=2, connected=2),
        sites=(SiteStatus(name="site-1", connected=True, seen=True), SiteStatus(name="site-2", seen=True)),
        progress=Progress(round=1, num_rounds=4, metrics={"loss": 0.5}),
    )
    pipe = Console(width=200, force_terminal=False)
    with pipe.capture() as capture, job_view(pipe) as view:
        for status in (pending, pending, running, running):
            view.show(status)
    assert capture.get().splitlines() == [
        "PENDING: 0/0 connected, waits for site-2",
        "RUNNING: 2/2 connected, 2 of 4 rounds, loss 0.5000",
    ]
    with pipe.capture() as capture:
        print_status(pipe, pending)
    assert "waits for site-2 (for " in capture.get()
    terminal = Console(width=100, force_terminal=True)
    with terminal.capture() as capture, job_view(terminal) as view:
        view.show(running)
    assert "site-2" in capture.get()
    assert "\x1b" in capture.get()


def test_results_of_a_run_folder_are_listed_as_those_of_a_job(rt_flare: RtFlare, ended: Path) -> None:
    """J13: what rt-flare run left has no status."""
    (ended / "status.json").unlink()
    listed = json.loads(rt_flare("results", "jobs/digits", "--format", "json").stdout)["data"]["files"]
    assert listed[0]["name"] == "files_out/client_2.log"


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/x", "a/b", "..", "a\\nb", "a\\\\b"])
def test_a_job_whose_name_leads_elsewhere_is_refused(rt_flare: RtFlare, tmp_path: Path, name: str) -> None:
    """J7: a folder that somebody else has made names no place outside of jobs/."""
    job = tmp_path / "theirs"
    job.mkdir()
    (job / "meta.json").write_text(f'{{"name": "{name}", "deploy_map": {{"app": ["@ALL"]}}}}')
    before = set(tmp_path.rglob("*"))
    done = rt_flare("submit", "theirs", "--where", "simulator")
    assert done.returncode == 4
    assert "expected the name of a folder; or say --out DIR" in done.stdout + done.stderr
    assert set(tmp_path.rglob("*")) == before
