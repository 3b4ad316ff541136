"""What a module imports: is it here, and will it be at the sites?"""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rt_flare.errors import JobError
from rt_flare.jobs.check.finding import CheckFinding, error, warning
from rt_flare.jobs.check.module_text import ModuleText
from rt_flare.jobs.user_modules import sibling_modules

__all__ = ["check_imports", "find_siblings"]

_OWN = "rt-flare"


def find_siblings(module: ModuleText) -> tuple[dict[str, Path], list[CheckFinding]]:
    """The files beside a module that go along with it, and why they cannot, if they cannot."""
    try:
        return sibling_modules(module.path), []
    except JobError as problem:
        fix = "Correct it: what model_def.py imports from beside it is sent along."
        found = str(problem).removeprefix(f"{module.path}: ")
        return {}, [error("sibling-module", module.path, found, "modules that can be shipped", fix)]


def check_imports(module: ModuleText, siblings: Collection[str], required: Collection[str]) -> Iterator[CheckFinding]:
    """Imports that cannot be found here, or that nothing brings to the sites.

    Args:
        module: a module, itself or one that goes along with it.
        siblings: paths of the modules that go along, relative to its folder.
        required: canonical names of the distributions that the requirements name.
    """
    shipped = {path.partition("/")[0].removesuffix(".py") for path in siblings} | {module.path.stem}
    seen: set[str] = set()
    for node, optional in _imports(module.tree.body, optional=False):
        if isinstance(node, ast.ImportFrom) and node.level:
            dotted = f"{'.' * node.level}{node.module or ''}"
            fix = f"Write `import {node.module or 'the_module'}`: the module stands alone, in no package."
            yield error(
                "relative-import", module.path, f"from {dotted} import", "absolute imports", fix, line=node.lineno
            )
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        for name in dict.fromkeys(dotted.partition(".")[0] for dotted in names):
            if name in seen or name in shipped or name in sys.stdlib_module_names:
                continue
            seen.add(name)
            finding = _judge(module, name, node.lineno, required)
            if finding is not None and not optional:
                yield finding


def _judge(module: ModuleText, name: str, line: int, required: Collection[str]) -> CheckFinding | None:
    # Only the search path is asked: importing it would run code here.
    if importlib.machinery.PathFinder.find_spec(name) is None:
        fix = "Correct the name, put the module beside this one, or install it here, and at the server and every site."
        return error(
            "import-missing", module.path, f"no module {name!r}", "modules that exist", fix, line=line, field=name
        )
    distributions = {canonicalize_name(found) for found in _distributions().get(name, [])}
    if not distributions or distributions & (_brought() | set(required)):
        return None
    package = sorted(distributions)[0]
    fix = f"Write {package} into requirements.txt and have it installed at the server and every site, or do without it."
    return warning(
        "import-not-on-sites",
        module.path,
        f"{name!r} from {package}",
        f"what {_OWN} brings along, or what requirements.txt names",
        fix,
        line=line,
        field=name,
    )


def _imports(body: list[ast.stmt], *, optional: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import, and whether something catches its failure."""
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement, optional
        elif isinstance(statement, ast.Try):
            caught = any(_catches_imports(handler) for handler in statement.handlers)
            yield from _imports(statement.body, optional=optional or caught)
            rest = [
                *(s for handler in statement.handlers for s in handler.body),
                *statement.orelse,
                *statement.finalbody,
            ]
            yield from _imports(rest, optional=optional)
        else:
            for name in ("body", "orelse"):
                yield from _imports(getattr(statement, name, []), optional=optional)


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {name: list(found) for name, found in importlib.metadata.packages_distributions().items()}


@functools.cache
def _brought() -> frozenset[str]:
    """Canonical names of rt-flare and of all that an installation of it without extras brings."""
    found: set[str] = set()
    queue = [(_OWN, frozenset[str]())]
    while queue:
        name, extras = queue.pop()
        try:
            texts = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(name)
        for requirement in map(Requirement, texts):
            marker = requirement.marker
            needed = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})
            if needed and (other := canonicalize_name(requirement.name)) not in found:
                queue.append((other, frozenset(requirement.extras)))
    return frozenset(found)
