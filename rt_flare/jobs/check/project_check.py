"""The check of a project, and of a module by itself."""

from __future__ import annotations

import dataclasses
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from rt_flare.configs import TrainingConfig
from rt_flare.data.verify_report import VerifyReport
from rt_flare.data.verify_shards import VerifyOptions
from rt_flare.errors import RtFlareError
from rt_flare.jobs.check.dry_run import dry_run
from rt_flare.jobs.check.finding import CheckFinding, Severity, error
from rt_flare.jobs.check.job_config import check_timeouts
from rt_flare.jobs.check.options import CheckOptions
from rt_flare.jobs.check.secrets_in_files import check_secrets
from rt_flare.jobs.check.shard_findings import check_shards, expected_manifest
from rt_flare.jobs.check.trial import Trial
from rt_flare.jobs.check.user_module import ModuleCheck, check_user_module
from rt_flare.jobs.given_values import with_template_values
from rt_flare.jobs.project import PROJECT_FILE, Project, ProjectConfig, render_project
from rt_flare.jobs.template import JobTemplate, load_template
from rt_flare.timeouts.job_files import read_job

__all__ = ["check_module", "check_project"]

Stage = Callable[[str], None]
Checked = tuple[list[CheckFinding], list[str]]


def check_module(path: Path, options: CheckOptions, on_stage: Stage) -> Checked:
    """Check a module, and try it on the shards that ``options`` names; returns what was not checked too."""
    on_stage(f"Reading {path}")
    read = check_user_module(
        path,
        model=options.model,
        model_args=options.model_args,
        where="--model and --model-args",
        extra=None,
        requirements=path.parent / "requirements.txt",
    )
    findings = [*read.findings, *check_secrets(read.files.values())]
    unchecked: list[str] = []
    report, training = VerifyReport(), TrainingConfig()
    if options.shards is not None:
        on_stage(f"Reading the shards in {options.shards}")
        manifest = expected_manifest(options.shards, training.manifest_file, read.files.values())
        verify = VerifyOptions(num_sites=options.num_sites, images=options.images, manifest_file=manifest)
        problems, report = check_shards(options.shards, verify)
        findings += problems
        training = training.model_copy(update={"num_classes": report.num_classes})
    else:
        unchecked.append("training: no data to try it with; --shards names some")
    trial = Trial(files={}, model_path=f"model_def.{options.model}", model_args=options.model_args, training=training)
    if may_run(read, options, unchecked):
        findings += dry_run(
            trial,
            read.files,
            options,
            shards_dir=options.shards,
            report=report,
            on_stage=on_stage,
            unchecked=unchecked,
        )
    return findings, unchecked


