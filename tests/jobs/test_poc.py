"""A deployment of processes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rt_flare.errors import ConfigError, DeploymentError
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.results import downloaded_outcome


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocDeployment]:
    with PocDeployment(tmp_path_factory.mktemp("poc") / "deployment", ["a", "b"]) as running:
        yield running


def _running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.poc
def test_all_sites_are_registered_once_it_is_entered(deployment: PocDeployment) -> None:
    """J3."""
    assert deployment.registered() == {"a", "b"}


@pytest.mark.poc
def test_a_job_is_submitted_awaited_and_downloaded(
    deployment: PocDeployment, mini_job: Callable[..., Path], tmp_path: Path
) -> None:
    """N2, N4: through NVFlare's own command line."""
    job_id = deployment.submit(mini_job())
    assert deployment.wait_for_job(job_id) == "FINISHED:COMPLETED"
    assert (deployment.run_dir(job_id, "b") / "out" / "round_1" / "note.txt").read_text() == "b"
    outcome = downloaded_outcome(deployment.download(job_id, tmp_path / "results"))
    assert outcome.state is JobState.FINISHED
    assert len(outcome.rounds) == 2


@pytest.mark.poc
def test_a_site_that_is_killed_can_be_started_again(deployment: PocDeployment) -> None:
    """X7: for tests of what happens when a site is lost."""
    before = deployment.site_processes("a")
    deployment.kill_site("a")
    assert _running(before) == []
    deployment.start_site("a")
    deployment.wait_until_registered()
    with pytest.raises(DeploymentError, match="a is running already"):
        deployment.start_site("a")


@pytest.mark.poc
def test_a_site_can_be_stopped_and_the_others_stay(deployment: PocDeployment) -> None:
    """X7."""
    before, others = deployment.site_processes("b"), deployment.site_processes("a")
    deployment.stop_site("b")
    assert _running(before) == []
    assert _running(others) == others
    deployment.start_site("b")
    deployment.wait_until_registered()


@pytest.mark.poc
def test_nothing_is_left_when_the_block_fails(tmp_path: Path) -> None:
    """X7: every process ends, the folder with its logs stays, and the user's home folder is not touched."""
    processes: list[psutil.Process] = []

    def fail() -> None:
        with PocDeployment(tmp_path / "x", ["a"]) as deployment:
            processes.extend(deployment.site_processes("server") + deployment.site_processes("a"))
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        fail()
    assert len(processes) >= 2
    assert _running(processes) == []
    assert list((tmp_path / "x").rglob("log.txt"))


@pytest.mark.poc
def test_a_server_that_cannot_start_is_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X7: with the cause from its log."""
    started: list[PocDeployment] = []
    start_site = PocDeployment.start_site

    def break_server(self: PocDeployment, site: str) -> None:
        started.append(self)
        if site == "server":
            (self.kit("server") / "startup" / "server.key").write_text("no key")
        start_site(self, site)

    monkeypatch.setattr(PocDeployment, "start_site", break_server)
    with pytest.raises(DeploymentError), PocDeployment(tmp_path / "x", ["a"], start_timeout_seconds=15):
        pass
    assert started[0].site_processes("server") == []
    assert started[0].site_processes("a") == []


@pytest.mark.parametrize("name", ["with space", "a;b"])
def test_a_folder_that_nvflare_cannot_run_in_is_refused(tmp_path: Path, name: str) -> None:
    """N2: before anything is started."""
    with pytest.raises(DeploymentError, match="spaces or characters"), PocDeployment(tmp_path / name, ["a"]):
        pass
    assert not (tmp_path / name).exists()


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    """N2."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DeploymentError, match="not empty"), PocDeployment(tmp_path, ["a"]):
        pass


def test_sites_that_nvflare_cannot_name_are_refused(tmp_path: Path) -> None:
    """C6."""
    with pytest.raises(ConfigError, match="sites"):
        PocDeployment(tmp_path, ["a b"])
    with pytest.raises(DeploymentError, match="no site 'c'"):
        PocDeployment(tmp_path, ["a"]).kit("c")
