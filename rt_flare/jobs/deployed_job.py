"""A job on an NVFlare server, through an administrator's connection: looked at, stopped, cancelled, downloaded."""

from __future__ import annotations

import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rt_flare.core.live_job import STATUS_TOPIC, STOP_TOPIC, LiveJob
from rt_flare.core.round_record import Failure
from rt_flare.errors import DeploymentError, JobError, JobNotRunningError, LinkError
from rt_flare.jobs.admin_connection import AdminConnection
from rt_flare.jobs.doctor import find_root_cause
from rt_flare.jobs.job_state import final_state, state_of
from rt_flare.jobs.job_status import JobStatus, Progress, SiteStatus, now_text
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.worker_counts import count_workers

__all__ = ["DeployedJob", "connected_sites"]

_HEARTBEAT_SECONDS = 30.0
"""Three of a site's heartbeats, which NVFlare sends every 10 s."""
_TRANSFER_SECONDS = 600.0
_LOG_SECONDS = 60.0


def connected_sites(connection: AdminConnection) -> list[str]:
    """Names of the sites that are registered with the server, sorted."""
    return sorted(client.name for client in connection.call(lambda session: session.get_system_info()).client_info)


class DeployedJob:
    """One job of one deployment.

    Args:
        connection: to the job's server.
        job_id: NVFlare's id of the job.
    """

    def __init__(self, connection: AdminConnection, job_id: str) -> None:
        self.connection = connection
        self.job_id = job_id
        self._beats: dict[str, tuple[float, float]] = {}  # site: its last heartbeat by the server's clock, by ours

    @classmethod
    def submit(cls, connection: AdminConnection, job_folder: Path) -> DeployedJob:
        """Submit a job folder.

        Raises:
            JobError: the server does not take it; and as `AdminConnection.call`.
        """
        path = str(job_folder.resolve())
        job_id = connection.call(lambda session: session.submit_job(path), timeout_seconds=_TRANSFER_SECONDS)
        return cls(connection, str(job_id))

    def first_look(self, *, where: str = "kit") -> JobStatus:
        """The status of a job that nothing is known of yet."""
        meta = self._meta()
        submitted = str(meta.get("submit_time_iso") or now_text())
        status = JobStatus(
            name=str(meta.get("name", "")),
            where=where,
            job_id=self.job_id,
            kit=str(self.connection.kit),
            min_clients=int(meta.get("min_clients") or 1),
            submitted_at=submitted,
            updated_at=now_text(),
        )
        return self.look(status)

    def look(self, last: JobStatus) -> JobStatus:
        """Ask the server, and return what has become of the job since ``last``.

        Raises:
            LinkError: the server does not answer; and as `AdminConnection.call`.
            UnknownStatusError: NVFlare's status of the job is none that rt_flare knows.
        """
        meta = self._meta()
        status = meta.get("status")
        state = state_of(status)
        if state.is_final:
            return self._ended(last, status)
        system = self.connection.call(lambda session: session.get_system_info())
        live = self._live() if state is JobState.RUNNING else None
        connected = self._connected(system.client_info)
        sites = self._sites(last, meta, live, connected)
        names = {site.name for site in sites}
        workers = count_workers(
            names,
            connected={site.name for site in sites if site.connected},
            seen={site.name for site in sites if site.seen},
            failed={site.name for site in sites if site.error},
        )
        now = now_text()
        changes: dict[str, Any] = {"sites": sites, "workers": workers, "updated_at": now}
        if state is JobState.RUNNING and _started_before(meta, system.server_info.start_time):
            return last.model_copy(update=changes | _lost_with_the_server(now))
        runs = last.state is JobState.RUNNING or (live is not None and workers.connected >= last.min_clients)
        if live is not None:
            changes |= {
                "progress": _progress(live) if live.num_rounds else last.progress,
                "stop_requested": live.stop_requested,
                "stop_reason": live.stop_reason,
                "error": live.error,
            }
        if state is JobState.RUNNING and runs:
            started = last.started_at or now
            reason = f"to stop after the current round: {live.stop_requested}" if live and live.stop_requested else None
            return last.model_copy(update=changes | {"state": state, "started_at": started, "reason": reason})
        reason = _waiting_for(str(status), meta, len(connected), last.min_clients)
        return last.model_copy(update=changes | {"state": JobState.PENDING, "reason": reason})

    def stop(self, reason: str) -> None:
        """Let the job end after its current round.

        Raises:
            JobNotRunningError: it does not run.
            JobError: its workflow has no such end; and as `AdminConnection.call`.
        """
        try:
            self.connection.call(lambda session: session.do_app_command(self.job_id, STOP_TOPIC, {"reason": reason}))
        except DeploymentError as error:
            if "no app command" in str(error):
                raise JobError(
                    f"{self.job_id}: its workflow cannot end after a round, as RtFedAvg can; cancel the job instead"
                ) from error
            raise

    @property
    def has_started(self) -> bool:
        """Whether the server has ever started the job; raises as `AdminConnection.call`."""
        return bool(self._meta().get("start_time"))

    def cancel(self) -> None:
        """Abort the job; what it has written stays."""
        self.connection.call(lambda session: session.abort_job(self.job_id))

    def logs(self) -> dict[str, str]:
        """The logs that the server holds, running or ended: ``server`` and every site that sends its log."""
        reply = self.connection.call(
            lambda session: session.get_job_logs(self.job_id, target="all"), timeout_seconds=_LOG_SECONDS
        )
        return {str(site): str(text) for site, text in (reply.get("logs") or {}).items()}

    def download(self, folder: Path) -> Path:
        """Download what an ended job left on the server, and return the folder with it, below ``folder``.

        Raises:
            DeploymentError: the server gives nothing; and as `AdminConnection.call`.
        """
        target = str(folder.resolve())
        place = self.connection.call(
            lambda session: session.download_job_result(self.job_id, target), timeout_seconds=_TRANSFER_SECONDS
        )
        if not place or not Path(place).is_dir():
            raise DeploymentError(f"{self.job_id}: the server of {self.connection.kit} sent no results")
        return Path(place)

    def root_cause(self) -> Failure | None:
        """The error that the job's logs at the server go back to."""
        with tempfile.TemporaryDirectory(prefix="rt_flare_logs_") as name:
            files = {}
            for site, text in self.logs().items():
                files[site] = Path(name) / f"{site}.log"
                files[site].write_text(text)
            return find_root_cause(files.pop("server", Path(name) / "none"), files)

    def _meta(self) -> dict[str, Any]:
        return dict(self.connection.call(lambda session: session.get_job_meta(self.job_id)))

    def _live(self) -> LiveJob | None:
        """What the job's own process says; None while there is none, or when it has nothing of ours in it."""
        try:
            reply = self.connection.call(lambda session: session.do_app_command(self.job_id, STATUS_TOPIC, {}))
            return LiveJob.model_validate(reply)
        except (JobNotRunningError, DeploymentError, ValidationError):
            return None

    def _connected(self, clients: list[Any]) -> set[str]:
        """Sites whose heartbeat is fresh. The server's clock is not ours: what counts is when a heartbeat changed."""
        now = time.monotonic()
        newest = max((client.last_connect_time for client in clients), default=0.0)
        fresh = set()
        for client in clients:
            beat, noticed = self._beats.get(client.name, (None, now))
            if beat is None:
                # Nothing to compare with yet: how long ago it was, by the site that was heard last.
                noticed = now - (newest - client.last_connect_time)
            elif beat != client.last_connect_time:
                noticed = now
            self._beats[client.name] = (client.last_connect_time, noticed)
            if now - noticed < _HEARTBEAT_SECONDS:
                fresh.add(client.name)
        return fresh

    def _sites(
        self, last: JobStatus, meta: dict[str, Any], live: LiveJob | None, connected: set[str]
    ) -> tuple[SiteStatus, ...]:
        known = {site.name: site for site in last.sites}
        deployed = {str(client["name"]) for client in meta.get("job_clients") or []}
        names = set(live.sites) if live is not None and live.sites else deployed or set(known)
        found = []
        for name in sorted(names):
            told = live.sites.get(name) if live is not None else None
            here = name in connected and (told is None or told.connected)
            before = known.get(name)
            error = told.failure if told is not None else (before.error if before else None)
            seen = here or name in deployed or bool(before and before.seen)
            found.append(SiteStatus(name=name, connected=here, seen=seen, error=error))
        return tuple(found)

    def _ended(self, last: JobStatus, status: object) -> JobStatus:
        if last.state.is_final:
            return last
        recorded = JobState.FAILED if last.error else None
        state = final_state(status, recorded)
        error = last.error
        if state is JobState.FAILED and error is None:
            try:
                error = self.root_cause()
            except (DeploymentError, LinkError):
                error = None  # a job that never started has no logs
            error = error or Failure(kind="server", message=f"NVFlare ended the job as {status}")
        now = now_text()
        stopped = last.stop_reason or (last.stop_requested if state is JobState.FINISHED else None)
        changes = {"state": state, "error": error, "stop_reason": stopped}
        return last.model_copy(update=changes | {"reason": None, "ended_at": now, "updated_at": now})


