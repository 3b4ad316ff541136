"""What a run left behind, wherever it stands: a folder of results, a server's run folder, a downloaded job."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rt_flare.core.contribution_pages import contributions_of, read_page
from rt_flare.core.durable_io import read_json
from rt_flare.core.environment import ENVIRONMENT_FILE, Environments, read_environments
from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Contribution, RoundRecord
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.hocon import read_hocon
from rt_flare.jobs.outcome import SUMMARY_FILE, read_summary
from rt_flare.report.site_rows import SiteTally, tally_sites

__all__ = ["ConfigFile", "ResultFile", "RunFolder", "SavedModel", "read_run"]

_MODEL_SCHEMA = "rt_flare.model/1"
_CONFIGS = "config_fed_*"
_CONFIG_PLACES = ("job/*/config", "app_*/config", "workspace/simulator/server/*/app_server/config", "../job/*/config")
_META_PLACES = ("job/meta.*", "meta.json", "../job/meta.*", "workspace/simulator/server/*/meta.json")
_MAX_CONFIGS = 12
_MAX_NOTES = 20


@dataclass(frozen=True)
class ConfigFile:
    """One configuration file of the job: its path from the run's folder, and its content."""

    path: Path
    content: dict[str, Any]


class SavedModel(BaseModel):
    """A saved model, as its sidecar describes it (see ``model.schema.json``)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    sha256: str
    size_bytes: int
    round: int
    model_path: str
    num_samples: int | None
    num_contributors: int = Field(validation_alias="contributors")
    versions: dict[str, str]

    @field_validator("num_contributors", mode="before")
    @classmethod
    def _count(cls, contributors: Any) -> Any:
        # Of a large job, all names of all models would not fit into memory.
        return len(contributors) if isinstance(contributors, list) else contributors


@dataclass(frozen=True)
class ResultFile:
    """A file of the results: its path from the run's folder, and its size in bytes."""

    path: Path
    size: int


@dataclass(frozen=True)
class RunFolder:
    """A run, read.

    Attributes:
        folder: the folder with ``files_out/``.
        ledger: the rounds and how the job ended.
        sites: what each site gave.
        job_name: name of the job; "" when no ``meta.json`` tells.
        models: the saved models: the last, the best, then those of the rounds.
        environments: what server and sites run on; None where it is not recorded.
        configs: the job's configuration files.
        files: everything in ``files_out/`` and ``model_out/`` and the logs, sorted by path.
        notes: what was found but could not be read.
    """

    folder: Path
    ledger: Ledger
    sites: SiteTally
    job_name: str
    models: tuple[SavedModel, ...]
    environments: Environments | None
    configs: tuple[ConfigFile, ...]
    files: tuple[ResultFile, ...]
    notes: tuple[str, ...]

    def contributions(self, record: RoundRecord) -> list[Contribution]:
        """All contributions of a round; of a large job, those that can be read."""
        try:
            return contributions_of(record, self.folder / SUMMARY_FILE.parent)
        except (OSError, ValueError):
            return record.contributions  # `notes` say so already


def read_run(path: Path) -> RunFolder:
    """Find and read the run at or below ``path``.

    Args:
        path: the folder of collected results, the server's run folder, the folder that ``nvflare job download`` wrote,
            or one above exactly one of them.

    Raises:
        JobError: there is no run, more than one, or its round summary cannot be read.
    """
    folder = _find(path)
    ledger = read_summary(folder)
    assert ledger is not None
    notes: list[str] = []
    files = _files(folder)
    return RunFolder(
        folder=folder,
        ledger=ledger,
        sites=tally_sites(ledger.rounds, _contributions(folder, ledger.rounds, notes)),
        job_name=_job_name(folder, notes),
        models=tuple(_models(folder, notes)),
        environments=_environments(folder, notes),
        configs=tuple(_configs(folder, notes)),
        files=tuple(files),
        notes=tuple(notes[:_MAX_NOTES]),
    )


