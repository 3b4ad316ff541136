"""What core may import: it is pure federated logic (DESIGN, layers)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rt_flare.core

MODULES = sorted(Path(rt_flare.core.__file__).parent.glob("*.py"))
THIRD_PARTY = {"numpy", "orjson", "psutil", "pydantic", "pydantic_core", "torch"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_core_imports_nothing_above_it(path: Path) -> None:
    """DESIGN, layers: the standard library, five libraries, the errors, and itself."""
    for name in imported(path):
        top = name.split(".")[0]
        if top == "rt_flare":
            assert name in ("rt_flare", "rt_flare.errors") or name.startswith("rt_flare.core.")
        else:
            assert top in THIRD_PARTY or top in sys.stdlib_module_names


def test_core_loads_without_nvflare() -> None:
    """DESIGN, layers: all of it."""
    names = [f"rt_flare.core.{path.stem}" for path in MODULES if path.stem != "__init__"]
    load = f"[importlib.import_module(name) for name in {names}]"
    code = f"import sys, importlib; {load}; assert 'nvflare' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
