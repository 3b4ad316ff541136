"""The user's own executor or persistor in place of rt_flare's, in a job folder that was rendered."""

from __future__ import annotations

import importlib
import inspect
import sysconfig
from pathlib import Path
from typing import Any

from rt_flare.core.durable_io import read_json, write_bytes, write_json
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.user_modules import sibling_modules

__all__ = ["use_own_components"]


def use_own_components(job: Path, *, executor: type | str | None, persistor: type | str | None) -> None:
    """Put classes in place of the rendered job's executor and persistor.

    The job's arguments stay where the class takes them too, and the others are left out. The module of a class that is
    not installed goes into the job's custom folder, with the modules beside it that it imports.

    Args:
        job: a job folder that `render_job` wrote.
        executor: a class, or the dotted path of one; None leaves rt_flare's.
        persistor: the same.

    Raises:
        ConfigError: there is no such class, or it needs an argument that the job has no value for.
        JobError: its module cannot be shipped.
    """
    config = job / "app" / "config"
    if executor is not None:
        document = read_json(config / "config_fed_client.json")
        for entry in document["executors"]:
            _replace(entry["executor"], executor, job, "executor")
        write_json(config / "config_fed_client.json", document)
    if persistor is not None:
        document = read_json(config / "config_fed_server.json")
        entries = [entry for entry in document["components"] if entry.get("id") == "persistor"]
        if not entries:
            raise ConfigError("persistor: the job's template has no component with id 'persistor' to replace")
        _replace(entries[0], persistor, job, "persistor")
        write_json(config / "config_fed_server.json", document)


def _replace(entry: dict[str, Any], component: type | str, job: Path, what: str) -> None:
    cls = _class(component, what)
    options = inspect.signature(cls).parameters
    takes_any = any(option.kind is option.VAR_KEYWORD for option in options.values())
    kept = {name: value for name, value in entry.get("args", {}).items() if takes_any or name in options}
    lacking = [
        name
        for name, option in options.items()
        if option.default is option.empty
        and name not in kept
        and option.kind not in (option.VAR_KEYWORD, option.VAR_POSITIONAL)
    ]
    if lacking:
        raise ConfigError(
            f"{what}: {cls.__qualname__} needs {', '.join(lacking)}, which the job has no value for; give it a default"
        )
    entry["path"], entry["args"] = _ship(cls, job, what), kept


def _class(component: type | str, what: str) -> type:
    if isinstance(component, type):
        return component
    module, _, name = component.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{what}: found {component!r}, expected the dotted path of a class: {error}") from error
    if not isinstance(found, type):
        raise ConfigError(f"{what}: {component} is {type(found).__name__}, expected a class")
    return found


def _ship(cls: type, job: Path, what: str) -> str:
    """Put the class's module into the job unless it is installed, and return the path that NVFlare imports."""
    try:
        source = inspect.getsourcefile(cls)
    except (TypeError, OSError):
        source = None
    if "." in cls.__qualname__ or source is None:
        raise JobError(f"{what}: {cls.__qualname__} needs a module of its own, with the class at its top")
    file = Path(source).resolve()
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")]
    package = Path(__file__).resolve().parents[1]
    if any(file.is_relative_to(place) for place in (*installed, package)):
        return f"{cls.__module__}.{cls.__qualname__}"
    custom = job / "app" / "custom"
    for name, path in {file.name: file, **sibling_modules(file)}.items():
        target, content = custom / name, path.read_bytes()
        if target.is_file() and target.read_bytes() != content:
            raise JobError(f"{path}: a second file {name!r} in the job's custom folder; rename one of them")
        write_bytes(target, content)
    return f"{file.stem}.{cls.__qualname__}"
