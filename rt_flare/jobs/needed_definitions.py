"""What a few definitions need of the cells or the script that they stand in, put together as a module."""

from __future__ import annotations

import ast
import builtins
import math
import symtable
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from rt_flare.errors import ContractError
from rt_flare.jobs.executed_cells import ExecutedSource, source_of_code
from rt_flare.jobs.user_modules import sibling_modules

__all__ = ["NeededDefinitions", "collect_definitions"]

_MAX_CONSTANT = 10_000
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class NeededDefinitions:
    """A module put together.

    Attributes:
        text: its source: imports, constants, definitions in an order in which they can be executed.
        modules: files beside the session's folder that it imports, by relative path.
        notes: values that were fixed.
    """

    text: str
    modules: dict[str, Path]
    notes: tuple[str, ...]


def collect_definitions(
    roots: Sequence[str], namespace: Mapping[str, Any], sources: Sequence[ExecutedSource]
) -> NeededDefinitions:
    """Collect what ``roots`` need, and what that needs, and so on.

    Args:
        roots: names of classes and functions.
        namespace: the present values of all names.
        sources: what was executed, in order.

    Raises:
        ContractError: a name that is needed has no value, or one that is neither an import, a function, a class nor
            a constant; or the source of one is not to be found.
    """
    collection = _Collection(namespace, sources)
    for name in roots:
        collection.add(name, "")
    return collection.result()


class _Collection:
    def __init__(self, namespace: Mapping[str, Any], sources: Sequence[ExecutedSource]) -> None:
        self._namespace = namespace
        self._sources = sources
        self._imports: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._definitions: dict[str, tuple[_Definition, str]] = {}
        self._notes: list[str] = []

    def add(self, name: str, needed_by: str) -> None:
        """Take ``name``, and what its definition needs."""
        if name in self._imports or name in self._constants or name in self._definitions or name == "__name__":
            return
        if name not in self._namespace:
            if hasattr(builtins, name):
                return
            raise ContractError(
                f"{_by(needed_by)}found the name {name!r}, which is defined nowhere; import or define it"
            )
        value = self._namespace[name]
        if isinstance(value, type) or callable(value):
            definition = self._find_definition(name, value)
            if definition is not None:
                self._definitions[name] = definition
                for other in _global_names(definition[1]):
                    self.add(other, name)
                return
        statement = self._find_import(name)
        if statement is not None:
            self._imports[name] = statement
        elif isinstance(value, ModuleType):
            self._imports[name] = f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
        elif _is_constant(value):
            self._constants[name] = f"{name} = {value!r}"
            self._notes.append(f"{name} has the value {value!r} that it has now")
        else:
            raise ContractError(
                f"{_by(needed_by)}found {name!r}, a {type(value).__name__} of another cell, expected an import, a "
                "function, a class or a constant: make it inside the function, or give it as a value of the "
                "configuration's extra"
            )

    def result(self) -> NeededDefinitions:
        """Put the module together."""
        imports = sorted(set(self._imports.values()), key=lambda line: (not line.startswith("from __future__"), line))
        if any(_has_future_annotations(source.tree) for source in self._sources):
            imports.insert(0, "from __future__ import annotations")
        parts = ["\n".join(imports), "\n".join(self._constants.values())]
        parts += [self._definitions[name][1] for name in self._order()]
        text = "\n\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"
        return NeededDefinitions(text, self._siblings(text), tuple(self._notes))

    def _order(self) -> list[str]:
        """Names so that each stands below what it needs while it is defined: bases, decorators, defaults."""
        done: list[str] = []

        def place(name: str, above: tuple[str, ...]) -> None:
            if name in done or name in above or name not in self._definitions:
                return
            for other in sorted(_names_at_definition(self._definitions[name][1])):
                place(other, (*above, name))
            done.append(name)

        for name in self._definitions:
            place(name, ())
        return done

    def _find_definition(self, name: str, value: Any) -> tuple[_Definition, str] | None:
        """The statement that defined ``value``, with its source; None when it was imported."""
        if getattr(value, "__module__", None) != self._namespace.get("__name__", "__main__"):
            return None
        code = _code_of(value)
        own = source_of_code(code.co_filename) if code is not None else None
        if own is not None:
            try:
                found = _last_definition(name, own, ast.parse(own))
            except SyntaxError:
                found = None  # linecache has the cell as it was typed, with its magics
            if found is not None:
                return found
        for source in reversed(self._sources):
            found = _last_definition(name, source.text, source.tree)
            if found is not None:
                return found
        if self._find_import(name) is not None:
            return None
        raise ContractError(f"{name}: found no cell that defines it; execute its cell again")

    def _find_import(self, name: str) -> str | None:
        """The last import that gave ``name`` its value, alone on its line."""
        for source in reversed(self._sources):
            for statement in reversed(list(_imports(source.tree.body))):
                for alias in statement.names:
                    if (alias.asname or alias.name.partition(".")[0]) == name and alias.name != "*":
                        return ast.unparse(_only(statement, alias))
        return None

    def _siblings(self, text: str) -> dict[str, Path]:
        file = self._namespace.get("__file__")
        folder = Path(file).parent if isinstance(file, str) else Path.cwd()
        # A module that is not there: its imports are looked for beside it.
        return sibling_modules(folder / "model_def.py", text=text)


