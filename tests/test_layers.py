"""The layers of the package, read from its imports; and what importing it costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rt_flare

ROOT = Path(rt_flare.__file__).parent
LAYERS: list[tuple[str, ...]] = [
    ("errors", "configs"),
    ("core", "data"),
    ("hookspecs", "plugin_loading", "catalog", "builtin_plugin", "datasets"),
    ("components", "timeouts", "testing"),
    ("jobs",),
    ("sdk", "cli", "report", "quickstart", "projects"),
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
NVFLARE_ALLOWED = {"components", "timeouts", "testing", "jobs", "sdk"}
HEAVY = {"torch", "torchvision", "nvflare", "numpy", "PIL", "fsspec"}


def _modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        top = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if top not in {"__init__", "_job_templates"}:
            found.append((top, path))
    return found


def _imports(path: Path, *, nested: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize(("top", "path"), _modules(), ids=lambda value: str(value).removeprefix(str(ROOT)))
def test_a_module_imports_only_its_own_layer_and_those_above_it(top: str, path: Path) -> None:
    """DESIGN, Layers: one direction."""
    for name in _imports(path, nested=True):
        parts = name.split(".")
        if parts[0] == "rt_flare" and len(parts) > 1:
            assert LEVEL[parts[1]] <= LEVEL[top], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(("top", "path"), _modules(), ids=lambda value: str(value).removeprefix(str(ROOT)))
def test_nvflare_is_imported_only_where_the_design_gives_it(top: str, path: Path) -> None:
    """DESIGN, Layers: core and data know nothing of NVFlare, nor does the command line."""
    used = [name for name in _imports(path, nested=True) if name.split(".")[0] == "nvflare"]
    assert top in NVFLARE_ALLOWED or not used, f"{path.relative_to(ROOT)} imports {used}"


def test_data_knows_nothing_of_core_but_its_durable_files() -> None:
    """DESIGN, Layers: core and data stand side by side."""
    used = {name for top, path in _modules() if top == "data" for name in _imports(path, nested=True)}
    assert {name for name in used if name.startswith("rt_flare.core")} <= {"rt_flare.core.durable_io"}


def _loaded_by(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    """DESIGN: `import rt_flare` costs next to nothing."""
    assert not _loaded_by("import rt_flare") & (HEAVY | {"pydantic"})


def test_the_command_lines_help_loads_nothing_heavy() -> None:
    """DESIGN: `rt-flare --help` answers at once."""
    code = (
        "import contextlib, io\n"
        "from rt_flare.cli.app import main\n"
        "sys.argv = ['rt-flare', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "assert 'quickstart' in out.getvalue()"
    )
    assert not _loaded_by(code) & HEAVY


def test_every_public_name_of_the_package_loads() -> None:
    """The lazy table and `__all__` name the same things, and each exists."""
    for name in rt_flare.__all__:
        assert getattr(rt_flare, name) is not None
    assert set(rt_flare.__all__) <= set(dir(rt_flare))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rt_flare.nonsense
