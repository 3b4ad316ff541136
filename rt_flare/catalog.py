"""The catalog of what is installed: read once from the entry points, then read-only."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rt_flare.errors import ConfigError
from rt_flare.hookspecs import COMPONENT_BASES, HOOKS, AdapterEntry, ComponentEntry, Entry, PresetEntry, TemplateEntry
from rt_flare.plugin_loading import OWN_DISTRIBUTION, InstalledPlugin, PluginProblem, load_plugins

if TYPE_CHECKING:
    from rt_flare.data.adapter import DatasetAdapter

__all__ = [
    "ENTRY_POINT_GROUP",
    "PUBLISHED",
    "Catalog",
    "InstalledPlugin",
    "PluginProblem",
    "Registered",
    "load_catalog",
    "read_catalog",
]

ENTRY_POINT_GROUP = "rt_flare"

PUBLISHED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "dataset adapter": {
            "imagefolder": "rt-flare-imagefolder",
            "jsonl": "rt-flare-jsonl",
            "tabular": "rt-flare-tabular",
        },
        "aggregator component": {"coordinate_median": "rt-flare-robust", "trimmed_mean": "rt-flare-robust"},
    }
)
"""What this project publishes in packages of its own, by kind: name to distribution, for the hint of a missing one."""

_E = TypeVar("_E", bound=Entry)
_TEMPLATE_FILES = ("config_fed_server.conf", "config_fed_client.conf", "meta.conf", "info.conf", "info.md")


@dataclass(frozen=True, slots=True)
class Registered(Generic[_E]):
    """An entry, and the distribution that registered it."""

    entry: _E
    distribution: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """What is installed, by name, and the problems that were met.

    Attributes:
        adapters: dataset adapters.
        components: NVFlare components.
        job_templates: job templates.
        timeout_presets: timeout presets.
        plugins: the plugins that were found, those that could not be loaded among them.
        problems: what is left out, and why.
    """

    adapters: Mapping[str, Registered[AdapterEntry]]
    components: Mapping[str, Registered[ComponentEntry]]
    job_templates: Mapping[str, Registered[TemplateEntry]]
    timeout_presets: Mapping[str, Registered[PresetEntry]]
    plugins: tuple[InstalledPlugin, ...]
    problems: tuple[PluginProblem, ...]

    def find_adapter(self, name: str) -> Registered[AdapterEntry]:
        """Return where the dataset adapter ``name`` is, without importing it.

        Raises:
            ConfigError: no adapter has that name; the message suggests, lists, and says what to install.
        """
        return self._find(self.adapters, name, AdapterEntry.noun)

    def adapter(self, name: str) -> type[DatasetAdapter]:
        """Import the dataset adapter ``name``.

        Raises:
            ConfigError: no adapter has that name, or it cannot be imported, or is not an adapter of that name.
        """
        place, adapter = _import(name, self.find_adapter(name))
        _check_base(place, adapter, "rt_flare.data.adapter:DatasetAdapter")
        if (found_name := getattr(adapter, "name", None)) != name:
            raise ConfigError(f"{place}: the class has the name {found_name!r}, expected {name!r}")
        return adapter  # type: ignore[no-any-return]

    def component(self, name: str, *, kind: str) -> type[Any]:
        """Import the NVFlare component ``name``, which must be of ``kind`` (a key of `COMPONENT_BASES`).

        Raises:
            ConfigError: no component has that name, it is of another kind, or cannot be imported or used.
        """
        of_kind = {n: found for n, found in self.components.items() if found.entry.kind == kind}
        place, component = _import(name, self._find(of_kind, name, f"{kind} {ComponentEntry.noun}"))
        _check_base(place, component, COMPONENT_BASES[kind])
        return component  # type: ignore[no-any-return]

    def job_template(self, name: str) -> Path:
        """Return the folder of the job template ``name``.

        Raises:
            ConfigError: no template has that name, its folder bears another, or a file of it is missing.
        """
        found = self._find(self.job_templates, name, TemplateEntry.noun)
        folder = found.entry.folder
        place = f"{TemplateEntry.noun} {name!r} ({folder}, from {found.distribution})"
        if folder.name != name:
            raise ConfigError(f"{place}: the folder must have the template's name")
        if missing := [file for file in _TEMPLATE_FILES if not (folder / file).is_file()]:
            raise ConfigError(f"{place}: missing {', '.join(missing)}. Reinstall {found.distribution}.")
        return folder

    def timeout_preset(self, name: str) -> Any:
        """Import the timeout preset ``name``.

        Raises:
            ConfigError: no preset has that name, or it cannot be imported.
        """
        return _import(name, self._find(self.timeout_presets, name, PresetEntry.noun))[1]

    def check(self) -> tuple[PluginProblem, ...]:
        """Import everything that is registered, and return all problems: those of loading and those of importing."""
        problems = list(self.problems)
        for plugin in self.plugins:
            for hook, entries in plugin.entries.items():
                for name, entry in entries.items():
                    if Registered(entry, plugin.distribution) != self._by_hook(hook).get(name):
                        continue  # A duplicate: named already.
                    try:
                        self._use(name, entry)
                    except ConfigError as error:
                        problems.append(PluginProblem(plugin.distribution, name, str(error)))
        return tuple(problems)

    def _use(self, name: str, entry: Entry) -> None:
        if isinstance(entry, AdapterEntry):
            self.adapter(name)
        elif isinstance(entry, ComponentEntry):
            self.component(name, kind=entry.kind)
        elif isinstance(entry, TemplateEntry):
            self.job_template(name)
        else:
            self.timeout_preset(name)

    def _by_hook(self, hook: str) -> Mapping[str, Registered[Any]]:
        fields: tuple[Mapping[str, Registered[Any]], ...] = (
            self.adapters,
            self.components,
            self.job_templates,
            self.timeout_presets,
        )
        return dict(zip(HOOKS, fields, strict=True))[hook]

    def _find(self, registered: Mapping[str, Registered[_E]], name: str, noun: str) -> Registered[_E]:
        if name in registered:
            return registered[name]
        published = PUBLISHED.get(noun, {})
        parts = [f"{noun} {name!r} is not installed."]
        close = difflib.get_close_matches(name, {**registered, **published}, n=3)
        if close and name not in published:
            parts.append(f"Did you mean {' or '.join(repr(match) for match in close)}?")
        parts.append(f"Installed: {', '.join(sorted(registered)) or 'none'}.")
        packages = [published[match] for match in close if match in published and match not in registered]
        hint = f"Install it: pip install {packages[0]}," if packages else "Install the plugin that brings it,"
        parts.append(f"{hint} on this machine and on every site.")
        if self.problems:
            listed = "; ".join(f"{p.plugin} of {p.distribution}: {p.message}" for p in self.problems)
            parts.append(f"These plugins could not be used: {listed}")
        raise ConfigError(" ".join(parts))


@functools.cache
def load_catalog() -> Catalog:
    """Return the catalog of what is installed. The first call reads it; later ones return the same object."""
    return read_catalog(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))


def read_catalog(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Catalog:
    """Load the plugins that ``entry_points`` name, and read what they register.

    A name that two distributions claim is refused: neither of them gets it, except that rt_flare keeps its own.
    """
    plugins, problems = load_plugins(entry_points)
    settled: list[Mapping[str, Registered[Any]]] = []
    for hook, entry_type in HOOKS.items():
        claims: dict[str, list[Registered[Any]]] = {}
        for plugin in plugins:
            for name, entry in plugin.entries.get(hook, {}).items():
                claims.setdefault(name, []).append(Registered(entry, plugin.distribution))
        names: dict[str, Registered[Any]] = {}
        for name, claimants in claims.items():
            own = [claimant for claimant in claimants if claimant.distribution == OWN_DISTRIBUTION]
            if len(claimants) > 1:
                problems.append(_duplicate(entry_type.noun, name, claimants, kept=bool(own)))
            if own or len(claimants) == 1:
                names[name] = (own or claimants)[0]
        settled.append(MappingProxyType(names))
    adapters, components, job_templates, timeout_presets = settled
    return Catalog(adapters, components, job_templates, timeout_presets, tuple(plugins), tuple(problems))


def _import(name: str, found: Registered[Any]) -> tuple[str, Any]:
    """Import what an entry names; returns its description for messages, and the object."""
    entry = found.entry
    place = f"{entry.noun} {name!r} ({entry.path}, from {found.distribution})"
    try:
        return place, _object(entry.path)
    except (Exception, SystemExit) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{place} cannot be imported: {cause}. Install it: {entry.install_hint}") from error


def _object(path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module_name), attribute)


def _check_base(place: str, found: Any, base: str) -> None:
    # Late: DatasetAdapter imports torch, and NVFlare's classes import NVFlare.
    if not (isinstance(found, type) and issubclass(found, _object(base))):
        raise ConfigError(f"{place}: found {found!r}, expected a subclass of {base.replace(':', '.')}")


def _duplicate(noun: str, name: str, claimants: list[Registered[Any]], *, kept: bool) -> PluginProblem:
    distributions = " and ".join(claimant.distribution for claimant in claimants)
    outcome = f"{OWN_DISTRIBUTION} keeps it" if kept else "none of them gets it"
    message = f"the {noun} name {name!r} is claimed by {distributions}: {outcome}. Uninstall one or rename it there."
    return PluginProblem(distributions, name, message)
