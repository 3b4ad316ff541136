"""Whether the key map says what the installed NVFlare does: every key is looked up in NVFlare's source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from rt_flare.timeouts.class_arguments import find_class_arguments, literal
from rt_flare.timeouts.key_map import ConfigKey, KeyMap, Place
from rt_flare.timeouts.source_scan import ConfigRead, nvflare_root, parse_module, scan_config_reads

__all__ = ["check_key_map"]

_SECTIONS = {
    Place.CLIENT_CONFIG: "application_config",
    Place.SERVER_CONFIG: "application_config",
    Place.SERVER_ENVIRONMENT: "application_config",
    Place.COMM_CONFIG: "comm_config",
    Place.SERVER_RESOURCES_TOP: "resources",
}


def check_key_map(key_map: KeyMap, root: Path | None = None) -> list[str]:
    """Return every difference between the map and the source below ``root`` (default: the installed NVFlare).

    A key of the map without a reader, one with another default, a reader of a key that the map lacks, and a retired
    key that is read after all.

    Raises:
        ConfigError: NVFlare is not installed.
    """
    root = root or nvflare_root()
    reads = scan_config_reads(root)
    problems = [problem for key in key_map.keys.values() for problem in _check(key, reads, root)]
    known = {(_SECTIONS[place], key.key) for key in key_map.keys.values() for place in key.places if place in _SECTIONS}
    sections = {"application": "application_config", "environment": ""}
    known |= {(sections.get(group, group), name) for group, names in key_map.other_keys.items() for name in names}
    for read in reads:
        if (read.section, read.key) not in known:
            problems.append(f"{read.key}: read at {read.file}:{read.line} ({read.section}), but not in the map")
        if read.key in key_map.retired:
            problems.append(f"{read.key}: retired in the map, but read at {read.file}:{read.line}")
    return problems


def _check(key: ConfigKey, reads: list[ConfigRead], root: Path) -> Iterator[str]:
    if key.classes:
        for path, default in key.classes.items():
            yield from _check_argument(key, path, default)
        return
    if key.reader is None:
        if key.places != (Place.SERVER_COMPONENT,):
            yield f"{key.id}: neither a reader nor a class"
        return
    source = root / key.reader
    if not source.is_file():
        yield f"{key.id}: NVFlare has no {key.reader}"
        return
    section = _SECTIONS.get(key.places[0])
    found = [read for read in reads if (read.key, read.section, read.file) == (key.key, section, key.reader)]
    if found:
        for read in found:
            yield from _check_default(key, read.default, f"{read.file}:{read.line}")
    elif not _mentioned(key, source):
        yield f"{key.id}: {key.reader} does not read it"


def _check_argument(key: ConfigKey, path: str, default: object) -> Iterator[str]:
    arguments = find_class_arguments(path)
    if arguments is None:
        yield f"{key.id}: no class {path}"
    elif key.key not in arguments.defaults:
        yield f"{key.id}: {path} has no such argument"
    else:
        text = arguments.defaults[key.key]
        value = literal(text)
        if isinstance(value, int | float | None) and text is not None and value != default:
            yield f"{key.id}: {path} defaults to {text}, the map says {default}"


def _check_default(key: ConfigKey, text: str, where: str) -> Iterator[str]:
    value = literal(text) if text else None
    if isinstance(value, int | float) and value != key.default:
        yield f"{key.id}: {where} defaults to {text}, the map says {key.default}"


def _mentioned(key: ConfigKey, path: Path) -> bool:
    """Whether a file looks the key up by itself: as text in a comparison, a pattern or ``.get``."""
    wanted = {key.key, key.id}
    return any(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in wanted
        for node in ast.walk(parse_module(path))
        if not isinstance(node, ast.Expr)
    ) or any(isinstance(node, ast.Attribute) and node.attr == key.key.upper() for node in ast.walk(parse_module(path)))
