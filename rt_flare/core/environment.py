"""What a process runs on: versions and machine, without names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from rt_flare.core.durable_io import read_document, write_json

__all__ = ["ENVIRONMENT_FILE", "Environment", "Environments", "SiteEnvironment", "own_environment", "read_environments"]

ENVIRONMENT_FILE = "environment.json"
_SCHEMA = "rt_flare.environment/1"
_Text = Annotated[str, StringConstraints(max_length=200)]


class Environment(BaseModel):
    """What one process runs on.

    Attributes:
        python, rt_flare, nvflare, torch: versions; None for a package that is not installed.
        system: operating system, its release and the machine's architecture.
        cpus: processors that the process may use.
        memory_bytes: the machine's memory.
        gpus: CUDA devices that PyTorch sees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: _Text
    rt_flare: _Text | None
    nvflare: _Text | None
    torch: _Text | None
    system: _Text
    cpus: int = Field(ge=1, le=2**31)
    memory_bytes: int = Field(ge=0, le=2**63)
    gpus: int = Field(ge=0, le=2**31)


class SiteEnvironment(Environment):
    """What one site's job process runs on, as the site says."""

    site: str


class Environments(BaseModel):
    """The content of ``environment.json`` (schema ``environment.schema.json``).

    Attributes:
        job_id: NVFlare's id of the job.
        server: of the server's job process.
        sites: of the sites that have answered, in the order of their names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    server: Environment
    sites: list[SiteEnvironment]

    def write(self, folder: Path) -> None:
        """Write ``environment.json`` into ``folder``, atomically."""
        write_json(folder / ENVIRONMENT_FILE, {"schema": _SCHEMA, **self.model_dump()})


def read_environments(path: Path) -> Environments:
    """Read an ``environment.json``.

    Raises:
        ValueError: the file is no such document; OSError: it cannot be read.
    """
    return Environments.model_validate(read_document(path, _SCHEMA))


@cache
def own_environment() -> Environment:
    """Describe this process."""
    import torch  # here: to read what others wrote needs none

    return Environment(
        python=platform.python_version(),
        rt_flare=_version("rt-flare"),
        nvflare=_version("nvflare"),
        torch=_version("torch"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}"[:200],
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        gpus=torch.cuda.device_count(),
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