def _find(path: Path) -> Path:
    if not path.exists():
        raise JobError(f"{path}: no such folder, expected one with {SUMMARY_FILE} in it")
    start = path.parent if path.is_file() or path.name == SUMMARY_FILE.parent.name else path
    for likely in (start, start.parent, start / "workspace"):
        if likely == start.parent and start.name != SUMMARY_FILE.parent.name:
            continue
        if (likely / SUMMARY_FILE).is_file():
            return likely
    found = [
        file.parent.parent for file in start.rglob(SUMMARY_FILE.name) if file.parent.name == SUMMARY_FILE.parent.name
    ]
    nearest = min((len(folder.parts) for folder in found), default=0)
    found = sorted(folder for folder in found if len(folder.parts) == nearest)
    if not found:
        raise JobError(
            f"{path}: no {SUMMARY_FILE} at or below it. Expected the folder of a run's results, a server's run folder, "
            "or what nvflare job download wrote; a job that never came to its first round leaves none"
        )
    if len(found) > 1:
        named = ", ".join(str(folder) for folder in found[:5])
        raise JobError(f"{path}: found {len(found)} runs, expected one; name one of them: {named}")
    return found[0]


def _contributions(
    folder: Path, records: Sequence[RoundRecord], notes: list[str]
) -> Iterator[tuple[int, Contribution]]:
    """Every contribution with the position of its round: from the records, or from the files that these name."""
    pages: dict[str, dict[int, int]] = defaultdict(dict)
    for position, record in enumerate(records):
        if record.paged is None:
            yield from ((position, contribution) for contribution in record.contributions)
        else:
            pages[record.paged.file][record.round] = position
    for file, positions in pages.items():
        path = folder / SUMMARY_FILE.parent / file
        try:
            for round_number, contribution in read_page(path):
                # A job that was resumed may have left rounds in it that came again.
                if round_number in positions:
                    yield positions[round_number], contribution
        except (OSError, ValueError) as error:
            notes.append(_left_out(folder, path, error))


def _models(folder: Path, notes: list[str]) -> list[SavedModel]:
    models = []
    for path in (folder / "model_out").glob("*.json"):
        try:
            document = read_json(path)
            if isinstance(document, dict) and document.get("schema") == _MODEL_SCHEMA:
                models.append(SavedModel.model_validate(document))
        except (OSError, ValueError) as error:
            notes.append(_left_out(folder, path, error))
    return sorted(models, key=lambda model: (model.file.startswith("model_round_"), -model.round, model.file))


def _environments(folder: Path, notes: list[str]) -> Environments | None:
    path = folder / SUMMARY_FILE.parent / ENVIRONMENT_FILE
    try:
        return read_environments(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        notes.append(_left_out(folder, path, error))
        return None


def _job_name(folder: Path, notes: list[str]) -> str:
    for pattern in _META_PLACES:
        for path in sorted(_glob(folder, pattern)):
            content = _readable_config(path, folder, notes)
            if content is not None and isinstance(content.get("name"), str):
                return str(content["name"])
    return ""


def _configs(folder: Path, notes: list[str]) -> list[ConfigFile]:
    for place in _CONFIG_PLACES:
        paths = sorted(path for path in _glob(folder, f"{place}/{_CONFIGS}") if path.suffix in {".json", ".conf"})
        if not paths:
            continue
        if len(paths) > _MAX_CONFIGS:
            notes.append(f"{len(paths)} configuration files; the first {_MAX_CONFIGS} are shown")
        read = [(path, _readable_config(path, folder, notes)) for path in paths[:_MAX_CONFIGS]]
        return [ConfigFile(_from(folder, path), content) for path, content in read if content is not None]
    return []


def _glob(folder: Path, pattern: str) -> list[Path]:
    base = folder
    while pattern.startswith("../"):
        base, pattern = base.resolve().parent, pattern[3:]
    return list(base.glob(pattern))


def _files(folder: Path) -> list[ResultFile]:
    top = [
        path for path in folder.iterdir() if path.suffix in {".txt", ".log"} or path.name == "artifact_manifest.json"
    ]
    deep = [path for name in ("files_out", "model_out") for path in (folder / name).rglob("*")]
    # A link may lead anywhere: only files of the run's own are named.
    own = sorted(path for path in (*top, *deep) if path.is_file() and not path.is_symlink())
    return [ResultFile(path.relative_to(folder), path.stat().st_size) for path in own]


def _readable_config(path: Path, folder: Path, notes: list[str]) -> dict[str, Any] | None:
    try:
        return read_hocon(path)
    except ConfigError as error:
        notes.append(_left_out(folder, path, error))
        return None


def _left_out(folder: Path, path: Path, error: Exception) -> str:
    return f"{_from(folder, path)} is not part of this report: {error}"


def _from(folder: Path, path: Path) -> Path:
    return Path(os.path.relpath(path, folder))
