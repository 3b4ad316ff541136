"""A job of the published SDK, turned into a project."""

from __future__ import annotations

import ast
import keyword
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import tomli_w
from pydantic import ValidationError

from rt_flare.core.durable_io import write_bytes
from rt_flare.data.shard_names import shard_name
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.project import PROJECT_FILE, ProjectConfig
from rt_flare.jobs.published.change import Change, ChangeKind
from rt_flare.jobs.published.components import component_changes
from rt_flare.jobs.published.foreign_folder import ForeignFolder
from rt_flare.jobs.published.published_job import EXECUTOR_FILE, PERSISTOR_FILE, PublishedJob, read_job, shard_order
from rt_flare.jobs.published.settings import federation_settings, model_settings, training_settings

__all__ = ["ImportedJob", "import_job"]

_MAX_SOURCE_BYTES = 4 << 20
_MAX_REQUIREMENTS_BYTES = 1 << 20
_MAX_SOURCES = 1_000
_MAX_DEPTH = 8
_CHECKPOINT = "initial_model.pt"
_KEPT, _MAPPED, _DROPPED = ChangeKind.KEPT, ChangeKind.MAPPED, ChangeKind.DROPPED
_OWN_REQUIREMENT = re.compile(r"\s*resontech\b", re.IGNORECASE)
_HEAD = "# Imported from a job of the published SDK. What the keys mean: docs/check.md, Projects.\n\n"


@dataclass(frozen=True)
class ImportedJob:
    """What an import gave.

    Attributes:
        project: the project's folder.
        changes: what became of everything in the job.
    """

    project: Path
    changes: tuple[Change, ...]

    @property
    def needs_attention(self) -> bool:
        """Whether the project trains something else, or tells more, than the job did."""
        return any(change.needs_attention for change in self.changes)


def import_job(folder: Path, out: Path | None = None, *, shards: Path | None = None) -> ImportedJob:
    """Write a project that does what a job of the published SDK did.

    No code of the job is run, and no weights are read. No symbolic link in it is followed.

    Args:
        folder: the job: ``configs/`` and ``scripts/`` as the SDK uploads them, with ``shards/``, ``requirements/`` and
            ``model/`` where there are any, or an NVFlare job of the same files.
        out: the project; new or empty. None takes the job's name, in the working folder.
        shards: folder with the job's shards where it has none of its own.

    Raises:
        JobError: ``folder`` holds no such job, or a file that is not taken: a link, a pipe, too large, no Python; or
            ``out`` holds something.
        ConfigError: a configuration cannot be understood, or a value has no counterpart that would be the same.
    """
    job = read_job(ForeignFolder(folder))
    changes: list[Change] = []
    config: dict[str, Any] = {**model_settings(job, changes)}
    training = training_settings(job, changes)
    images = {"img_size", "num_classes", "manifest_file"} & set(training)
    config["template"] = "rt_fedavg" if images else "rt_custom"
    federation = federation_settings(job, changes)
    sources = dict(_sources(job, changes))
    module = f"{job.arguments.adapter_module}.py"
    if module not in sources:
        raise JobError(
            f"{job.folder.root / job.scripts / module}: no such file, expected the module with {module[:-3]}"
        )
    config["model_def"] = module
    sources[module] = _with_contract(job, sources[module], changes)
    changes.extend(component_changes(job))
    requirements = _requirements(job, changes)
    data, zips = _data(job, shards, config, changes)
    if job.checkpoint:
        config["checkpoint"] = _CHECKPOINT
        changes.append(Change(_KEPT, job.checkpoint, "checkpoint", "must be a state dict; it was not opened"))
    config |= {"training": training, "federation": federation}
    text = _project_file(config)

    target = out if out is not None else Path(federation["job_name"])
    if target.exists() and (not target.is_dir() or os.listdir(target)):  # noqa: PTH208
        raise JobError(f"{target}: exists and is not empty; name another folder, with --out")
    for name in zips:
        data.check(name)
    if job.checkpoint:
        job.folder.check(job.checkpoint)
    for number, name in enumerate(zips, start=1):
        data.copy(name, target / "shards" / shard_name(number))
    if job.checkpoint:
        job.folder.copy(job.checkpoint, target / _CHECKPOINT)
    for name, content in sources.items():
        write_bytes(target / name, content)
    if requirements:
        write_bytes(target / "requirements.txt", requirements)
    write_bytes(target / PROJECT_FILE, text.encode())
    return ImportedJob(target, tuple(changes))


