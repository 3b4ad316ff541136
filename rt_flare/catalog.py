"""The catalog of what is installed: read once from the entry points, then read-only.

Each plugin is loaded on its own. One that fails is left out and becomes a `PluginProblem`; the others work.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pluggy

from rt_flare import hookspecs
from rt_flare.errors import ConfigError
from rt_flare.hookspecs import AdapterEntry

if TYPE_CHECKING:
    from rt_flare.data.adapter import DatasetAdapter

__all__ = ["ENTRY_POINT_GROUP", "Catalog", "PluginProblem", "RegisteredAdapter", "load_catalog", "read_catalog"]

ENTRY_POINT_GROUP = "rt_flare"

_OWN_DISTRIBUTION = "rt-flare"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class RegisteredAdapter:
    """An adapter's entry, and the distribution that registered it."""

    entry: AdapterEntry
    distribution: str


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
class Catalog:
    """What is installed: adapters by name, and the problems that were met."""

    adapters: Mapping[str, RegisteredAdapter]
    problems: tuple[PluginProblem, ...]

    def adapter(self, name: str) -> type[DatasetAdapter]:
        """Import the dataset adapter ``name``.

        Raises:
            ConfigError: no adapter has that name, or it cannot be imported, or is not an adapter of that name.
        """
        found = self.adapters.get(name)
        if found is None:
            raise ConfigError(self._unknown(name))
        from rt_flare.data.adapter import DatasetAdapter  # late: it imports torch

        entry = found.entry
        module_name, _, class_name = entry.path.partition(":")
        place = f"dataset adapter {name!r} ({entry.path}, from {found.distribution})"
        try:
            adapter = getattr(importlib.import_module(module_name), class_name)
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{place} cannot be imported: {cause}. Install it: {entry.install_hint}") from error
        if not (isinstance(adapter, type) and issubclass(adapter, DatasetAdapter)):
            raise ConfigError(
                f"{place}: found {adapter!r}, expected a subclass of rt_flare.data.adapter.DatasetAdapter"
            )
        if getattr(adapter, "name", None) != name:
            found_name = getattr(adapter, "name", None)
            raise ConfigError(f"{place}: the class has the name {found_name!r}, expected {name!r}")
        return adapter

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.adapters, n=3)
        parts = [f"dataset adapter {name!r} is not installed."]
        if close:
            parts.append(f"Did you mean {' or '.join(repr(match) for match in close)}?")
        parts.append(f"Installed: {', '.join(sorted(self.adapters)) or 'none'}. Install the plugin that brings it on")
        parts.append("this machine and on every site, and see which plugins could not be used:")
        listed = "; ".join(f"{p.plugin} of {p.distribution}: {p.message}" for p in self.problems)
        return " ".join([*parts, listed or "none."])


@functools.cache
def load_catalog() -> Catalog:
    """Return the catalog of what is installed. The first call reads it; later ones return the same object."""
    return read_catalog(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))


def read_catalog(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Catalog:
    """Load the plugins that ``entry_points`` name, and read what they register.

    A name that two distributions claim is refused: neither of them gets it, except that rt_flare keeps its own.
    """
    plugins = pluggy.PluginManager("rt_flare")
    plugins.add_hookspecs(hookspecs)
    problems: list[PluginProblem] = []
    claims: dict[str, list[RegisteredAdapter]] = {}
    for point in sorted(entry_points, key=lambda point: (_distribution(point), point.name)):
        distribution = _distribution(point)
        try:
            registered = _register(plugins, point)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code may raise anything
            problems.append(PluginProblem(distribution, point.name, f"{type(error).__name__}: {error}"))
            continue
        for name, entry in registered.items():
            claims.setdefault(name, []).append(RegisteredAdapter(entry, distribution))
    adapters: dict[str, RegisteredAdapter] = {}
    for name, claimants in claims.items():
        own = [claimant for claimant in claimants if claimant.distribution == _OWN_DISTRIBUTION]
        if len(claimants) > 1:
            problems.append(_duplicate(name, claimants, kept=bool(own)))
        if own or len(claimants) == 1:
            adapters[name] = (own or claimants)[0]
    return Catalog(MappingProxyType(adapters), tuple(problems))


def _register(plugins: pluggy.PluginManager, point: importlib.metadata.EntryPoint) -> dict[str, AdapterEntry]:
    plugin = point.load()
    if plugins.is_registered(plugin):
        raise ConfigError(f"{point.value} is registered by another entry point already. Remove one.")
    name = f"{_distribution(point)}:{point.name}"
    try:
        plugins.register(plugin, name)
        plugins.check_pending()
        if not plugins.get_hookcallers(plugin):
            raise ConfigError(f"{point.value} implements no hook: mark its functions with rt_flare.hookspecs.hookimpl")
        return _adapters_of(plugins, plugin)
    except BaseException:
        if plugins.has_plugin(name):
            plugins.unregister(name=name)
        raise


def _adapters_of(plugins: pluggy.PluginManager, plugin: Any) -> dict[str, AdapterEntry]:
    adapters: dict[str, AdapterEntry] = {}
    for implementation in plugins.hook.rt_flare_dataset_adapters.get_hookimpls():
        if implementation.plugin is not plugin:
            continue
        registered = implementation.function()
        if not isinstance(registered, Mapping):
            raise ConfigError(f"rt_flare_dataset_adapters: found {type(registered).__name__}, expected a mapping")
        for name, entry in registered.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ConfigError(f"adapter name: found {name!r}, expected lower-case letters, digits, '-' and '_'")
            if not isinstance(entry, AdapterEntry):
                raise ConfigError(f"adapter {name!r}: found {type(entry).__name__}, expected an AdapterEntry")
            adapters[name] = entry
    return adapters


def _duplicate(name: str, claimants: list[RegisteredAdapter], *, kept: bool) -> PluginProblem:
    distributions = " and ".join(claimant.distribution for claimant in claimants)
    outcome = f"{_OWN_DISTRIBUTION} keeps it" if kept else "none of them gets it"
    message = (
        f"the adapter name {name!r} is claimed by {distributions}: {outcome}. Uninstall one or rename its adapter."
    )
    return PluginProblem(distributions, name, message)


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else point.dist.name
