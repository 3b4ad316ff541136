"""A real NVFlare deployment on this machine: a server and sites as processes, started, stopped and killed at will."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from rt_flare.core.credentials import without_credentials
from rt_flare.errors import DeploymentError
from rt_flare.jobs.doctor import find_root_cause
from rt_flare.jobs.owned_processes import OwnedProcesses
from rt_flare.jobs.plain_path import is_plain
from rt_flare.jobs.poc_kits import ADMIN, SERVER, private_environment, provision_kits, start_command
from rt_flare.jobs.render import check_sites
from rt_flare.jobs.storage_credentials import site_environment

__all__ = ["PocDeployment"]

_POLL_SECONDS = 0.2
_STATUS_SECONDS = 20.0


class PocDeployment:
    """A server and sites as processes of this machine, in one folder, between ``with`` and the end of its block.

    Entering provisions the folder and starts everything; leaving stops everything that was started, whatever
    happened, and keeps the folder with all logs. Several deployments can run at once. In every method, the site
    ``"server"`` is the server.

    Args:
        folder: folder for the deployment; new or empty. NVFlare starts a job's processes with its path in a command
            line that it splits again, so the path must have no spaces or characters that a shell interprets.
        sites: names of the sites.
        start_timeout_seconds: how long starting may take until all sites are registered.
        class_prefixes: packages whose classes a job without custom code may use.
        server_settings: settings of the server's own, as ``{"heart_beat_timeout": 60}``.
        run_in: words before the command of a site or the server, as ``{"site-1": ("ip", "netns", "exec", "x")}``.
        mark: see `OwnedProcesses`.

    Raises:
        ConfigError: the sites' names cannot be used.
        DeploymentError: on entering: the folder cannot be used, or a process could not be started.
    """

    def __init__(
        self,
        folder: Path,
        sites: Sequence[str],
        *,
        start_timeout_seconds: float = 120.0,
        class_prefixes: Sequence[str] = ("rt_flare.",),
        server_settings: Mapping[str, Any] | None = None,
        run_in: Mapping[str, Sequence[str]] | None = None,
        mark: str | None = None,
    ) -> None:
        check_sites(sites)
        self.folder = folder.resolve()
        self.sites = tuple(sites)
        self.start_timeout_seconds = start_timeout_seconds
        self.class_prefixes = tuple(class_prefixes)
        self.server_settings = dict(server_settings or {})
        self.run_in = dict(run_in or {})
        self._owned = OwnedProcesses(mark)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._kits = self.folder
        self._log_offsets: dict[str, int] = {}

    def __enter__(self) -> Self:
        if not is_plain(self.folder):
            raise DeploymentError(
                f"{str(self.folder)!r}: NVFlare cannot run jobs below a path with spaces or characters that a shell "
                "interprets; choose another folder"
            )
        if self.folder.exists() and any(self.folder.iterdir()):
            raise DeploymentError(f"{self.folder}: not empty; a deployment needs a new or an empty folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._kits = provision_kits(
                self.folder,
                self.sites,
                class_prefixes=self.class_prefixes,
                server_settings=self.server_settings,
            )
            self.start_site("server")
            for site in self.sites:
                self.start_site(site)
            self.wait_until_registered()
        except BaseException:
            self._shut_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut_down()

    @property
    def admin_kit(self) -> Path:
        """Folder for ``--startup-kit`` of NVFlare's commands, while the deployment runs."""
        return self._kits / ADMIN

    def kit(self, site: str) -> Path:
        """Folder of a site's or the server's kit, which is its workspace as well."""
        if site != "server" and site not in self.sites:
            raise DeploymentError(f"no site {site!r} in this deployment, found: server, {', '.join(self.sites)}")
        return self._kits / (SERVER if site == "server" else site)

    def run_dir(self, job_id: str, site: str) -> Path:
        """Folder of a job on a site or the server. NVFlare moves the server's into its store when the job ends."""
        return self.kit(site) / job_id

    def log(self, site: str) -> Path:
        """The log of a site or the server; that of a job stands in its run folder."""
        return self.kit(site) / "log.txt"

    def start_site(self, site: str) -> None:
        """Start a site or the server, without waiting for it.

        Raises:
            DeploymentError: it is running.
            ConfigError: the site's own settings on its data cannot be used.
        """
        kit = self.kit(site)
        if self._is_running(site):
            raise DeploymentError(f"{site} is running already")
        (kit / "transfer").mkdir(exist_ok=True)
        # What the log holds already is from an earlier start.
        self._log_offsets[site] = self.log(site).stat().st_size if self.log(site).is_file() else 0
        # The server signs URLs for the sites: they need no key to the storage.
        inherited = os.environ if site == "server" else site_environment(kit / "local", os.environ)
        with (kit / "console.log").open("ab") as output:
            self._running[site] = self._owned.start(
                [*self.run_in.get(site, ()), *start_command(kit)],
                cwd=kit,
                environment=private_environment(self.folder, inherited),
                output=output,
            )

    def stop_site(self, site: str) -> None:
        """Stop a site or the server with its jobs' processes: asked first, killed after 5 s."""
        process = self._process(site)
        if process is not None:
            self._owned.end_tree(process)
            self._running[site].wait()

    def kill_site(self, site: str) -> None:
        """Kill a site or the server with its jobs' processes at once, as when its machine loses power."""
        process = self._process(site)
        if process is None:
            return
        # Stopped first, so that no process sees another one die.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for member in [process, *process.children(recursive=True)]:
                try:
                    member.send_signal(number)
                except psutil.NoSuchProcess:
                    continue
        self._running[site].wait()

    def site_processes(self, site: str) -> list[psutil.Process]:
        """The process of a site or the server and its descendants: those of its jobs are among them."""
        process = self._process(site)
        return [] if process is None else [process, *process.children(recursive=True)]

    def nvflare(self, *arguments: str, timeout_seconds: float = 60.0) -> dict[str, Any]:
        """Run NVFlare's command line as the administrator: ``nvflare("job", "list")``.

        Returns:
            The ``data`` of its JSON reply; that of a job that failed as well, when ``job wait`` reports one.

        Raises:
            DeploymentError: the command failed, or did not end in time; the message holds its output.
        """
        command = [sys.executable, "-m", "nvflare.cli", "--format", "json", *arguments, "--startup-kit"]
        shown = f"`nvflare {' '.join(arguments)}`"
        try:
            done = subprocess.run(
                [*command, str(self.admin_kit)],
                cwd=self.folder,
                env=private_environment(self.folder, without_credentials(os.environ)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
            reply = json.loads(done.stdout)
        except subprocess.TimeoutExpired as error:
            raise DeploymentError(f"{shown} did not end within {timeout_seconds:g} s") from error
        except json.JSONDecodeError as error:
            raise DeploymentError(f"{shown} gave no JSON reply:\n{done.stdout}{done.stderr}") from error
        data = reply.get("data")
        job_ended = isinstance(data, dict) and str(data.get("status")).startswith("FINISHED:")
        if reply.get("status") != "ok" and not job_ended:
            raise DeploymentError(f"{shown} failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        assert isinstance(data, dict)
        return data

    def submit(self, job_folder: Path) -> str:
        """Submit a job folder and return NVFlare's id of the job."""
        return str(self.nvflare("job", "submit", "-j", str(job_folder.resolve()))["job_id"])

    def wait_for_job(self, job_id: str, *, timeout_seconds: float = 300.0) -> str:
        """Wait until a job has ended and return NVFlare's status of it, as ``"FINISHED:COMPLETED"``."""
        return str(self.nvflare("job", "wait", job_id, timeout_seconds=timeout_seconds)["status"])

    def download(self, job_id: str, folder: Path) -> Path:
        """Download what an ended job left on the server, and return the folder with it, below ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.nvflare("job", "download", job_id, "-o", str(folder.resolve()))
        return folder / job_id

    def registered(self) -> set[str]:
        """Names of the sites that the server counts as registered; empty while it does not answer."""
        try:
            status = self.nvflare("system", "status", "server", timeout_seconds=_STATUS_SECONDS)
        except DeploymentError:
            return set()
        return {client["client_name"] for client in status.get("clients", [])}  # no list without any

    def wait_until_registered(self) -> None:
        """Wait until the server knows every site whose process runs.

        Raises:
            DeploymentError: a process ended, or ``start_timeout_seconds`` passed; with the first error in the logs.
        """
        deadline = time.monotonic() + self.start_timeout_seconds
        while time.monotonic() < deadline:
            self._refuse_dead()
            awaited = {site for site in self.sites if site in self._running}
            # Asking the server costs a process: ask when the sites say that they are in.
            if all(self._says_registered(site) for site in awaited) and self.registered() >= awaited:
                return
            time.sleep(_POLL_SECONDS)
        raise DeploymentError(
            f"{self.folder}: not all sites registered within {self.start_timeout_seconds:g} s{self._first_error()}"
        )

    def _says_registered(self, site: str) -> bool:
        log = self.log(site)
        return log.is_file() and b"Successfully registered client" in log.read_bytes()[self._log_offsets[site] :]

    def _refuse_dead(self) -> None:
        for site, process in self._running.items():
            if process.poll() is not None:
                raise DeploymentError(
                    f"{site} ended with exit code {process.returncode} while it started; "
                    f"see {self.kit(site) / 'console.log'}{self._first_error()}"
                )

    def _first_error(self) -> str:
        logs = {site: self.log(site) for site in self.sites}
        failure = find_root_cause(self.log("server"), logs)
        return "" if failure is None else f"\n{failure.describe()}"

    def _is_running(self, site: str) -> bool:
        return site in self._running and self._running[site].poll() is None

    def _process(self, site: str) -> psutil.Process | None:
        self.kit(site)
        return psutil.Process(self._running[site].pid) if self._is_running(site) else None

    def _shut_down(self) -> None:
        try:
            self._owned.end_all()
            for process in self._running.values():
                process.wait()
        finally:
            self._running.clear()
