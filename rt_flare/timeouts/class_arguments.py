"""Arguments of a component's constructor, read from its source: nothing is imported, so nothing of a job runs."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rt_flare.timeouts.source_scan import parse_module

__all__ = ["ClassArguments", "find_class_arguments", "literal"]


@dataclass(frozen=True, slots=True)
class ClassArguments:
    """A constructor's arguments.

    Attributes:
        defaults: argument name to the source text of its default; None where it has none.
        complete: False when a base class could not be read, or takes any keyword: more names may be accepted.
    """

    defaults: dict[str, str | None]
    complete: bool

    def accepts(self, name: str) -> bool:
        """Whether the constructor takes ``name``, or may take it."""
        return name in self.defaults or not self.complete


@cache
def find_class_arguments(path: str, code_dirs: tuple[Path, ...] = ()) -> ClassArguments | None:
    """Return the constructor arguments of the class ``package.module.Class``, or None when its source is not found.

    Args:
        path: dotted path of the class.
        code_dirs: folders with modules of a job, looked at after the installed packages.
    """
    module, _, name = path.rpartition(".")
    source = _module_file(module, code_dirs)
    return None if source is None else _arguments(source, name, code_dirs, seen=frozenset())


def literal(text: str | None) -> object:
    """The value of a default's source text, or the text itself where it is no literal."""
    if text is None:
        return None
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


def _module_file(module: str, code_dirs: Sequence[Path]) -> Path | None:
    top, *rest = module.split(".")
    if not top:
        return None
    roots: list[Path] = []
    spec = importlib.util.find_spec(top)  # a top-level name: nothing is imported for it
    if spec is not None and spec.submodule_search_locations:
        roots += [Path(location) for location in spec.submodule_search_locations]
    elif spec is not None and spec.origin and not rest:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    roots += [folder / top for folder in code_dirs]
    for root in roots:
        if file := _file_of(root, rest):
            return file
    return None


def _file_of(root: Path, names: Sequence[str]) -> Path | None:
    target = root.joinpath(*names)
    return next((f for f in (target.with_name(f"{target.name}.py"), target / "__init__.py") if f.is_file()), None)


def _arguments(source: Path, name: str, code_dirs: tuple[Path, ...], seen: frozenset[str]) -> ClassArguments | None:
    tree = parse_module(source)
    definition = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if definition is None:
        return _imported_class(source, name, code_dirs, seen)
    init = next(
        (node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None
    )
    own = dict(_defaults(init)) if init else {}
    if init is not None and init.args.kwarg is None:
        return ClassArguments(own, complete=True)
    # No constructor of its own, or one that passes further keywords on.
    complete = bool(definition.bases)
    for base in definition.bases:
        name_of_base = ast.unparse(base)
        if name_of_base in {"ABC", "object"}:
            continue
        key = f"{source}:{name_of_base}"
        found = None if key in seen else _arguments(source, name_of_base, code_dirs, seen | {key})
        if found is None:
            complete = False
        else:
            own = found.defaults | own
            complete = complete and found.complete
    return ClassArguments(own, complete)


def _defaults(init: ast.FunctionDef) -> Iterator[tuple[str, str | None]]:
    positional = [*init.args.posonlyargs, *init.args.args][1:]
    given = [None] * (len(positional) - len(init.args.defaults)) + list(init.args.defaults)
    both = [*zip(positional, given, strict=True), *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)]
    for argument, default in both:
        yield argument.arg, None if default is None else ast.unparse(default)


def _imported_class(
    source: Path, name: str, code_dirs: tuple[Path, ...], seen: frozenset[str]
) -> ClassArguments | None:
    """The class that ``source`` imports as ``name``; ``seen`` are files on the way, so that a circle ends."""
    key = f"{source} imports {name}"
    for node in ast.walk(parse_module(source)):
        if isinstance(node, ast.ImportFrom) and node.module and key not in seen:
            original = next((alias.name for alias in node.names if (alias.asname or alias.name) == name), None)
            if original:
                folder = source.parents[max(node.level - 1, 0)]
                target = (
                    _file_of(folder, node.module.split(".")) if node.level else _module_file(node.module, code_dirs)
                )
                return None if target is None else _arguments(target, original, code_dirs, seen | {key})
    return None
