"""A job folder as NVFlare reads it: which file of a name counts, variables filled in, components and arguments."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rt_flare.core.hocon_text import refuse_outside_references
from rt_flare.errors import ConfigError

__all__ = ["App", "Component", "ConfigFile", "JobFiles", "Kind", "is_job", "read_config", "read_job"]

Kind = Literal["workflow", "executor", "component"]

_REFERENCE = re.compile(r"\{@?(\w+)")
_HOCON_REFERENCE = re.compile(r"\$\{\??(\w+)")
_LISTS: tuple[tuple[str, Kind], ...] = (
    ("workflows", "workflow"),
    ("executors", "executor"),
    ("components", "component"),
    ("task_data_filters", "component"),
    ("task_result_filters", "component"),
)


@dataclass(frozen=True)
class Component:
    """A workflow, an executor or another component of a configuration, nested ones included.

    Attributes:
        kind: what it is.
        path: dotted path of its class; "" where only a name is given.
        args: its arguments, variables filled in.
        where: its place in the file, as ``workflows[0]``.
    """

    kind: Kind
    path: str
    args: Mapping[str, Any]
    where: str

    @property
    def class_name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class ConfigFile:
    """``config_fed_server`` or ``config_fed_client``.

    Attributes:
        file: the file.
        values: its content, variables filled in.
        variables: top-level keys that the file refers to as ``{NAME}``, or ``${NAME}`` in HOCON.
    """

    file: Path
    values: Mapping[str, Any]
    variables: frozenset[str]

    def components(self, *kinds: Kind) -> Iterator[Component]:
        """The components of these kinds, all without one."""
        for name, kind in _LISTS:
            for index, entry in enumerate(self.values.get(name) or []):
                for component in _components(entry, kind, f"{name}[{index}]"):
                    if not kinds or component.kind in kinds:
                        yield component


@dataclass(frozen=True)
class App:
    """One app of a job.

    Attributes:
        config_dir: its folder of configurations.
        code_dir: its folder of Python modules, which need not exist.
        server: ``config_fed_server``; None when it has none.
        client: ``config_fed_client``; None when it has none.
    """

    config_dir: Path
    code_dir: Path
    server: ConfigFile | None
    client: ConfigFile | None


@dataclass(frozen=True)
class JobFiles:
    """A job folder or a job template.

    Attributes:
        folder: the folder.
        meta_file: ``meta`` in the format that NVFlare finds first.
        meta: its content.
        apps: its apps.
    """

    folder: Path
    meta_file: Path
    meta: Mapping[str, Any]
    apps: tuple[App, ...]


def is_job(folder: Path) -> bool:
    """Whether a folder is a job or a job template: it holds ``meta``."""
    return any((folder / f"meta{ending}").is_file() for ending in (".json", ".conf", ".yml", ".yaml"))


def read_job(folder: Path) -> JobFiles:
    """Read a job folder, or a job template, which has its configurations beside ``meta``.

    Raises:
        ConfigError: a file cannot be parsed, or there is none to read.
    """
    found = read_config(folder, "meta")
    if found is None:
        raise ConfigError(f"{folder}: no meta.json or meta.conf, expected a job folder")
    meta_file, meta = found
    config_dirs = sorted(path for path in folder.glob("*/config") if path.is_dir())
    if not config_dirs and read_config(folder, "config_fed_server") is not None:
        config_dirs = [folder]
    if not config_dirs:
        raise ConfigError(f"{folder}: no app with a folder config, expected app/config/config_fed_server.json")
    apps = tuple(
        App(
            config_dir,
            config_dir.parent / "custom" if config_dir != folder else folder / "custom",
            _read_app_config(config_dir, "config_fed_server"),
            _read_app_config(config_dir, "config_fed_client"),
        )
        for config_dir in config_dirs
    )
    return JobFiles(folder, meta_file, meta, apps)


def read_config(folder: Path, name: str) -> tuple[Path, dict[str, Any]] | None:
    """Read the file that NVFlare finds for ``name`` directly in ``folder``: .json first, then .conf, .yml, .yaml.

    Raises:
        ConfigError: it cannot be parsed.
    """
    from nvflare.fuel.utils.config_factory import ConfigFactory

    format_, file = ConfigFactory.search_config_format(f"{name}.json", [str(folder)])
    if file is None or Path(file).parent != folder:
        return None
    if file.endswith(".conf"):
        refuse_outside_references(Path(file).read_text(encoding="utf-8"), file)
    try:
        content = ConfigFactory.get_config_loader(format_).load_config(file).to_dict()
    except Exception as error:  # the parsers of three formats share no base class
        raise ConfigError(f"{file}: cannot be parsed: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: found {type(content).__name__} at the top level, expected an object")
    return Path(file), content


def _read_app_config(folder: Path, name: str) -> ConfigFile | None:
    from nvflare.fuel.utils.json_scanner import JsonScanner
    from nvflare.fuel.utils.wfconf import resolve_var_refs

    found = read_config(folder, name)
    if found is None:
        return None
    file, raw = found
    values = copy.deepcopy(raw)
    try:
        resolve_var_refs(JsonScanner(values), dict(values))
    except Exception as error:  # NVFlare's own ConfigError, and what its scanner raises
        raise ConfigError(f"{file}: NVFlare cannot fill in its variables: {error}") from error
    # HOCON's own references are gone once the file is parsed.
    hocon = _HOCON_REFERENCE.findall(file.read_text(encoding="utf-8")) if file.suffix == ".conf" else []
    return ConfigFile(file, values, frozenset([*_references(raw), *hocon]))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _components(entry: Any, kind: Kind, where: str) -> Iterator[Component]:
    """The component that ``entry`` describes, and those in its arguments."""
    if not isinstance(entry, Mapping):
        return
    if kind == "executor" and isinstance(entry.get("executor"), Mapping):
        entry, where = entry["executor"], f"{where}.executor"
    path, args = entry.get("path") or entry.get("class_path") or "", entry.get("args") or {}
    if isinstance(path, str) and (path or "name" in entry) and isinstance(args, Mapping):
        yield Component(kind, path, args, where)
        for name, value in args.items():
            if isinstance(value, Mapping) and "." in str(value.get("path", "")) and "config_type" not in value:
                yield from _components(value, "component", f"{where}.args.{name}")
    for index, item in enumerate(entry.get("filters") or []):
        yield from _components(item, "component", f"{where}.filters[{index}]")
