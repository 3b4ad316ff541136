"""What a plugin can register. A hook names things; objects are imported when they are first used.

A plugin is a module that an entry point of the group ``rt_flare`` names, with functions marked by `hookimpl`. Names
are lower-case letters, digits, ``-`` and ``_``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pluggy

from rt_flare.errors import ConfigError

__all__ = [
    "COMPONENT_BASES",
    "HOOKS",
    "AdapterEntry",
    "ComponentEntry",
    "Entry",
    "PresetEntry",
    "TemplateEntry",
    "hookimpl",
    "hookspec",
    "rt_flare_components",
    "rt_flare_dataset_adapters",
    "rt_flare_job_templates",
    "rt_flare_timeout_presets",
]

hookspec = pluggy.HookspecMarker("rt_flare")
hookimpl = pluggy.HookimplMarker("rt_flare")

_OBJECT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

COMPONENT_BASES: Mapping[str, str] = MappingProxyType(
    {
        "aggregator": "nvflare.app_common.abstract.aggregator:Aggregator",
        "controller": "nvflare.apis.impl.controller:Controller",
        "executor": "nvflare.apis.executor:Executor",
        "filter": "nvflare.apis.filter:Filter",
        "persistor": "nvflare.app_common.abstract.learnable_persistor:LearnablePersistor",
        "widget": "nvflare.apis.fl_component:FLComponent",
    }
)
"""The kinds of components, and the NVFlare class that each must derive from."""


@dataclass(frozen=True, slots=True)
class AdapterEntry:
    """Where a dataset adapter is found.

    Attributes:
        path: the class, as ``package.module:Class``; its ``name`` is the one that it is registered under.
        install_hint: the command that installs what the class needs, shown when its import fails.

    Raises:
        ConfigError: ``path`` has another form.
    """

    noun: ClassVar[str] = "dataset adapter"

    path: str
    install_hint: str

    def __post_init__(self) -> None:
        _check_path(self.noun, self.path)


@dataclass(frozen=True, slots=True)
class ComponentEntry:
    """Where an NVFlare component is found.

    Attributes:
        kind: a key of `COMPONENT_BASES`.
        path: the class, as ``package.module:Class``.
        install_hint: the command that installs what the class needs, shown when its import fails.

    Raises:
        ConfigError: ``kind`` is unknown, or ``path`` has another form.
    """

    noun: ClassVar[str] = "component"

    kind: str
    path: str
    install_hint: str

    def __post_init__(self) -> None:
        if self.kind not in COMPONENT_BASES:
            raise ConfigError(f"component kind: found {self.kind!r}, expected one of {', '.join(COMPONENT_BASES)}")
        _check_path(self.noun, self.path)

    @property
    def nvflare_path(self) -> str:
        """The class as a job's configuration names it: ``package.module.Class``."""
        return self.path.replace(":", ".")


@dataclass(frozen=True, slots=True)
class TemplateEntry:
    """Where a job template is found.

    Attributes:
        folder: absolute path of the folder with the template's five files.

    Raises:
        ConfigError: ``folder`` is no absolute path.
    """

    noun: ClassVar[str] = "job template"

    folder: Path

    def __post_init__(self) -> None:
        folder: object = self.folder
        if not isinstance(folder, Path) or not folder.is_absolute():
            raise ConfigError(
                f"job template folder: found {folder!r}, expected an absolute Path, such as "
                "Path(__file__).resolve().parent / 'job_templates' / 'my_template'"
            )


@dataclass(frozen=True, slots=True)
class PresetEntry:
    """Where a timeout preset is found.

    Attributes:
        path: the preset object, as ``package.module:NAME``.
        install_hint: the command that installs what its module needs, shown when its import fails.

    Raises:
        ConfigError: ``path`` has another form.
    """

    noun: ClassVar[str] = "timeout preset"

    path: str
    install_hint: str

    def __post_init__(self) -> None:
        _check_path(self.noun, self.path)


Entry = AdapterEntry | ComponentEntry | TemplateEntry | PresetEntry


@hookspec
def rt_flare_dataset_adapters() -> Mapping[str, AdapterEntry]:  # type: ignore[empty-body]
    """Return the dataset adapters by the name that a job gives."""


@hookspec
def rt_flare_components() -> Mapping[str, ComponentEntry]:  # type: ignore[empty-body]
    """Return NVFlare components, such as aggregators, by the name that `render_job` takes."""


@hookspec
def rt_flare_job_templates() -> Mapping[str, TemplateEntry]:  # type: ignore[empty-body]
    """Return job templates by name; each one's folder bears that name too."""


@hookspec
def rt_flare_timeout_presets() -> Mapping[str, PresetEntry]:  # type: ignore[empty-body]
    """Return timeout presets by name."""


HOOKS: Mapping[str, type[Entry]] = MappingProxyType(
    {
        "rt_flare_dataset_adapters": AdapterEntry,
        "rt_flare_components": ComponentEntry,
        "rt_flare_job_templates": TemplateEntry,
        "rt_flare_timeout_presets": PresetEntry,
    }
)
"""Every hook, and what it registers."""


def _check_path(noun: str, path: object) -> None:
    if not isinstance(path, str) or not _OBJECT_PATH.fullmatch(path):
        raise ConfigError(f"{noun} path: found {path!r}, expected 'package.module:Class'")
