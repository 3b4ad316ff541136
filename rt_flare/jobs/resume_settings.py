"""The settings of a job folder by which the job goes on where an earlier run of it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.errors import ResumeError
from rt_flare.jobs.hocon import read_hocon

__all__ = ["set_resumption"]

_WORKFLOW = "rt_flare.components.controller.RtFedAvg"


def set_resumption(job: Path, job_ids: Sequence[str], num_rounds: int | None) -> int:
    """Make a job folder's job go on from the earlier jobs ``job_ids``, newest first, and return its number of rounds.

    Args:
        job: the job folder; its server configuration is written again as JSON.
        job_ids: what ``resume_from`` of `RtFedAvg` takes.
        num_rounds: rounds of the whole job; None leaves them.

    Raises:
        ResumeError: the job has no server configuration, or a workflow other than `RtFedAvg`.
        ConfigError: the configuration cannot be read.
    """
    path = _server_config(job)
    document = read_json(path) if path.suffix == ".json" else read_hocon(path)
    arguments = _arguments(document, path)
    if job_ids:
        arguments["resume_from"] = list(job_ids)
    else:
        arguments.pop("resume_from", None)
    holder, key = arguments, "num_rounds"
    named = str(arguments.get(key, "")).strip("{}")
    if named in document:
        holder, key = document, named
    if num_rounds is not None:
        holder[key] = num_rounds
    write_json(path.with_suffix(".json"), document)
    if path.suffix != ".json":
        path.unlink()
    return int(holder.get(key, 5))


def _server_config(job: Path) -> Path:
    found = sorted(path for end in ("json", "conf") for path in job.glob(f"*/config/config_fed_server.{end}"))
    if len(found) != 1:
        raise ResumeError(f"{job}: found {len(found)} server configurations, expected one config_fed_server")
    return found[0]


def _arguments(document: dict[str, Any], path: Path) -> dict[str, Any]:
    workflows = document.get("workflows", [])
    ours = [workflow for workflow in workflows if workflow.get("path") == _WORKFLOW]
    if len(workflows) != 1 or not ours:
        names = ", ".join(str(workflow.get("path")) for workflow in workflows) or "none"
        raise ResumeError(f"{path}: found the workflows {names}, expected {_WORKFLOW} only: others do not resume")
    arguments: dict[str, Any] = ours[0].setdefault("args", {})
    return arguments
