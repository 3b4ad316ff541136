"""The plugin packages of this checkout: each complete, each a wheel of its own (P4)."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rt_flare.catalog import ENTRY_POINT_GROUP, PUBLISHED, load_catalog

ROOT = Path(__file__).parents[2] / "plugins"
PACKAGES = sorted(path.name for path in ROOT.iterdir() if (path / "pyproject.toml").is_file())


def project_of(package: str) -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"])


def test_these_are_the_packages_that_the_hints_name() -> None:
    """P4, P5"""
    assert set(PACKAGES) == {package for names in PUBLISHED.values() for package in names.values()}


@pytest.mark.parametrize("package", PACKAGES)
def test_it_says_which_rt_flare_it_needs_and_is_found_by_its_entry_point(package: str) -> None:
    """P1, P2"""
    project = project_of(package)
    assert project["name"] == package
    assert [need for need in project["dependencies"] if need.startswith("rt-flare")] == ["rt-flare>=0.1,<0.2"]
    short = package.removeprefix("rt-flare-")
    assert project["entry-points"] == {ENTRY_POINT_GROUP: {short: f"rt_flare_{short}.plugin"}}


@pytest.mark.parametrize("package", PACKAGES)
def test_its_readme_names_what_it_registers_and_every_option(package: str) -> None:
    """P4: the text cannot fall behind the code."""
    readme = (ROOT / package / "README.md").read_text()
    catalog = load_catalog()
    (plugin,) = (plugin for plugin in catalog.plugins if plugin.distribution == package)
    for name in plugin.entries["rt_flare_components"]:
        assert f"`{name}`" in readme
        assert catalog.component(name, kind="aggregator").__name__ in readme
    for name in plugin.entries["rt_flare_dataset_adapters"]:
        assert f'adapter="{name}"' in readme
        for option in inspect.signature(catalog.adapter(name)).parameters:
            assert f"`{option}`" in readme, option


@pytest.mark.parametrize("package", PACKAGES)
def test_its_tests_stand_on_the_conformance_suite(package: str) -> None:
    """P3, P4"""
    text = "".join(file.read_text() for file in sorted((ROOT / package / "tests").glob("test_*.py")))
    assert re.search(r"class Test\w+\((DatasetAdapter|Aggregator)Conformance\)", text)


@pytest.mark.parametrize("package", PACKAGES)
def test_it_builds_into_a_wheel_with_its_code_alone(package: str, tmp_path: Path) -> None:
    """P4: installable beside rt_flare, without this checkout."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT / package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    module = package.replace("-", "_")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{module}-0.1.0.dist-info/METADATA").decode()
    assert {f"{module}/py.typed", f"{module}/plugin.py"} <= names
    assert {name.partition("/")[0] for name in names} == {module, f"{module}-0.1.0.dist-info"}
    assert "Requires-Dist: rt-flare<0.2,>=0.1" in metadata
    assert f"# {package}" in metadata


@pytest.mark.parametrize("package", PACKAGES)
def test_it_is_installed_for_development(package: str) -> None:
    """P4: `uv sync` brings all of them."""
    assert importlib.metadata.version(package) == project_of(package)["version"]
