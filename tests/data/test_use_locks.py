"""Who uses what, across processes and after a kill (K2)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from rt_flare.data.use_locks import UseLocks


def test_uses_are_shared_and_alone_is_refused(tmp_path: Path) -> None:
    """K2"""
    first, second, third = UseLocks(tmp_path), UseLocks(tmp_path), UseLocks(tmp_path)
    first.hold("a")
    first.hold("a")
    second.hold("a")
    assert "a" in first
    with third.alone("a") as unused, third.alone("b") as other:
        assert (unused, other) == (False, True)
    first.release("a")
    with third.alone("a") as unused:
        assert not unused
    second.release_all()
    with third.alone("a") as unused:
        assert unused


def test_own_use_counts(tmp_path: Path) -> None:
    """K2"""
    locks = UseLocks(tmp_path)
    locks.hold("a")
    with locks.alone("a") as unused:
        assert not unused


def test_the_use_of_a_killed_process_is_over(tmp_path: Path) -> None:
    """K2"""
    code = (
        "import sys, time, pathlib; from rt_flare.data.use_locks import UseLocks\n"
        "UseLocks(pathlib.Path(sys.argv[1])).hold('a'); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with UseLocks(tmp_path).alone("a") as unused:
        assert not unused
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with UseLocks(tmp_path).alone("a") as unused:
        assert unused
