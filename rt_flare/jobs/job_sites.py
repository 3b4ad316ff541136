"""Which sites a job is meant for, as its folder tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rt_flare.errors import JobError
from rt_flare.jobs.hocon import read_hocon

__all__ = ["default_sites"]


def default_sites(job_folder: Path) -> list[str]:
    """The sites that the job has shards for, in the order of the shards; else as many as it needs at least.

    Raises:
        JobError: ``job_folder`` is no job.
        ConfigError: a file of it cannot be read.
    """
    meta = _read(job_folder, "meta")
    if meta is None:
        raise JobError(
            f"{job_folder}: no meta.json or meta.conf, expected a job of NVFlare, or a project with rt_flare.toml"
        )
    client = _read(job_folder / "app" / "config", "config_fed_client")
    shards = client.get("SITE_SHARDS") if client else None
    if shards:
        return sorted(shards, key=lambda site: shards[site])
    return [f"site-{number}" for number in range(1, max(int(meta.get("min_clients") or 1), 1) + 1)]


def _read(folder: Path, name: str) -> dict[str, Any] | None:
    # NVFlare takes the first of these that exists.
    path = next((p for p in (folder / f"{name}.json", folder / f"{name}.conf") if p.is_file()), None)
    return None if path is None else read_hocon(path)
