"""From a project to a running job."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rt_flare.jobs.destination import Destination
from rt_flare.jobs.project import Project, render_project
from rt_flare.jobs.submit import submit_job
from rt_flare.jobs.submitted_job import Job

__all__ = ["submit_project"]


def submit_project(
    project: Project, folder: Path, destination: Destination, *, sites: Sequence[str] | None = None
) -> Job:
    """Render a project's job and submit it.

    Args:
        project: the project.
        folder: the job's folder (see `submit_job`).
        destination: where it goes.
        sites: names of the sites, in the order of their shards; None takes those that are connected to a server, else
            ``site-1`` and on.

    Raises:
        ConfigError, DataError, JobError, LinkError, ShardError: as in `render_project` and `submit_job`.
    """
    if sites is None and destination.kit is not None:
        from rt_flare.jobs.admin_connection import AdminConnection
        from rt_flare.jobs.deployed_job import connected_sites

        with AdminConnection(destination.kit) as connection:
            sites = connected_sites(connection)
    # On this machine the data stays with the job; a site of a server knows where it has room.
    data_dir = "" if destination.kit else (folder / "data").resolve()
    with tempfile.TemporaryDirectory(prefix="rt_flare_job_") as name:
        job, named = render_project(project, Path(name) / "job", sites=sites, data_dir=data_dir)
        return submit_job(job, folder, destination, sites=named)