def check_project(folder: Path, options: CheckOptions, on_stage: Stage) -> Checked:
    """Check a project: its file, module, shards, job and secrets, and a dry run; returns what was not checked too."""
    path = folder / PROJECT_FILE
    findings = list(check_secrets([path]))
    config = _read_config(path)
    if not isinstance(config, ProjectConfig):
        return [*findings, *config], [f"module, shards and job: {PROJECT_FILE} must be corrected first"]
    project, unchecked = Project(folder.resolve(), config), list[str]()
    try:
        template = load_template(config.template)
    except RtFlareError as problem:
        fix = "rt-flare job list shows what is installed."
        findings.append(error("template", path, str(problem), "an installed job template", fix, field="template"))
        return findings, ["module, shards and job: the template is not known"]
    training = with_template_values(config.training, template)
    on_stage(f"Reading {config.model_def}")
    read = check_user_module(
        folder / config.model_def,
        model=config.model,
        model_args=config.model_args,
        where=PROJECT_FILE,
        extra=training.extra,
        requirements=folder / config.requirements,
    )
    findings += read.findings
    extra_files = {Path(name).name: folder / name for name in config.extra_files if (folder / name).is_file()}
    beside = [folder / config.requirements] if (folder / config.requirements).is_file() else []
    findings += check_secrets([*read.files.values(), *extra_files.values(), *beside])
    report = VerifyReport()
    adapter = config.adapter or str(template.client.get("ADAPTER") or "manifest")
    data_root = Path(config.data_root) if config.data_root else None
    if data_root is not None:
        findings += _check_sites(path, project, options.num_sites or config.federation.min_clients)
        if not any(finding.severity is Severity.ERROR for finding in findings):
            findings += _check_rendered(path, project)
        if not data_root.is_dir():
            unchecked.append(f"data and training: {data_root} is not on this machine")
    elif project.shards_dir is None:
        unchecked.append(f"the shards in {config.shards}: nothing is fetched")
    else:
        on_stage(f"Reading the shards in {folder / config.shards}")
        verify = _verify_options(folder / config.shards, template, adapter, training, options, read)
        problems, report = check_shards(folder / config.shards, verify)
        findings += problems
        findings += _check_sites(path, project, options.num_sites or len(report.shards))
        if not any(finding.severity is Severity.ERROR for finding in findings):
            findings += _check_rendered(path, project)
    trial = Trial(
        files={},
        model_path=f"model_def.{config.model}",
        model_args=config.model_args,
        from_clients=template.server.get("INITIAL_WEIGHTS") == "clients",
        training=training.model_copy(update={"num_classes": training.num_classes or report.num_classes}),
        adapter=adapter,
        adapter_args=config.adapter_args or template.client.get("ADAPTER_ARGS") or {},
    )
    if may_run(read, options, unchecked):
        findings += dry_run(
            trial,
            {**read.files, **extra_files},
            options,
            shards_dir=folder / config.shards if project.shards_dir else None,
            report=report,
            data_root=data_root if data_root and data_root.is_dir() else None,
            on_stage=on_stage,
            unchecked=unchecked,
        )
    return findings, unchecked


def may_run(read: ModuleCheck, options: CheckOptions, unchecked: list[str]) -> bool:
    """Whether a dry run would tell more; says in ``unchecked`` why not."""
    if not options.dry_run:
        unchecked.append("dry run: left out")
    elif read.findings and not read.can_run:
        unchecked.append("dry run: the module's errors come first")
    return options.dry_run and read.can_run


def _read_config(path: Path) -> ProjectConfig | list[CheckFinding]:
    try:
        return ProjectConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        return [error("project-file", path, str(problem), "TOML in UTF-8", "Correct the file.")]
    except ValidationError as problem:
        return [
            error(
                "project-file",
                path,
                repr(one["input"])[:200],
                one["msg"],
                "Correct the name or the value.",
                field=".".join(map(str, one["loc"])),
            )
            for one in problem.errors()
        ]


def _verify_options(
    shards: Path,
    template: JobTemplate,
    adapter: str,
    training: TrainingConfig,
    options: CheckOptions,
    read: ModuleCheck,
) -> VerifyOptions:
    of_images = adapter == "manifest" and "MANIFEST_FILE" in template.client
    manifest = expected_manifest(shards, training.manifest_file, read.files.values()) if of_images else ""
    return VerifyOptions(
        num_sites=options.num_sites, num_classes=training.num_classes, manifest_file=manifest, images=options.images
    )


def _check_sites(path: Path, project: Project, num_sites: int) -> Iterator[CheckFinding]:
    wanted = project.config.federation.min_clients
    if wanted > num_sites:
        fix = "Lower min_clients, or build more shards: no round could ever close."
        expected = f"at most {num_sites}, the number of shards"
        yield error("min-clients", path, str(wanted), expected, fix, field="federation.min_clients")


def _check_rendered(path: Path, project: Project) -> Iterator[CheckFinding]:
    """Render the job into a temporary folder, and check what came of it."""
    with tempfile.TemporaryDirectory(prefix="rt_flare_render_") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is checked above, or is said again when the job is rendered
        try:
            job, _ = render_project(project, Path(name) / "job")
            for finding in check_timeouts(read_job(job)):
                yield dataclasses.replace(finding, file=str(path))
        except RtFlareError as problem:
            yield error("render", path, str(problem), "values that a job can carry", "Correct the value.")
