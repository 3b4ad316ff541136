"""Processes that were started here are ended, orphans included, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rt_flare.jobs.owned_processes import OwnedProcesses

SLEEP = "import time; time.sleep(600)"
# Starts a process in a session of its own, and ends: its child belongs to init, as NVFlare's workers may.
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


@pytest.fixture
def owned() -> Iterator[OwnedProcesses]:
    processes = OwnedProcesses()
    yield processes
    processes.end_all(grace_seconds=0.5)


def _start(owned: OwnedProcesses, folder: Path, code: str) -> subprocess.Popen[bytes]:
    with (folder / "output").open("wb") as output:
        return owned.start([sys.executable, "-c", code], cwd=folder, environment=os.environ, output=output)


def test_orphans_are_found_and_ended(owned: OwnedProcesses, tmp_path: Path) -> None:
    """X7."""
    assert _start(owned, tmp_path, ORPHAN).wait() == 0
    assert len(owned.living()) == 1
    owned.end_all()
    assert owned.living() == []


def test_a_process_that_ignores_the_request_is_killed(owned: OwnedProcesses, tmp_path: Path) -> None:
    """X7."""
    process = _start(owned, tmp_path, STUBBORN)
    while not (tmp_path / "output").read_bytes():
        time.sleep(0.05)
    owned.end_all(grace_seconds=0.2)
    assert process.wait(timeout=5) < 0


def test_other_processes_are_left_alone(owned: OwnedProcesses, tmp_path: Path) -> None:
    """X7: neither ours without the mark nor those of another run."""
    other = OwnedProcesses()
    theirs = _start(other, tmp_path, SLEEP)
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        _start(owned, tmp_path, SLEEP)
        owned.end_all()
        assert theirs.poll() is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        other.end_all()


def test_one_tree_is_ended_and_the_other_stays(owned: OwnedProcesses, tmp_path: Path) -> None:
    """X7."""
    first, second = _start(owned, tmp_path, SLEEP), _start(owned, tmp_path, SLEEP)
    owned.end_tree(psutil.Process(first.pid))
    assert first.wait(timeout=5) < 0
    assert second.poll() is None
