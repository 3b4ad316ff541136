"""Job folders made from a template and changed in place: with their comments, and without a folder for code unless
there is code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt_flare.core.durable_io import json_bytes, read_json, write_bytes
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.assignments import FILES, assign, settable
from rt_flare.jobs.config_lines import Setting, read_settings, replace_values
from rt_flare.jobs.hocon import read_hocon
from rt_flare.jobs.render import custom_files
from rt_flare.jobs.template import find_template

__all__ = ["ConfigFile", "create_job", "read_job", "read_template_files", "set_in_job"]

_ENDINGS = (".json", ".conf")


@dataclass(frozen=True)
class ConfigFile:
    """One configuration of a template or a job.

    Attributes:
        kind: ``meta``, ``server`` or ``client``.
        path: the file.
        content: its values.
        settings: its top-level values with what is said about them, in the file's order.
    """

    kind: str
    path: Path
    content: dict[str, Any]
    settings: tuple[Setting, ...]


def read_template_files(name: str) -> list[ConfigFile]:
    """Read the configurations of the template ``name``.

    Raises:
        ConfigError: there is no such template, or a file of it cannot be read.
    """
    folder = find_template(name)
    return [_read(kind, folder / f"{base}.conf") for kind, base in FILES.items()]


def read_job(folder: Path) -> list[ConfigFile]:
    """Read the configurations of a job with one app.

    Raises:
        JobError: ``folder`` is no job, or one with several apps.
        ConfigError: a file cannot be read.
    """
    apps = sorted(path.parent for path in folder.glob("*/config") if path.is_dir())
    if not any(folder.glob("meta.*")) or not apps:
        raise JobError(f"{folder}: found no meta.conf or meta.json beside an app, expected a job folder of NVFlare")
    if len(apps) > 1:
        names = ", ".join(app.name for app in apps)
        raise JobError(f"{folder}: found the apps {names}, expected one; change their files in an editor")
    places = {"meta": folder, "server": apps[0] / "config", "client": apps[0] / "config"}
    return [_read(kind, _find(places[kind], base)) for kind, base in FILES.items()]


def create_job(
    template: str, out: Path, assignments: Sequence[str] = (), *, model_def: Path | None = None
) -> list[ConfigFile]:
    """Make the job folder ``out`` from a template.

    The configurations keep their comments. ``app/custom/`` exists only with ``model_def``: NVFlare takes a job with
    that folder, even an empty one, for a job with code of its own.

    Args:
        template: its name.
        out: the job folder; new or empty.
        assignments: ``NAME=VALUE`` (see `assign`).
        model_def: the user's module; goes along with the modules beside it that it imports.

    Returns:
        The job's configurations.

    Raises:
        ConfigError: no such template or setting, or a value that cannot be.
        JobError: ``out`` holds something, or ``model_def`` cannot be shipped.
    """
    if out.exists() and (not out.is_dir() or os.listdir(out)):  # noqa: PTH208
        raise JobError(f"{out}: exists and is not empty; choose another folder or remove it")
    files = read_template_files(template)
    changes = assign({file.kind: file.content for file in files}, assignments)
    texts = {file.path: _text(file, changes.get(file.kind, {})) for file in files}
    code = custom_files(model_def)
    for file in files:
        folder = out if file.kind == "meta" else out / "app" / "config"
        write_bytes(folder / file.path.name, texts[file.path])
    for name, content in code.items():
        write_bytes(out / "app" / "custom" / name, content)
    return read_job(out)


def set_in_job(folder: Path, assignments: Sequence[str]) -> dict[Path, dict[str, Any]]:
    """Change settings of a job in place; comments stay.

    Returns:
        What was changed, by file.

    Raises:
        ConfigError: no such setting, a value that cannot be, or a file that cannot be read or changed line by line.
        JobError: ``folder`` is no job with one app.
    """
    files = read_job(folder)
    changes = assign({file.kind: file.content for file in files}, assignments)
    texts = {file.path: _text(file, changes[file.kind]) for file in files if file.kind in changes}
    for path, text in texts.items():
        write_bytes(path, text)
    return {file.path: changes[file.kind] for file in files if file.kind in changes}


def _read(kind: str, path: Path) -> ConfigFile:
    content = read_json(path) if path.suffix == ".json" else read_hocon(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found a {type(content).__name__}, expected an object")
    if path.suffix == ".json":
        settings = tuple(Setting(name, value, "", "", 0) for name, value in settable(content).items())
    else:
        settings = tuple(s for s in read_settings(path.read_text(), str(path)) if s.name in settable(content))
    return ConfigFile(kind, path, content, settings)


def _find(folder: Path, base: str) -> Path:
    found = [folder / f"{base}{ending}" for ending in _ENDINGS if (folder / f"{base}{ending}").is_file()]
    if not found:
        raise JobError(f"{folder}: found no {base}.conf or {base}.json")
    if len(found) > 1:
        raise ConfigError(f"{folder}: found {found[0].name} and {found[1].name}; NVFlare reads {found[0].name} only")
    return found[0]


def _text(file: ConfigFile, values: Mapping[str, Any]) -> bytes:
    if not values:
        return file.path.read_bytes()
    if file.path.suffix == ".json":
        return json_bytes({**file.content, **values})
    return replace_values(file.path.read_text(), values, str(file.path)).encode()