def _by(name: str) -> str:
    return f"{name}: " if name else ""


def _code_of(value: Any) -> CodeType | None:
    code = getattr(value, "__code__", None)
    if isinstance(code, CodeType):
        return code
    members = vars(value).values() if isinstance(value, type) else ()
    codes = (getattr(getattr(member, "__func__", member), "__code__", None) for member in members)
    own = getattr(value, "__qualname__", "")
    return next((c for c in codes if isinstance(c, CodeType) and c.co_qualname.startswith(f"{own}.")), None)


def _last_definition(name: str, text: str, tree: ast.Module) -> tuple[_Definition, str] | None:
    found = [node for node in tree.body if isinstance(node, _Definition) and node.name == name]
    if not found:
        return None
    first = min([found[-1].lineno, *(decorator.lineno for decorator in found[-1].decorator_list)])
    lines = text.splitlines(keepends=True)[first - 1 : found[-1].end_lineno]
    return found[-1], "".join(lines)


def _imports(body: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            yield from _imports(statement.body)


def _only(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(statement, ast.ImportFrom):
        return ast.ImportFrom(statement.module, [alias], statement.level)
    return ast.Import([alias])


def _global_names(text: str) -> set[str]:
    """Names that a definition takes from outside of it, when it is executed or later."""
    return set(_globals_of(symtable.symtable(text, "cell", "exec"), top=True))


def _globals_of(table: symtable.SymbolTable, *, top: bool = False) -> Iterator[str]:
    for symbol in table.get_symbols():
        outside = not symbol.is_assigned() and not symbol.is_imported() if top else symbol.is_global()
        if symbol.is_referenced() and outside and not (top and symbol.is_namespace()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals_of(child)


def _names_at_definition(text: str) -> set[str]:
    """Names that are needed while a definition is executed: those outside of its functions' bodies."""
    table = symtable.symtable(text, "cell", "exec")
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    classes = [child for child in table.get_children() if child.get_type() == "class"]
    while classes:
        body = classes.pop()
        names |= {symbol.get_name() for symbol in body.get_symbols() if symbol.is_referenced() and symbol.is_global()}
        classes += [child for child in body.get_children() if child.get_type() == "class"]
    return names


def _is_constant(value: Any) -> bool:
    """Whether ``repr`` gives a literal of the same value."""
    if value is None or type(value) in (bool, int, str, bytes):
        return len(repr(value)) <= _MAX_CONSTANT
    if type(value) in (float, complex):
        return math.isfinite(abs(value))
    if type(value) in (tuple, list, set, frozenset):
        return type(value) is not frozenset and bool(value or type(value) is not set) and all(map(_is_constant, value))
    if type(value) is dict:
        return all(_is_constant(key) and _is_constant(item) for key, item in value.items())
    return False


def _has_future_annotations(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(a.name == "annotations" for a in node.names)
        for node in tree.body
    )
