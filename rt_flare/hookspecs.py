"""What a plugin can register. A hook names things; objects are imported when they are first used.

A plugin is a module that an entry point of the group ``rt_flare`` names, with functions marked by `hookimpl`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pluggy

from rt_flare.errors import ConfigError

__all__ = ["AdapterEntry", "hookimpl", "hookspec", "rt_flare_dataset_adapters"]

hookspec = pluggy.HookspecMarker("rt_flare")
hookimpl = pluggy.HookimplMarker("rt_flare")

_CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class AdapterEntry:
    """Where a dataset adapter is found.

    Attributes:
        path: the class, as ``package.module:Class``.
        install_hint: the command that installs what the class needs, shown when its import fails.

    Raises:
        ConfigError: ``path`` has another form.
    """

    path: str
    install_hint: str

    def __post_init__(self) -> None:
        if not _CLASS_PATH.fullmatch(self.path):
            raise ConfigError(f"adapter path: found {self.path!r}, expected 'package.module:Class'")


@hookspec
def rt_flare_dataset_adapters() -> Mapping[str, AdapterEntry]:  # type: ignore[empty-body]
    """Return the dataset adapters by the name that a job gives: lower-case letters, digits, ``-`` and ``_``."""
