"""The catalog: plugins isolated from each other, names refused when two claim them (P1, P2, P5)."""

from __future__ import annotations

import importlib.metadata
import itertools
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.catalog import ENTRY_POINT_GROUP, Catalog, load_catalog, read_catalog
from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.errors import ConfigError
from rt_flare.hookspecs import AdapterEntry

Install = Callable[[str, str], str]
_numbers = itertools.count()

REGISTERS = """
from rt_flare.hookspecs import AdapterEntry, hookimpl

@hookimpl
def rt_flare_dataset_adapters():
    return {{"{name}": AdapterEntry("{path}", "pip install {name}")}}
"""
ADAPTER = """
from rt_flare.data.adapter import DatasetAdapter

class Rows(DatasetAdapter):
    name = "rows"

    def open(self, data_root, *, manifest_file, env):
        return []
"""


def registers(name: str, path: str = "nowhere:Adapter") -> str:
    return REGISTERS.format(name=name, path=path)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution of one module, whose entry point is that module; returns the module's name."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(distribution: str, source: str) -> str:
        module = f"plugin_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nmain = {module}\n")
        return module

    return add


def installed() -> Catalog:
    return read_catalog(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))


def only_problem(catalog: Catalog) -> tuple[str, str]:
    assert "manifest" in catalog.adapters
    (problem,) = catalog.problems
    return problem.distribution, problem.message


def test_the_built_in_adapter_enters_by_the_entry_point() -> None:
    """P1"""
    catalog = load_catalog()
    assert catalog.adapters["manifest"].distribution == "rt-flare"
    assert catalog.adapter("manifest") is ManifestImageAdapter
    points = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points[ENTRY_POINT_GROUP]["builtin"] == "rt_flare.builtin_plugin"


def test_it_is_read_once_and_cannot_be_changed() -> None:
    """P1"""
    assert load_catalog() is load_catalog()
    with pytest.raises(TypeError):
        load_catalog().adapters["x"] = None  # type: ignore[index]


def test_reading_it_imports_neither_torch_nor_nvflare() -> None:
    """P1"""
    code = (
        "import sys; from rt_flare.catalog import load_catalog; load_catalog();"
        "sys.exit('torch' in sys.modules or 'nvflare' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_strangers_adapter_is_found_and_imported_late(install: Install) -> None:
    """P1"""
    install("rt-rows", registers("rows", f"{install('rows-code', ADAPTER)}:Rows"))
    catalog = installed()
    assert catalog.adapters["rows"].distribution == "rt-rows"
    assert catalog.adapter("rows").name == "rows"


WRONG_NAME = """
from rt_flare.hookspecs import hookimpl

@hookimpl
def rt_flare_dataset_adaptors():
    return {}
"""
WRONG_ARGUMENTS = """
from rt_flare.hookspecs import hookimpl

@hookimpl
def rt_flare_dataset_adapters(config):
    return {}
"""
RETURNS = """
from rt_flare.hookspecs import AdapterEntry, hookimpl

@hookimpl
def rt_flare_dataset_adapters():
    return {}
"""
BROKEN = [
    ("raise RuntimeError('boom')", "RuntimeError: boom"),
    ("import sys; sys.exit(3)", "SystemExit: 3"),
    ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
    ("x = 1", "implements no hook"),
    (WRONG_NAME, "unknown hook 'rt_flare_dataset_adaptors'"),
    (WRONG_ARGUMENTS, "PluginValidationError"),
    (RETURNS.format(["rows"]), "found list, expected a mapping"),
    (RETURNS.format({"rows": "m:C"}), "adapter 'rows': found str, expected an AdapterEntry"),
    (registers("Rows"), "adapter name: found 'Rows'"),
    (registers("rows", "package.Class"), "found 'package.Class', expected 'package.module:Class'"),
]


@pytest.mark.parametrize(("source", "message"), BROKEN)
def test_a_broken_plugin_is_named_and_the_rest_work(install: Install, source: str, message: str) -> None:
    """P2: whatever its place in the order of loading."""
    install("a-sound", registers("first"))
    install("broken", source)
    install("z-sound", registers("last"))
    catalog = installed()
    distribution, text = only_problem(catalog)
    assert distribution == "broken"
    assert message in text
    assert {"first", "last"} <= set(catalog.adapters)


def test_a_name_that_two_claim_goes_to_neither(install: Install) -> None:
    """P2: a job must not depend on which of two readers happens to be found first."""
    install("one", registers("rows"))
    install("two", registers("rows"))
    catalog = installed()
    assert only_problem(catalog)[1].startswith("the adapter name 'rows' is claimed by one and two: none of them")
    with pytest.raises(ConfigError, match=r"'rows' is not installed.*is claimed by one and two"):
        catalog.adapter("rows")


def test_a_stranger_cannot_take_a_built_in_name(install: Install) -> None:
    """P2"""
    install("aaa", registers("manifest"))
    catalog = installed()
    assert only_problem(catalog)[1].startswith("the adapter name 'manifest' is claimed by aaa and rt-flare: rt-flare")
    assert catalog.adapter("manifest") is ManifestImageAdapter


def test_a_plugin_that_two_entry_points_name_is_registered_once(install: Install, tmp_path: Path) -> None:
    """P2"""
    module = install("one", registers("rows"))
    install("two", "")
    (tmp_path / "two-1.0.dist-info" / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nmain = {module}\n")
    catalog = installed()
    distribution, message = only_problem(catalog)
    assert distribution == "two"
    assert "is registered by another entry point already" in message
    assert catalog.adapters["rows"].distribution == "one"


def test_an_unknown_name_suggests_and_lists(install: Install) -> None:
    """P5"""
    install("broken", "raise RuntimeError('boom')")
    with pytest.raises(ConfigError) as caught:
        installed().adapter("manifst")
    text = str(caught.value)
    assert "dataset adapter 'manifst' is not installed. Did you mean 'manifest'?" in text
    assert "Installed: manifest" in text
    assert "main of broken: RuntimeError: boom" in text


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("", "no_such_package_here:Rows", "cannot be imported: ModuleNotFoundError.*Install it: pip install rows"),
        ("", "{module}:Rows", "cannot be imported: AttributeError"),
        ("raise RuntimeError('boom')", "{module}:Rows", "cannot be imported: RuntimeError: boom"),
        ("class Rows: pass", "{module}:Rows", "expected a subclass of rt_flare.data.adapter.DatasetAdapter"),
        (ADAPTER.replace('"rows"', '"lines"'), "{module}:Rows", "the class has the name 'lines', expected 'rows'"),
        (ADAPTER.replace("name = ", "label = "), "{module}:Rows", "the class has the name None, expected 'rows'"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_named(install: Install, source: str, path: str, message: str) -> None:
    """P2, P5"""
    module = install("rows-code", source)
    install("rt-rows", registers("rows", path.format(module=module)))
    with pytest.raises(ConfigError, match=rf"dataset adapter 'rows' \(.*, from rt-rows\).*{message}"):
        installed().adapter("rows")


@pytest.mark.parametrize(
    "path", ["", "Class", "module.Class", "module:", ":Class", "a b:C", "module:Class.inner", "1a:C"]
)
def test_an_entry_refuses_another_form_of_path(path: str) -> None:
    """P2"""
    with pytest.raises(ConfigError, match="adapter path: found"):
        AdapterEntry(path, "pip install x")
