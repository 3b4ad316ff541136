"""A job's results in one layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rt_flare.errors import JobError
from rt_flare.jobs.downloaded_results import DownloadedResults
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.results import collect_results, downloaded_outcome

SUMMARY = {
    "schema": "rt_flare.round_summary/1",
    "job_id": "4711",
    "num_rounds": 2,
    "state": "FINISHED",
    "stop_reason": None,
    "error": None,
    "rounds": [],
}


def _server_run(folder: Path, **changes: object) -> Path:
    for name, text in (
        ("log.txt", "server's log"),
        ("files_out/metrics.json", "{}"),
        ("files_out/fl_round_complete.json", json.dumps(SUMMARY | changes)),
        ("model_out/global_model.pt", "weights"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _outcome(folder: Path, sites: list[str]) -> RunOutcome:
    server = _server_run(folder / "server")
    for site in sites:
        (folder / site / "out" / "round_0" / "deep").mkdir(parents=True)
        (folder / site / "out" / "round_0" / "deep" / "note.txt").write_text(site)
        (folder / site / "log.txt").write_text(f"{site}'s log")
    return RunOutcome(
        state=JobState.FINISHED,
        error=None,
        stop_reason=None,
        job_id="4711",
        num_rounds=2,
        rounds=(),
        server_dir=server,
        server_log=server / "log.txt",
        site_dirs={site: folder / site for site in sites},
        site_logs={site: folder / site / "log.txt" for site in sites},
    )


def _names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_logs_metrics_user_files_and_models_stand_where_users_look(tmp_path: Path) -> None:
    """J7, J8: client_n.log counts the sites in their order."""
    job_dir = tmp_path / "jobs" / "x"
    paths = collect_results(_outcome(tmp_path / "run", ["zoe", "adam"]), job_dir)
    assert _names(paths, job_dir) == [
        "files_out/adam/round_0/deep/note.txt",
        "files_out/client_1.log",
        "files_out/client_2.log",
        "files_out/fl_round_complete.json",
        "files_out/metrics.json",
        "files_out/server.log",
        "files_out/zoe/round_0/deep/note.txt",
        "model_out/global_model.pt",
    ]
    assert (job_dir / "files_out/client_1.log").read_text() == "zoe's log"


def test_what_an_earlier_run_left_is_gone(tmp_path: Path) -> None:
    """J8."""
    outcome = _outcome(tmp_path / "run", ["a"])
    job_dir = tmp_path / "x"
    collect_results(outcome, job_dir)
    (outcome.server_dir / "model_out" / "global_model.pt").unlink()
    assert "model_out/global_model.pt" not in _names(collect_results(outcome, job_dir), job_dir)
    assert list((job_dir / "model_out").iterdir()) == []


def test_results_of_an_earlier_run_stay_until_the_one_that_continues_it_has_taken_them_over(tmp_path: Path) -> None:
    """X8: what it died of is in its logs."""
    outcome = _outcome(tmp_path / "run", ["a"])
    job_dir = tmp_path / "x"
    collect_results(outcome, job_dir)
    before = {path for path in job_dir.rglob("*") if path.is_file()}
    summary = (job_dir / "files_out" / "fl_round_complete.json").read_bytes()
    (outcome.server_dir / "files_out" / "fl_round_complete.json").write_text("{}")
    (outcome.server_dir / "model_out" / "global_model.pt").write_bytes(b"another one")
    outcome.server_log.write_text("it died at once")
    collect_results(outcome, job_dir, resumed=True)
    assert {path for path in job_dir.rglob("*") if path.is_file()} == before
    assert (job_dir / "files_out" / "fl_round_complete.json").read_bytes() == summary
    assert (job_dir / "files_out" / "server.log").read_text() == "it died at once"


def test_a_link_left_by_user_code_is_not_followed(tmp_path: Path) -> None:
    """J8: a result is what the site wrote, not what it points at."""
    outcome = _outcome(tmp_path / "run", ["a"])
    (tmp_path / "secret").write_text("key")
    (outcome.site_dirs["a"] / "out" / "round_0" / "link").symlink_to(tmp_path / "secret")
    paths = collect_results(outcome, tmp_path / "x")
    assert not [path for path in paths if path.name == "link"]


def test_what_a_failed_run_did_not_write_is_left_out(tmp_path: Path) -> None:
    """J5: logs stay, the rest is absent."""
    outcome = _outcome(tmp_path / "run", ["a"])
    for path in (outcome.server_dir / "files_out" / "metrics.json", outcome.site_logs["a"]):
        path.unlink()
    names = _names(collect_results(outcome, tmp_path / "x"), tmp_path / "x")
    assert "files_out/server.log" in names
    assert not {"files_out/metrics.json", "files_out/client_1.log"} & set(names)


def test_a_downloaded_job_gives_the_servers_side(tmp_path: Path) -> None:
    """J7, N4: as `nvflare job download` lays it out."""
    _server_run(tmp_path / "4711" / "workspace")
    (tmp_path / "4711" / "job" / "app").mkdir(parents=True)
    outcome = downloaded_outcome(tmp_path / "4711")
    assert (outcome.state, outcome.job_id, outcome.num_rounds) == (JobState.FINISHED, "4711", 2)
    names = _names(collect_results(outcome, tmp_path / "x"), tmp_path / "x")
    assert names == [
        "files_out/fl_round_complete.json",
        "files_out/metrics.json",
        "files_out/server.log",
        "model_out/global_model.pt",
    ]


def test_files_that_sites_sent_have_their_own_names_again(tmp_path: Path) -> None:
    """J8: as after a run in the simulator; logs of the sites are among the server's files."""
    run = _server_run(tmp_path / "4711" / "workspace")
    for name in ("client_1.log", "a/round_0/log.txt.from_site", "a/round_0/deep/note.txt"):
        (run / "files_out" / name).parent.mkdir(parents=True, exist_ok=True)
        (run / "files_out" / name).write_text(name)
    names = _names(collect_results(downloaded_outcome(tmp_path / "4711"), tmp_path / "x"), tmp_path / "x")
    assert "files_out/a/round_0/log.txt" in names
    assert "files_out/a/round_0/deep/note.txt" in names
    assert "files_out/client_1.log" in names


