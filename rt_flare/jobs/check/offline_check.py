"""The offline check of a module, a project, shards or a job: one pass, every problem."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rt_flare.data.verify_shards import VerifyOptions
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.check.finding import CheckFinding
from rt_flare.jobs.check.job_check import check_job
from rt_flare.jobs.check.options import CheckOptions, CheckReport, Target
from rt_flare.jobs.check.project_check import check_module, check_project
from rt_flare.jobs.check.shard_findings import check_shards, expected_manifest
from rt_flare.jobs.project import PROJECT_FILE, is_project
from rt_flare.timeouts.finding import Severity
from rt_flare.timeouts.job_files import is_job

__all__ = ["check_path", "refuse_errors", "target_of"]


def check_path(
    path: Path, options: CheckOptions | None = None, on_stage: Callable[[str], None] = lambda text: None
) -> CheckReport:
    """Check what ``path`` is; nothing is uploaded, and the user's code runs in a child process only.

    Args:
        path: a module (``model_def.py``), or a folder: a project, shards, a job, or one with a ``model_def.py``.
        options: what the files do not say.
        on_stage: called with a line of text when something begins.

    Raises:
        ConfigError: ``path`` is none of these.
    """
    options = options or CheckOptions()
    kind = target_of(path)
    unchecked: list[str] = []
    if kind is Target.SHARDS:
        on_stage(f"Reading the shards in {path}")
        manifest = expected_manifest(path)
        verify = VerifyOptions(num_sites=options.num_sites, images=options.images, manifest_file=manifest)
        findings = check_shards(path, verify)[0]
    elif kind is Target.JOB:
        findings, unchecked = check_job(path, options, on_stage)
    elif kind is Target.PROJECT:
        findings, unchecked = check_project(path, options, on_stage)
    else:
        findings, unchecked = check_module(path if path.is_file() else path / "model_def.py", options, on_stage)
    return CheckReport(path, kind, tuple(_sorted(findings)), tuple(unchecked))


def refuse_errors(path: Path, options: CheckOptions | None = None) -> None:
    """Check ``path`` and do nothing if the job would not fail.

    Raises:
        JobError: it would; the message lists every error.
        ConfigError: see `check_path`.
    """
    errors = [finding for finding in check_path(path, options).findings if finding.severity is Severity.ERROR]
    if errors:
        lines = "".join(f"\n  {finding.code}: {finding}" for finding in errors)
        raise JobError(f"{path}: {len(errors)} mistakes were found, and nothing was sent:{lines}")


def target_of(path: Path) -> Target:
    """What ``path`` is.

    Raises:
        ConfigError: nothing that can be checked.
    """
    if path.is_file() and path.suffix == ".py":
        return Target.MODULE
    if path.is_dir():
        if is_project(path):
            return Target.PROJECT
        if is_job(path):
            return Target.JOB
        if (path / "model_def.py").is_file():
            return Target.MODULE
        if any(path.glob("*.zip")):
            return Target.SHARDS
    found = "no such file or folder" if not path.exists() else "none of them"
    raise ConfigError(
        f"{path}: {found}, expected a module (model_def.py), a project (with {PROJECT_FILE}), a job (with meta.json) "
        "or a folder of shards (shard_0001.zip)"
    )


def _sorted(findings: list[CheckFinding]) -> list[CheckFinding]:
    order = list(Severity)
    unique = list(dict.fromkeys(findings))
    return sorted(unique, key=lambda f: (order.index(f.severity), f.file, f.line or 0))
