"""A job folder: do its two configurations agree with each other, with its sites and with NVFlare?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rt_flare.configs import TrainingConfig
from rt_flare.jobs.check.finding import CheckFinding, Severity, error, warning
from rt_flare.timeouts.job_files import App, Component, JobFiles
from rt_flare.timeouts.lint import lint

__all__ = ["JobSettings", "check_agreement", "check_timeouts", "job_settings"]

# Rules that are not about timeouts.
_CODES = {"B30": "min-clients"}
_EXECUTOR, _PERSISTOR, _CONTROLLER = "PayloadExecutor", "CustomPersistor", "RtFedAvg"


@dataclass(frozen=True)
class JobSettings:
    """What one app of a job says about code and data, as far as it uses rt_flare's components.

    Attributes:
        app: the app.
        executor: arguments of the executor; empty when it is another one.
        persistor: arguments of the persistor; empty when it is another one.
        controller: arguments of the controller; empty when it is another one.
    """

    app: App
    executor: Mapping[str, Any]
    persistor: Mapping[str, Any]
    controller: Mapping[str, Any]

    @property
    def site_shards(self) -> dict[str, int]:
        """1-based shard of each site; empty when it is not set."""
        found = self.executor.get("site_shards")
        return dict(found) if isinstance(found, Mapping) else {}

    @property
    def user_module(self) -> str:
        """Importable name of the user's module."""
        return str(self.executor.get("user_module", "model_def"))

    @property
    def model_path(self) -> str:
        """Dotted path of the model, as the server has it."""
        return str(self.persistor.get("model_path", self.executor.get("model_path", "model_def.Model")))

    @property
    def model_args(self) -> dict[str, Any]:
        """Its arguments, as the server has them."""
        return dict(self.persistor.get("model_args") or {})

    def training(self) -> TrainingConfig:
        """What the sites train with.

        Raises:
            ValidationError: a value is out of range.
        """
        given = {name: self.executor[name] for name in TrainingConfig.model_fields if name in self.executor}
        return TrainingConfig.model_validate({**given, "extra": given.get("extra") or {}})


def job_settings(job: JobFiles) -> list[JobSettings]:
    """What each app of a job says."""
    return [
        JobSettings(
            app,
            _arguments(app.client.components() if app.client else (), _EXECUTOR),
            _arguments(app.server.components() if app.server else (), _PERSISTOR),
            _arguments(app.server.components() if app.server else (), _CONTROLLER),
        )
        for app in job.apps
    ]


def check_agreement(job: JobFiles, settings: JobSettings) -> Iterator[CheckFinding]:
    """Values that stand in two places, and numbers of sites, shards and clients."""
    client = settings.app.client.file if settings.app.client else job.folder
    server = settings.app.server.file if settings.app.server else job.folder
    if settings.executor and settings.persistor:
        for name in ("model_path", "model_args"):
            ours, theirs = settings.executor.get(name) or None, settings.persistor.get(name) or None
            if ours != theirs:
                yield error(
                    "model-differs",
                    client,
                    f"{ours!r}",
                    f"{theirs!r}, as in {server.name}",
                    "Set the same in both: the sites would build another model than the server.",
                    field=name,
                )
    try:
        settings.training()
    except ValidationError as problem:
        for one in problem.errors():
            name = ".".join(map(str, one["loc"]))
            yield error("value", client, repr(one["input"])[:200], one["msg"], "Correct the value.", field=name)
    yield from _check_sites(job, settings, client, server)


def check_timeouts(job: JobFiles) -> Iterator[CheckFinding]:
    """What the checks of timeouts find; their rules are the codes."""
    for found in lint([job.folder]).findings:
        if found.severity is Severity.INFO:
            continue
        yield CheckFinding(
            code=_CODES.get(found.rule, f"timeouts-{found.rule}"),
            severity=found.severity,
            file=str(found.file),
            field=found.key,
            found=str(found.found),
            expected=found.expected,
            fix=found.message,
        )


def _check_sites(job: JobFiles, settings: JobSettings, client: Path, server: Path) -> Iterator[CheckFinding]:
    shards = settings.site_shards
    of_round, of_job = settings.controller.get("min_clients"), job.meta.get("min_clients")
    if shards and sorted(shards.values()) != list(range(1, len(shards) + 1)):
        fix = "Give every site a shard of its own."
        numbers = ", ".join(f"{site}: {number}" for site, number in shards.items())
        yield error("site-shards", client, numbers, f"1 to {len(shards)}, each once", fix, field="site_shards")
    possible = isinstance(of_job, int) and (not shards or of_job <= len(shards))
    if possible and isinstance(of_round, int) and isinstance(of_job, int) and of_job > of_round:
        fix = f"Set both to {of_job}, or the job is aborted when a site leaves, though a round needs only {of_round}."
        yield warning("min-clients-differ", job.meta_file, str(of_job), f"{of_round}, as in {server.name}", fix)


def _arguments(components: Any, class_name: str) -> Mapping[str, Any]:
    found: list[Component] = [c for c in components if c.class_name == class_name and c.path.startswith("rt_flare.")]
    return found[0].args if found else {}