def _data(
    job: PublishedJob, shards: Path | None, config: dict[str, Any], changes: list[Change]
) -> tuple[ForeignFolder, tuple[str, ...]]:
    """Where the shards are and what they are called; without any, ``config`` gets the place of the sites' data."""
    folder, zips = job.folder, job.shards
    if shards is not None:
        folder = ForeignFolder(shards)
        zips = tuple(shard_order(folder.names()[0]))
        if not zips:
            raise JobError(f"{shards}: found no ZIP, expected one for each site")
    root = job.arguments.data_root
    if zips:
        changes.append(Change(_MAPPED, f"{len(zips)} shards", "shards", f"named {shard_name(1)} and on"))
        changes.append(Change(_MAPPED, f"data_root {root}", 'env["DATA_ROOT"]', "the site's unpacked shard"))
    else:
        config["data_root"] = root
        changes.append(Change(_KEPT, f"data_root {root}", "data_root"))
    return folder, zips


def _project_file(config: dict[str, Any]) -> str:
    try:
        ProjectConfig.model_validate(config)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigError(f"the job cannot be a project: {problems}") from error
    return _HEAD + tomli_w.dumps(config)


def _sources(job: PublishedJob, changes: list[Change]) -> Iterator[tuple[str, bytes]]:
    """The user's modules, by their path; the two of the SDK are accounted for elsewhere."""
    found, queue = 0, [PurePosixPath()]
    while queue:
        below = queue.pop()
        files, folders = job.folder.names(str(job.scripts / below))
        if len(below.parts) < _MAX_DEPTH:
            queue += [below / name for name in folders if name != "__pycache__"]
        for name in files:
            path = (below / name).as_posix()
            if path in (EXECUTOR_FILE, PERSISTOR_FILE) or f"{job.scripts}/{path}" == job.requirements:
                continue
            if not name.endswith(".py"):
                changes.append(Change(_DROPPED, path, reason="no module; name it in extra_files of the project"))
                continue
            found += 1
            if found > _MAX_SOURCES:
                raise JobError(f"{job.folder.root / job.scripts}: more than {_MAX_SOURCES} modules")
            changes.append(Change(_KEPT, path, path))
            yield path, job.folder.read(f"{job.scripts}/{path}", _MAX_SOURCE_BYTES)


def _with_contract(job: PublishedJob, source: bytes, changes: list[Change]) -> bytes:
    """The module, with names for its functions that rt_flare looks for."""
    given = job.arguments
    defined = _defined(source, str(job.folder.root / job.scripts / f"{given.adapter_module}.py"))
    if other := sorted({"fl_train_model", "fl_validate_model"} & defined):
        raise JobError(
            f"{given.adapter_module}.py defines {other[0]}, which rt_flare would call instead of {given.train_fn}, "
            "with other arguments; rename it"
        )
    lines = []
    for ours, theirs in (("fl_train", given.train_fn), ("fl_validate", given.validate_fn)):
        if not theirs.isidentifier() or keyword.iskeyword(theirs):
            raise ConfigError(f"executor args: found the function {theirs!r}, expected a name")
        if theirs != ours and theirs in defined:
            lines.append(f"{ours} = {theirs}\n")
            changes.append(Change(_MAPPED, f"function {theirs}", ours, "a line at the end of the module names it so"))
        elif theirs in defined:
            changes.append(Change(_KEPT, f"function {theirs}", ours))
    if given.validate_fn in defined:
        why = 'called every round on the received model; must return {"metrics": {...}}'
        changes.append(Change(_MAPPED, f"calls of {given.validate_fn}", "fl_validate", why))
    return source + ("\n\n# The names that rt_flare looks for.\n" + "".join(lines)).encode() if lines else source


def _defined(source: bytes, where: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise JobError(f"{where}{f':{line}' if line else ''}: no valid Python: {error}") from error
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def _requirements(job: PublishedJob, changes: list[Change]) -> bytes:
    if not job.requirements:
        return b""
    lines = job.folder.read(job.requirements, _MAX_REQUIREMENTS_BYTES).decode("utf-8", "replace").splitlines()
    kept = [line for line in lines if not _OWN_REQUIREMENT.match(line)]
    why = "a job installs nothing: every site has it installed beforehand"
    changes.append(Change(_MAPPED, "requirements.txt", "requirements.txt", why))
    if len(kept) < len(lines):
        changes.append(Change(_DROPPED, "requirement resontech", reason="rt_flare takes its place"))
    return ("\n".join(kept) + "\n").encode()
