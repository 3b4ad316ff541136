"""What the checks of a job look at: one server and one client configuration, the kits beside them, and the facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rt_flare.timeouts.finding import Facts, Finding, Found, Severity
from rt_flare.timeouts.job_files import Component, ConfigFile, JobFiles
from rt_flare.timeouts.key_map import KeyMap
from rt_flare.timeouts.kit_files import KitFiles
from rt_flare.timeouts.placement import Deployment, Exchange

__all__ = ["COMMUNICATION_TIMEOUT", "JobView", "number"]

COMMUNICATION_TIMEOUT = 300.0
"""NVFlare's default of ``client.communication_timeout`` in seconds."""


def number(value: Any) -> float | None:
    """Return a number that NVFlare would take, None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class JobView:
    """One pair of configurations that meet when the job runs.

    Attributes:
        job: the job.
        server: the server's configuration; None when the job has none.
        client: a site's configuration; None when the job has none.
        code_dirs: folders with the job's own modules.
        kits: startup kits that were given with it.
        facts: what the files do not say.
        keys: the keys that may be used.
    """

    job: JobFiles
    server: ConfigFile | None
    client: ConfigFile | None
    code_dirs: tuple[Path, ...]
    kits: tuple[KitFiles, ...]
    facts: Facts
    keys: KeyMap

    @property
    def configs(self) -> tuple[ConfigFile, ...]:
        """Both configurations, as far as they are there."""
        return tuple(config for config in (self.server, self.client) if config is not None)

    @property
    def old_version(self) -> bool:
        """Whether the job is meant for NVFlare 2.8, which still reads the keys that 2.9 retired."""
        return self.facts.nvflare_version == "2.8"

    def client_value(self, key: str) -> float | None:
        """A number at the top level of the client's configuration."""
        return number(self.client.values.get(key)) if self.client else None

    def server_value(self, key: str) -> float | None:
        """A number at the top level of the server's configuration."""
        return number(self.server.values.get(key)) if self.server else None

    @property
    def task_request_interval(self) -> float:
        """Seconds between two questions of a site for work."""
        section = (self.server.values.get("server") if self.server else None) or {}
        found = number(section.get("task_request_interval")) if isinstance(section, dict) else None
        return found if found and found > 0 else 2.0

    @cached_property
    def workflows(self) -> tuple[Component, ...]:
        """The server's workflows."""
        return tuple(self.server.components("workflow")) if self.server else ()

    @cached_property
    def executors(self) -> tuple[Component, ...]:
        """The client's executors."""
        return tuple(self.client.components("executor")) if self.client else ()

    @property
    def components(self) -> Iterator[tuple[ConfigFile, Component]]:
        """Every component of both configurations, with its file."""
        for config in self.configs:
            for component in config.components():
                yield config, component

    @property
    def num_sites(self) -> int | None:
        """Number of sites, as given or as the job's list of shards says."""
        if self.facts.num_sites is not None:
            return self.facts.num_sites
        for config in self.configs:
            shards = config.values.get("SITE_SHARDS")
            if isinstance(shards, dict) and shards:
                return len(shards)
        return None

    @cached_property
    def exchange(self) -> Exchange | None:
        """What travels, as given or as the components say; None when neither does."""
        if self.facts.exchange is not None:
            return self.facts.exchange
        for _, component in self.components:
            if component.class_name in {"CustomPersistor", "PayloadExecutor"}:
                return "tensor"
            if component.class_name == "PTFileModelPersistor":
                return "tensor" if component.args.get("allow_numpy_conversion") is False else "np"
            if component.class_name == "NPModelPersistor":
                return "np"
        return None

    @property
    def communication_timeout(self) -> float:
        """The smallest ``communication_timeout`` of the sites' kits, or NVFlare's default."""
        given = [number(kit.client_section.get("communication_timeout")) for kit in self.kits if kit.role == "client"]
        return min((value for value in given if value), default=COMMUNICATION_TIMEOUT)

    @property
    def submit_timeout(self) -> float:
        """Seconds that a site waits until its update is taken."""
        found = self.client_value("submit_task_result_timeout")
        return found if found and found > 0 else self.communication_timeout

    @property
    def queue_seconds(self) -> float | None:
        """Seconds until the updates of all sites are taken; None when a number for it is missing."""
        sites = self.num_sites
        if sites is None:
            return None
        return Deployment(
            num_sites=sites,
            model_bytes=self.facts.model_bytes,
            bytes_per_second=self.facts.bytes_per_second,
            exchange=self.exchange or "tensor",
        ).queue_seconds

    def unchecked(self) -> list[str]:
        """The rules that need a number that neither the files nor the facts give."""
        missing = []
        if self.num_sites is None:
            missing.append("B18, B30: give the number of sites (--sites)")
        if self.facts.model_bytes is None:
            missing.append("B05, B06, B20, B38: give the size of the model (--params or --model-bytes)")
        if self.facts.bytes_per_second is None:
            missing.append("B05: give the server's bandwidth (--bandwidth)")
        if self.facts.round_seconds is None:
            missing.append("B19, B31, B41: give the measured seconds of a round (--round-seconds)")
        return missing

    def client_finding(
        self, rule: str, severity: Severity, key: str, found: Found, expected: str, message: str
    ) -> Finding:
        """A finding in the client's configuration."""
        assert self.client is not None
        return Finding(rule, severity, self.client.file, key, found, expected, message)

    def server_finding(
        self, rule: str, severity: Severity, key: str, found: Found, expected: str, message: str
    ) -> Finding:
        """A finding in the server's configuration."""
        assert self.server is not None
        return Finding(rule, severity, self.server.file, key, found, expected, message)
