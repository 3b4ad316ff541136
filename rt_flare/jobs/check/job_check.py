"""The check of a job folder, or of a job template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from rt_flare.configs import TrainingConfig
from rt_flare.data.verify_report import VerifyReport
from rt_flare.data.verify_shards import VerifyOptions
from rt_flare.errors import ConfigError
from rt_flare.jobs.check.dry_run import dry_run
from rt_flare.jobs.check.finding import CheckFinding, error
from rt_flare.jobs.check.job_config import JobSettings, check_agreement, check_timeouts, job_settings
from rt_flare.jobs.check.options import CheckOptions
from rt_flare.jobs.check.project_check import may_run
from rt_flare.jobs.check.secrets_in_files import check_secrets, files_that_travel
from rt_flare.jobs.check.shard_findings import check_shards, expected_manifest, shard_findings
from rt_flare.jobs.check.trial import Trial
from rt_flare.jobs.check.user_module import ModuleCheck, check_user_module
from rt_flare.timeouts.job_files import read_job

__all__ = ["check_job"]

Stage = Callable[[str], None]


def check_job(folder: Path, options: CheckOptions, on_stage: Stage) -> tuple[list[CheckFinding], list[str]]:
    """Check a job: secrets, configurations, timeouts, code and shards, and a dry run; returns what was not checked too.

    A job template, which has its configurations beside ``meta``, has no code and no shards to look at.
    """
    on_stage(f"Reading the job {folder}")
    findings = list(check_secrets(files_that_travel(folder)))
    unchecked: list[str] = []
    try:
        job = read_job(folder)
        findings += check_timeouts(job)
    except ConfigError as problem:
        fix = "Correct the file; NVFlare reads it as the check does."
        return [*findings, error("job-file", folder, str(problem), "a job that NVFlare can read", fix)], unchecked
    for settings in job_settings(job):
        findings += check_agreement(job, settings)
        if settings.app.config_dir == folder:
            unchecked.append("code and data: a template has none")
        elif settings.executor:
            findings += _check_app(settings, options, on_stage, unchecked)
        else:
            unchecked.append(f"code and data of {settings.app.config_dir.parent.name}: not rt_flare's executor")
    return findings, unchecked


def _check_app(
    settings: JobSettings, options: CheckOptions, on_stage: Stage, unchecked: list[str]
) -> list[CheckFinding]:
    try:
        training = settings.training()
    except ValidationError:
        return []  # named by check_agreement
    read = _read_module(settings, training, unchecked)
    findings = list(read.findings)
    shards_dir = Path(str(settings.executor.get("shards_dir") or ""))
    has_shards = bool(settings.executor.get("shards_dir")) and shards_dir.is_dir()
    report = VerifyReport()
    if has_shards:
        if options.shard_report is None:
            on_stage(f"Reading the shards in {shards_dir}")
        problems, report = _check_shards(settings, training, shards_dir, options, read)
        findings += problems
    else:
        unchecked.append("shards and training: no shards of this job are on this machine")
    model_path, persistor = settings.model_path, settings.persistor
    trial = Trial(
        files={},
        user_module=settings.user_module,
        model_path=model_path,
        model_args=settings.model_args,
        from_clients=persistor.get("initial_weights") == "clients" or not persistor,
        training=training.model_copy(update={"num_classes": training.num_classes or report.num_classes}),
        adapter=str(settings.executor.get("adapter") or "manifest"),
        adapter_args=settings.executor.get("adapter_args") or {},
    )
    if may_run(read, options, unchecked):
        code = settings.app.code_dir
        files = {p.relative_to(code).as_posix(): p for p in files_that_travel(code)} if code.is_dir() else {}
        findings += dry_run(
            trial,
            {**read.files, **files},
            options,
            shards_dir=shards_dir if has_shards else None,
            report=report,
            on_stage=on_stage,
            unchecked=unchecked,
        )
    return findings


def _read_module(settings: JobSettings, training: TrainingConfig, unchecked: list[str]) -> ModuleCheck:
    name, code = settings.user_module, settings.app.code_dir
    if "." in name:
        unchecked.append(f"code: {name} is installed, not part of the job")
        return ModuleCheck([], {})
    module, _, model = settings.model_path.rpartition(".")
    return check_user_module(
        code / f"{name}.py",
        name=f"{name}.py",
        model=model if module == name else "",
        model_args=settings.model_args,
        where="MODEL_PATH and MODEL_ARGS",
        extra=training.extra,
        requirements=code / "requirements.txt",
    )


def _check_shards(
    settings: JobSettings, training: TrainingConfig, folder: Path, options: CheckOptions, read: ModuleCheck
) -> tuple[list[CheckFinding], VerifyReport]:
    if options.shard_report is not None:
        return shard_findings(folder, options.shard_report), options.shard_report
    manifest = ""
    if settings.executor.get("adapter", "manifest") == "manifest":
        manifest = expected_manifest(folder, training.manifest_file, read.files.values())
    verify = VerifyOptions(
        num_sites=options.num_sites or len(settings.site_shards) or None,
        num_classes=training.num_classes,
        manifest_file=manifest,
        images=options.images,
        data_dir=str(settings.executor.get("data_dir") or "/var/tmp/nvflare/data"),  # noqa: S108 - the documented default
    )
    return check_shards(folder, verify)
