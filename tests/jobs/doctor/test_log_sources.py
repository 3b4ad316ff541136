"""Which files are logs of which process, in each of the places where a job leaves them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rt_flare.errors import JobError
from rt_flare.jobs.doctor.log_sources import LogKind, find_logs

JOB = "48069116-0de2-4e18-b718-8c151c33c1ca"


def write(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} {number}\n")


def seen(root: Path) -> set[tuple[str, LogKind, str]]:
    return {(log.process, log.kind, str(log.files[-1].relative_to(root))) for log in find_logs(root).logs}


def test_results_of_a_run(tmp_path: Path) -> None:
    """X6: what user code wrote under a log's name is nobody's log."""
    write(tmp_path, "files_out/server.log", "files_out/client_1.log", "files_out/site-1/round_0/log.txt")
    assert seen(tmp_path) == {
        ("server", LogKind.JOB, "files_out/server.log"),
        ("", LogKind.JOB, "files_out/client_1.log"),
    }


def test_a_workspace_of_the_simulator(tmp_path: Path) -> None:
    """X6"""
    names = ["server/log.txt", "a/log.txt", "a/simulate_job/out/round_0/log.txt", "server/simulate_job/x"]
    write(tmp_path, *names)
    assert seen(tmp_path) == {("server", LogKind.JOB, "server/log.txt"), ("a", LogKind.JOB, "a/log.txt")}
    assert find_logs(tmp_path).one_clock


def test_a_deployment_with_a_running_job(tmp_path: Path) -> None:
    """X6"""
    write(
        tmp_path,
        "kits/server/startup/fed_server.json",
        "kits/server/log.txt",
        f"kits/server/{JOB}/log.txt",
        "kits/a/startup/fed_client.json",
        "kits/a/log.txt",
        "kits/a/console.log",
        f"kits/a/{JOB}/log.txt",
        f"kits/a/{JOB}/out/log.txt",
    )
    assert seen(tmp_path) == {
        ("server", LogKind.PARENT, "kits/server/log.txt"),
        ("server", LogKind.JOB, f"kits/server/{JOB}/log.txt"),
        ("a", LogKind.PARENT, "kits/a/log.txt"),
        ("a", LogKind.CONSOLE, "kits/a/console.log"),
        ("a", LogKind.JOB, f"kits/a/{JOB}/log.txt"),
    }
    assert find_logs(tmp_path).one_clock


def test_a_download_has_each_log_once(tmp_path: Path) -> None:
    """X6: a site's log lies in it twice; the copy whose folder names the site counts."""
    write(tmp_path, f"{JOB}/workspace/log.txt", f"{JOB}/workspace/files_out/client_1.log")
    copy = tmp_path / JOB / "workspace" / "a" / "log.txt"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / JOB / "workspace" / "files_out" / "client_1.log").read_bytes())
    assert seen(tmp_path) == {
        ("server", LogKind.JOB, f"{JOB}/workspace/log.txt"),
        ("a", LogKind.JOB, f"{JOB}/workspace/a/log.txt"),
    }


def test_the_servers_store_of_ended_jobs(tmp_path: Path) -> None:
    """X6: NVFlare packs the server's run folder into a ZIP."""
    store = tmp_path / "jobs" / JOB
    write(store, "meta", "ERRORLOG_a")
    with zipfile.ZipFile(store / "workspace", "w") as archive:
        archive.writestr("log.txt", "the server's\n")
        archive.writestr("a/log.txt", "the site's\n")
        archive.writestr("files_out/fl_round_complete.json", "{}")
    found = find_logs(tmp_path)
    logs = {(log.process, log.place(log.files[0])) for log in found.logs}
    assert logs == {
        ("a", str(store / "ERRORLOG_a")),
        ("server", f"{store / 'workspace'}:log.txt"),
        ("a", f"{store / 'workspace'}:a/log.txt"),
    }
    assert found.summaries == ((Path("files_out/fl_round_complete.json"), store / "workspace"),)
    (server,) = [log for log in found.logs if log.process == "server"]
    with server.open(server.files[0]) as stream:
        assert stream.readline(100) == b"the server's\n"


def test_a_log_that_was_full_is_read_from_its_oldest_file_on(tmp_path: Path) -> None:
    """X6: NVFlare renames it at 20 MiB."""
    write(tmp_path, "log.txt", "log.txt.1", "log.txt.2", "log.txt.10", "error_log.txt")
    (log,) = find_logs(tmp_path).logs
    assert [file.name for file in log.files] == ["log.txt.10", "log.txt.2", "log.txt.1", "log.txt"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """X6: user code may leave some."""
    write(tmp_path, "a/log.txt")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "log.txt").symlink_to("/etc/hostname")
    assert len(find_logs(tmp_path).logs) == 1


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_logs_is_refused(tmp_path: Path, name: str) -> None:
    """X6: with what was expected there."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobError, match=r"[Ee]xpected"):
        find_logs(tmp_path / name)
