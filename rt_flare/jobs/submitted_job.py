"""A submitted job, in any process that wants to see it: the one that submitted it, or another one later."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rt_flare.core.round_record import Failure
from rt_flare.errors import DeploymentError, JobError, JobNotRunningError, JobTimeoutError, LinkError
from rt_flare.jobs.abandoned_job import look_at
from rt_flare.jobs.admin_connection import AdminConnection
from rt_flare.jobs.deployed_job import DeployedJob
from rt_flare.jobs.deployed_results import DOWNLOAD_FOLDER, collect_download, collect_ended
from rt_flare.jobs.destination import find_admin_kit
from rt_flare.jobs.job_logs import logs_in, write_as_run_folder
from rt_flare.jobs.job_requests import JobRequests, check_stoppable
from rt_flare.jobs.job_results import JobResults
from rt_flare.jobs.job_status import JobStatus, Progress, read_status, write_status
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.submission import read_submission
from rt_flare.jobs.worker_counts import WorkerCounts

if TYPE_CHECKING:
    from rt_flare.jobs.doctor import Diagnosis

__all__ = ["Job"]

_FRESH_SECONDS = 0.5
_POLL_SECONDS = 1.0
_DAY_SECONDS = 86_400.0


class Job:
    """A job, found again by its folder (`open`), or by NVFlare's id and a startup kit (`attach`).

    Args:
        folder: the job's folder, with ``status.json``; None for a job that this machine has no folder of.
        status: what is known of it.
        remote: the job at its server; None for one that runs on this machine.
    """

    def __init__(self, folder: Path | None, status: JobStatus, remote: DeployedJob | None = None) -> None:
        self.folder = folder
        self._status = status
        self._remote = remote
        self._looked = float("-inf")
        self._silent_since: float | None = None

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Find the job in ``folder``, as ``jobs/NAME``.

        Raises:
            JobError: no job was submitted there.
        """
        place = Path(folder)
        status = read_status(place)
        remote = None
        if status.owner is None and status.kit is not None and status.job_id:
            remote = DeployedJob(AdminConnection(Path(status.kit)), status.job_id)
        return cls(place, status, remote)

    @classmethod
    def attach(cls, job_id: str, kit: Path | str) -> Self:
        """Find a job on a server, whoever submitted it.

        Raises:
            JobError: the server knows no such job.
            KitError: ``kit`` holds no administrator's startup kit.
            LinkError: the server does not answer.
        """
        remote = DeployedJob(AdminConnection(find_admin_kit(Path(kit))), job_id)
        return cls(None, remote.first_look(), remote)

    def refresh(self) -> JobStatus:
        """Look at the job now and return its status.

        A server that does not answer leaves the last status as it was, with a ``reason`` that says so.

        Raises:
            JobError: the job's folder is not readable any more.
        """
        self._looked = time.monotonic()
        if self._remote is not None:
            self._status = self._asked(self._remote)
        elif self.folder is not None:
            self._status = look_at(self.folder)
        return self._status

    @property
    def status(self) -> JobStatus:
        """The job's status, at most half a second old."""
        old = time.monotonic() - self._looked > _FRESH_SECONDS
        return self.refresh() if old and not self._status.state.is_final else self._status

    @property
    def answers(self) -> bool:
        """Whether the job's server answered when it was last asked."""
        return self._silent_since is None

    @property
    def name(self) -> str:
        """The job's name."""
        return self._status.name

    @property
    def state(self) -> JobState:
        """Where the job stands."""
        return self.status.state

    @property
    def workers(self) -> WorkerCounts:
        """How many of its sites are there."""
        return self.status.workers

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.status.progress

    @property
    def error(self) -> Failure | None:
        """The root error of a failed job."""
        return self.status.error

    def wait(
        self,
        timeout_seconds: float = _DAY_SECONDS,
        *,
        on_status: Callable[[JobStatus], None] | None = None,
        silence_seconds: float = 300.0,
    ) -> JobState:
        """Wait until the job has ended, bring its results here, and return its state.

        Args:
            timeout_seconds: how long to wait; the job goes on when it has passed.
            on_status: called with every status, about once a second.
            silence_seconds: how long the job's server may not answer.

        Raises:
            JobTimeoutError: the time has passed.
            LinkError: the server did not answer for ``silence_seconds``.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            status = self.refresh()
            if on_status is not None:
                on_status(status)
            if status.state.is_final:
                self._collect()
                return self._status.state
            now = time.monotonic()
            if self._silent_since is not None and now - self._silent_since > silence_seconds:
                raise LinkError(f"job {self.name}: {status.reason}")
            if now >= deadline:
                raise JobTimeoutError(
                    f"job {self.name} is {status.state} after {timeout_seconds:g} s ({status.workers.describe()}, "
                    f"{status.progress.rounds_done} of {status.progress.num_rounds} rounds); it goes on"
                )
            time.sleep(min(_POLL_SECONDS, max(deadline - now, 0.05)))

    def stop(self, reason: str = "stopped by the user") -> None:
        """Let the job end after its current round, with its outputs complete; returns at once.

        Raises:
            JobNotRunningError: the job has ended, or does not run yet on its server.
            JobError: its workflow cannot end after a round.
            LinkError: the server does not answer.
        """
        self._refuse_ended("stopped")
        if self._remote is not None:
            self._remote.stop(reason)
        elif self.folder is not None:
            check_stoppable(self.folder)
            JobRequests(self.folder).ask_to_stop(reason)

    def cancel(self, timeout_seconds: float = 60.0) -> JobState:
        """End the job at once and wait until it has; what finished rounds have written stays.

        Raises:
            JobNotRunningError: the job has ended.
            JobTimeoutError: it has not ended within ``timeout_seconds``.
            LinkError: the server does not answer.
        """
        self._refuse_ended("cancelled")
        if self._remote is not None:
            self._remote.cancel()
        elif self.folder is not None:
            JobRequests(self.folder).ask_to_cancel()
        return self.wait(timeout_seconds)

    def resume(self, *, num_rounds: int | None = None) -> Self:
        """Go on after the last complete round of an ended job, into the same results; returns this job at once.

        Args:
            num_rounds: rounds of the whole job, to extend it; None leaves them.

        Raises:
            ResumeError: it has not ended, all its rounds are done, or nothing of it is left to go on from.
            LinkError: the server does not answer; and as `submit_job`.
        """
        from rt_flare.jobs.resume import resume_job

        if self.folder is None:
            raise JobError(f"job {self.name}: found no folder of it on this machine, expected jobs/NAME to resume from")
        status = self.refresh()
        if not self.answers:
            raise LinkError(f"job {self.name}: {status.reason}")
        self._collect()
        self._status, self._remote = resume_job(self.folder, self._status, self._remote, num_rounds=num_rounds)
        return self

    def logs(self) -> dict[str, str]:
        """The logs so far: ``server`` and the sites, each as text.

        Raises:
            LinkError: the server does not answer.
        """
        if self._remote is not None and not self._is_collected:
            return self._remote.logs()
        if self.folder is None:
            return {}
        status = self.status
        if status.state.is_final or status.kit is None:
            return logs_in(self.folder, running=not status.state.is_final)
        with AdminConnection(Path(status.kit)) as connection:
            return DeployedJob(connection, status.job_id).logs()

    def diagnose(self) -> Diagnosis:
        """Find out what the job failed of, from the logs of all its processes that are here or at its server.

        Raises:
            JobError: there is no log yet.
            LinkError: the server does not answer.
        """
        from rt_flare.jobs.doctor import diagnose

        self._collect()
        if self.folder is not None and self._is_collected:
            return diagnose(self.folder)
        with tempfile.TemporaryDirectory(prefix="rt_flare_logs_") as name:
            write_as_run_folder(Path(name), self.logs())
            return diagnose(Path(name))

    def results(self) -> JobResults:
        """What the job has written, brought here from its server.

        Raises:
            JobError: this machine has no folder of the job to put them into.
            LinkError: the server does not answer.
        """
        if self.folder is None:
            raise JobError(f"job {self.name}: found no folder for its results; see nvflare job download")
        self._collect()
        url = read_submission(self.folder).results_url
        return JobResults(url if url and self._status.state.is_final else self.folder)

    def download(self, folder: Path) -> None:
        """Bring the results of an ended job to ``folder``, which becomes the job's.

        Raises:
            JobError: the job has not ended.
            LinkError: the server does not answer.
        """
        if self._remote is None or not self.status.state.is_final:
            raise JobError(f"job {self.name} is {self._status.state}: expected one that has ended on a server")
        sites = [site.name for site in self._status.sites]
        collect_download(self._remote, folder, sites, self._status)

    @property
    def _is_collected(self) -> bool:
        place = "files_out" if self._remote is None else DOWNLOAD_FOLDER
        return self.folder is not None and self._status.state.is_final and (self.folder / place).is_dir()

    def _asked(self, remote: DeployedJob) -> JobStatus:
        try:
            status = remote.look(self._status)
        except (LinkError, DeploymentError) as error:
            self._silent_since = self._silent_since or time.monotonic()
            return self._status.model_copy(update={"reason": str(error)})
        self._silent_since = None
        if self.folder is not None and status != self._status:
            write_status(self.folder, status)
        return status

    def _collect(self) -> None:
        """Bring the results of a job that ended on a server into its folder, once."""
        if self._remote is None or self.folder is None or not self.status.state.is_final or self._is_collected:
            return
        self._status = collect_ended(self._remote, self.folder, self._status)

    def _refuse_ended(self, what: str) -> None:
        state = self.refresh().state
        if state.is_final:
            raise JobNotRunningError(f"job {self.name} is {state} already and cannot be {what}")