def _progress(live: LiveJob) -> Progress:
    return Progress(round=live.round, num_rounds=live.num_rounds, verdict=live.verdict, metrics=live.metrics)


def _started_before(meta: dict[str, Any], server_start: float | None) -> bool:
    """Whether the job began to run under an earlier process of the server, which cannot take it up again."""
    text = meta.get("start_time")
    return bool(text and server_start) and datetime.fromisoformat(str(text)).timestamp() < float(server_start or 0)


def _lost_with_the_server(now: str) -> dict[str, Any]:
    message = (
        "the server was started again while the job ran; NVFlare does not take it up again and shows it as running "
        "for ever. rt-flare resume goes on after its last complete round, as another job of NVFlare's"
    )
    error = Failure(kind="server", message=message)
    return {"state": JobState.FAILED, "error": error, "reason": None, "ended_at": now}


def _waiting_for(status: str, meta: dict[str, Any], num_connected: int, min_clients: int) -> str:
    sites = f"{num_connected} sites connected, at least {min_clients} needed"
    history = meta.get("schedule_history") or []
    if status in {"DISPATCHED", "RUNNING"}:
        return f"the job was sent to its sites; its processes are starting ({sites})"
    if history:
        return f"not scheduled yet ({sites}): {history[-1]}"
    return f"waits for the server's scheduler ({sites})"
