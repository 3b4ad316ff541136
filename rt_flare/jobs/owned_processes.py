"""Processes that were started here, with all their descendants: found again and ended, and no others."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

__all__ = ["OwnedProcesses"]

_MARKER = "RT_FLARE_RUN"
_POLL_SECONDS = 0.02


class OwnedProcesses:
    """Starts processes, and ends them with everything that they started, orphans included.

    NVFlare's processes put themselves into sessions of their own, and those whose parent has died belong to init:
    neither the process group nor the tree finds them all. So every process gets a mark in its environment that its
    descendants inherit, unique to this object; a process is ended only if it carries it.

    Args:
        mark: that of processes which another object has started, to find them again; None for a new one.
    """

    def __init__(self, mark: str | None = None) -> None:
        self.mark = mark or uuid.uuid4().hex

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` in a session of its own, so that Ctrl-C in the terminal does not reach it.

        Args:
            command: program and arguments; no shell.
            cwd: its working folder.
            environment: its whole environment.
            output: file that takes its output and errors.
        """
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**environment, _MARKER: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def living(self) -> list[psutil.Process]:
        """Every living process with the mark, in no particular order."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(_MARKER) == self.mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                continue  # it ended while we looked, or belongs to somebody else
        return found

    def end_tree(self, root: psutil.Process, *, grace_seconds: float = 5.0) -> None:
        """End one process that was started here, with its descendants."""
        try:
            members = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        own = {process.pid for process in self.living()}
        _end([process for process in members if process.pid in own], grace_seconds)

    def end_all(self, *, grace_seconds: float = 5.0) -> None:
        """End every process with the mark: asked first, killed after ``grace_seconds``."""
        # A process may start another one while it is being ended.
        while members := self.living():
            _end(members, grace_seconds)


def _end(members: list[psutil.Process], grace_seconds: float) -> None:
    for process in members:
        _signal(process, kill=False)
    stubborn = _outlive(members, grace_seconds)
    for process in stubborn:
        _signal(process, kill=True)
    _outlive(stubborn, grace_seconds)


def _outlive(members: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended; those that have not within ``seconds``."""
    # Not psutil's own wait: it would take the exit code of a child from its Popen object.
    deadline = time.monotonic() + seconds
    living = members
    while living and time.monotonic() < deadline:
        living = [process for process in living if _lives(process)]
        time.sleep(_POLL_SECONDS)
    return living


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        # psutil refuses to signal a process id that was given to another process meanwhile.
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return
