"""A job in NVFlare's simulator, watched: its sites are counted, and it is stopped or ended when somebody asks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from pydantic import ValidationError

from rt_flare.core.durable_io import read_json, write_bytes
from rt_flare.core.ledger import Ledger
from rt_flare.core.live_job import LIVE_FILE, STOP_FILE, LiveJob
from rt_flare.core.round_record import ContributionStatus, Failure
from rt_flare.jobs.job_requests import JobRequests
from rt_flare.jobs.job_status import SiteStatus, progress_of
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.simulator import LiveSimulation, RunEnding
from rt_flare.jobs.status_recorder import StatusRecorder
from rt_flare.jobs.worker_counts import count_workers

__all__ = ["SimulationWatch"]

_LOOK_SECONDS = 0.9


class SimulationWatch:
    """Looks at a run about once a second, for `run_simulator`'s ``on_look``.

    A site is connected while its process runs. When fewer than ``min_clients`` have been for ``grace_seconds``, the
    run is ended: in the simulator NVFlare itself does not notice.

    Args:
        recorder: takes the status.
        requests: what others want of the job.
        sites: names of the sites.
        min_clients: sites that the job needs.
        grace_seconds: how long there may be fewer.
    """

    def __init__(
        self,
        recorder: StatusRecorder,
        requests: JobRequests,
        sites: Sequence[str],
        *,
        min_clients: int,
        grace_seconds: float = 60.0,
    ) -> None:
        self._recorder = recorder
        self._requests = requests
        self._sites = sites
        self._min_clients = min_clients
        self._grace_seconds = grace_seconds
        self._seen: set[str] = set()
        self._short_since: float | None = None
        self._next = 0.0

    def __call__(self, run: LiveSimulation) -> RunEnding | None:
        """Look; return why the run is to be ended, or None."""
        if self._requests.cancelled:
            return RunEnding(JobState.CANCELLED)
        self._relay_stop(run.server_dir)
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _LOOK_SECONDS
        connected = _site_processes(run.process) & set(self._sites)
        if _is_over(run.summary):
            connected |= self._seen  # the sites' processes end first
        self._seen |= connected
        self._record(run, connected)
        return self._shortage(connected, run.summary)

    def _relay_stop(self, server_dir: Path) -> None:
        # The simulator empties the folder when it starts: the summary's own folder comes after that.
        target = server_dir / STOP_FILE
        reason = self._requests.stop_reason
        if reason is not None and (server_dir / "files_out").is_dir() and not target.exists():
            write_bytes(target, reason.encode())

    def _record(self, run: LiveSimulation, connected: set[str]) -> None:
        errors = _errors(run)
        crashed = self._seen - connected
        for site in crashed:
            message = "the site's process ended while the job ran"
            errors.setdefault(site, Failure(kind="worker_died", message=message, site=site))
        counts = count_workers(self._sites, connected=connected, seen=self._seen, failed=errors)
        sites = tuple(
            SiteStatus(name=site, connected=site in connected, seen=site in self._seen, error=errors.get(site))
            for site in self._sites
        )
        stop = self._requests.stop_reason
        runs = self._recorder.status.state is JobState.RUNNING or (
            run.summary is not None and counts.connected >= self._min_clients
        )
        if runs:
            reason = f"to stop after the current round: {stop}" if stop else None
        elif run.summary is None:
            reason = "NVFlare's simulator is starting"
        else:
            missing = ", ".join(site for site in self._sites if site not in connected)
            reason = f"waits for {missing} ({counts.describe()}, at least {self._min_clients} needed)"
        self._recorder.update(
            state=JobState.RUNNING if runs else JobState.PENDING,
            reason=reason,
            workers=counts,
            sites=sites,
            progress=progress_of(run.summary) if run.summary is not None else self._recorder.status.progress,
            stop_requested=stop,
        )

    def _shortage(self, connected: set[str], summary: Ledger | None) -> RunEnding | None:
        if len(connected) >= self._min_clients or not self._seen:
            self._short_since = None
            return None
        self._short_since = self._short_since or time.monotonic()
        if time.monotonic() - self._short_since < self._grace_seconds:
            return None
        missing = ", ".join(site for site in self._sites if site not in connected)
        message = (
            f"lost {missing}: {len(connected)} of {len(self._sites)} sites connected for {self._grace_seconds:g} s, at "
            f"least {self._min_clients} needed"
        )
        number = len(summary.rounds) if summary is not None else None
        return RunEnding(JobState.FAILED, Failure(kind="server", message=message, round=number))


def _is_over(summary: Ledger | None) -> bool:
    """Whether the last round is closed: what follows is the end."""
    if summary is None:
        return False
    return bool(summary.stop_reason or summary.error) or len(summary.rounds) >= summary.num_rounds > 0


def _errors(run: LiveSimulation) -> dict[str, Failure]:
    """What sites answered last, where that was an error: as the server's component says, else by the last round."""
    try:
        live = LiveJob.model_validate(read_json(run.server_dir / LIVE_FILE))
        return {site: told.failure for site, told in live.sites.items() if told.failure is not None}
    except (FileNotFoundError, ValueError, ValidationError):
        rounds = run.summary.rounds if run.summary is not None else []
        last = rounds[-1].contributions if rounds else []
        return {c.site: c.failure for c in last if c.status is ContributionStatus.FAILED and c.failure is not None}


def _site_processes(simulator: psutil.Process | None) -> set[str]:
    """Sites whose process runs: the simulator names the site on its command line."""
    found: set[str] = set()
    if simulator is None:
        return found
    try:
        children = simulator.children(recursive=True)
    except psutil.NoSuchProcess:
        return found
    for child in children:
        try:
            words = child.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if "--client" in words[:-1]:
            found.add(words[words.index("--client") + 1])
    return found
