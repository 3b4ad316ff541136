"""Which files a user's module needs beside it: the modules and packages in its folder that it imports."""

from __future__ import annotations

import ast
import importlib.machinery
import sys
from collections.abc import Iterator
from pathlib import Path

from rt_flare.errors import JobError

__all__ = ["sibling_modules"]


def sibling_modules(module: Path, *, text: str | None = None) -> dict[str, Path]:
    """Find the Python files beside ``module`` that it imports, directly or through one another.

    A sibling is ``name.py``, or a folder ``name/`` with an ``__init__.py``, of which every Python file is taken.

    Args:
        module: the module; with ``text``, its content, it need not exist.
        text: the module's source, instead of the file's.

    Returns:
        Path relative to the module's folder (POSIX) to file, in the order of the names; ``module`` itself only when
        a sibling imports it.

    Raises:
        JobError: a file is no valid Python (with its line), is a symbolic link that leads out of the folder, or has
            the name of a module of the standard library or of an installed package: on the sites that one would be
            imported instead, because NVFlare appends a job's own folder to the end of the search path.
    """
    folder = module.resolve().parent
    found: dict[str, Path] = {}
    queue = [module.resolve()]
    while queue:
        file = queue.pop()
        source = text.encode() if text is not None and file == module.resolve() else file.read_bytes()
        for name in sorted(_imported_names(file, source)):
            for file in _files_of(folder, name):
                key = file.relative_to(folder).as_posix()
                if key not in found:
                    found[key] = file
                    queue.append(file)
    return dict(sorted(found.items()))


def _imported_names(file: Path, source: bytes) -> set[str]:
    """Top-level names of the absolute imports of a file, those inside functions too."""
    try:
        tree = ast.parse(source, filename=str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise JobError(f"{file}{f':{line}' if line else ''}: no valid Python: {error}") from error
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def _files_of(folder: Path, name: str) -> Iterator[Path]:
    package, single = folder / name, folder / f"{name}.py"
    # Python prefers the package when both exist.
    if (package / "__init__.py").is_file():
        files = sorted(p for p in package.rglob("*.py") if "__pycache__" not in p.parts)
    elif single.is_file():
        files = [single]
    else:
        return
    _refuse_shadowed(name, folder)
    for file in files:
        if not file.resolve().is_relative_to(folder):
            raise JobError(f"{file}: a link that leads out of {folder}; copy the file there")
        yield file


def _refuse_shadowed(name: str, folder: Path) -> None:
    # Only the search path is asked: importing the module to find out would run the user's code here.
    elsewhere = [p for p in sys.path if p and Path(p).resolve() != folder]
    spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    # A spec without a file is a namespace folder: a real module wins over it on the sites as well.
    installed = spec is not None and spec.origin is not None
    if name in sys.stdlib_module_names or installed:
        place = "the standard library" if name in sys.stdlib_module_names else str(spec.origin if spec else "")
        raise JobError(
            f"{folder / name}: a module of this name exists in {place} and would be imported instead of yours "
            "on the sites; rename yours"
        )
