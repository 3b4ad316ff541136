"""Loading plugins, each on its own: one that fails becomes a `PluginProblem`, and the others work."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from rt_flare import __version__, hookspecs
from rt_flare.errors import ConfigError
from rt_flare.hookspecs import HOOKS, Entry

__all__ = ["OWN_DISTRIBUTION", "InstalledPlugin", "PluginProblem", "load_plugins"]

OWN_DISTRIBUTION = "rt-flare"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PREFIX = "rt_flare_"


@dataclass(frozen=True, slots=True)
class PluginProblem:
    """Why a plugin, or one of its names, is left out.

    Attributes:
        distribution: the installed package that brought it; for a name that is claimed twice, each of them.
        plugin: name of the entry point, or of what is left out.
        message: what is wrong and what to do.
    """

    distribution: str
    plugin: str
    message: str


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A plugin that was found, whether it could be loaded or not.

    Attributes:
        distribution: the installed package that brought it.
        version: that package's version; empty where its metadata lack it.
        entry_point: name of the entry point.
        entries: what it registers: hook to name to entry; empty when it could not be loaded.
    """

    distribution: str
    version: str
    entry_point: str
    entries: Mapping[str, Mapping[str, Entry]] = field(default_factory=lambda: MappingProxyType({}))


def load_plugins(
    entry_points: Iterable[importlib.metadata.EntryPoint],
) -> tuple[list[InstalledPlugin], list[PluginProblem]]:
    """Load the plugins that ``entry_points`` name, in the order of their distributions' names."""
    registry = pluggy.PluginManager("rt_flare")
    registry.add_hookspecs(hookspecs)
    plugins: list[InstalledPlugin] = []
    problems: list[PluginProblem] = []
    for point in sorted(entry_points, key=lambda point: (_distribution(point), point.name)):
        distribution = _distribution(point)
        version: str | None = None if point.dist is None else point.dist.version
        try:
            entries = _register(registry, point)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code may raise anything
            entries = {}
            text = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
            problems.append(PluginProblem(distribution, point.name, text))
        plugins.append(InstalledPlugin(distribution, version or "", point.name, MappingProxyType(entries)))
    return plugins, problems


def _register(registry: pluggy.PluginManager, point: importlib.metadata.EntryPoint) -> dict[str, Mapping[str, Entry]]:
    _check_version(point)
    plugin = point.load()
    if registry.is_registered(plugin):
        raise ConfigError(f"{point.value} is registered by another entry point already. Remove one.")
    _check_names(registry, point.value, plugin)
    name = f"{_distribution(point)}:{point.name}"
    try:
        registry.register(plugin, name)
        registry.check_pending()
        if not registry.get_hookcallers(plugin):
            raise ConfigError(f"{point.value} implements no hook: mark its functions with rt_flare.hookspecs.hookimpl")
        return {hook: _entries_of(registry, plugin, hook) for hook in HOOKS}
    except BaseException:
        if registry.has_plugin(name):
            registry.unregister(name=name)
        raise


def _check_version(point: importlib.metadata.EntryPoint) -> None:
    """A plugin says by its distribution's requirement on rt-flare which versions it works with."""
    for line in (point.dist.requires if point.dist is not None else None) or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            raise ConfigError(f"its requirement {line!r} cannot be read: {error}. Reinstall the package.") from error
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if canonicalize_name(requirement.name) != OWN_DISTRIBUTION or not applies:
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            raise ConfigError(
                f"it needs {OWN_DISTRIBUTION}{requirement.specifier}, found {OWN_DISTRIBUTION} {__version__}. Install "
                f"a release of {_distribution(point)} for this version, or another version of {OWN_DISTRIBUTION}."
            )


def _check_names(registry: pluggy.PluginManager, place: str, plugin: Any) -> None:
    """pluggy overlooks a hook whose mark was forgotten, and its text on a misspelt one has no suggestion."""
    for name in dir(plugin):
        options = registry.parse_hookimpl_opts(plugin, name)
        if options is None:
            value = getattr(plugin, name)
            imported = value is getattr(hookspecs, name, None)
            if name.startswith(_PREFIX) and inspect.isroutine(value) and not imported:
                raise ConfigError(f"{place}: {name} is not marked with rt_flare.hookspecs.hookimpl. Mark or rename it.")
        elif name not in HOOKS and not options["optionalhook"]:
            close = difflib.get_close_matches(name, HOOKS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"The hooks are {', '.join(HOOKS)}."
            raise ConfigError(f"{place}: unknown hook {name!r}. {hint}")


def _entries_of(registry: pluggy.PluginManager, plugin: Any, hook: str) -> Mapping[str, Entry]:
    expected = HOOKS[hook]
    entries: dict[str, Entry] = {}
    for implementation in getattr(registry.hook, hook).get_hookimpls():
        if implementation.plugin is not plugin:
            continue
        registered = implementation.function()
        if not isinstance(registered, Mapping):
            raise ConfigError(f"{hook}: found {type(registered).__name__}, expected a mapping of names to entries")
        for name, entry in registered.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ConfigError(f"{hook}: found the name {name!r}, expected lower-case letters, digits, '-' and '_'")
            if not isinstance(entry, expected):
                found = type(entry).__name__
                raise ConfigError(f"{hook}: {name!r}: found {found}, expected rt_flare.hookspecs.{expected.__name__}")
            entries[name] = entry
    return MappingProxyType(entries)


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    # Damaged metadata may lack the name.
    name: str | None = None if point.dist is None else point.dist.name
    return name or "an unknown distribution"