def test_a_downloaded_job_that_never_said_how_it_ended_has_failed(tmp_path: Path) -> None:
    """J4, J5: its server was killed in a round; its log may tell why."""
    run = _server_run(tmp_path / "4711" / "workspace", state="RUNNING")
    (run / "log.txt").write_text("2025-01-01 10:00:01,000 - Cell - ERROR - no space left\n")
    outcome = downloaded_outcome(tmp_path)
    assert outcome.state is JobState.FAILED
    assert outcome.error is not None
    assert outcome.error.message == "no space left"


def test_a_folder_without_a_summary_is_refused(tmp_path: Path) -> None:
    """J1."""
    with pytest.raises(JobError, match=r"no files_out/fl_round_complete\.json below it"):
        downloaded_outcome(tmp_path)


@pytest.mark.parametrize("changes", [{"state": "DONE"}, {"schema": "rt_flare.round_summary/9"}, {"num_rounds": "two"}])
def test_a_summary_that_breaks_its_form_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    """J1: an unknown state is an error, never PENDING."""
    _server_run(tmp_path / "4711", **changes)
    with pytest.raises(JobError, match="expected a round summary"):
        downloaded_outcome(tmp_path)


def test_a_downloaded_jobs_results_are_read_where_they_are(tmp_path: Path) -> None:
    """J13, N4: in the layout of every other job, and nothing outside of them."""
    _server_run(tmp_path / "4711" / "workspace")
    (tmp_path / "4711" / "secret.txt").write_text("no result")
    results = DownloadedResults(tmp_path / "4711")
    assert [file.name for file in results.list()] == [
        "files_out/fl_round_complete.json",
        "files_out/metrics.json",
        "files_out/server.log",
        "model_out/global_model.pt",
    ]
    assert results.read_text("files_out/server.log") == "server's log"
    assert results.download("model_out/global_model.pt", tmp_path / "m.pt").read_text() == "weights"
    for name in ("secret.txt", "../secret.txt", "files_out/../../secret.txt", "log.txt", ""):
        with pytest.raises(JobError, match="no result"):
            results.read_text(name)
    with pytest.raises(JobError, match="fl_round_complete"):
        DownloadedResults(tmp_path / "4711" / "workspace" / "model_out")
