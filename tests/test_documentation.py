"""The pages: every public name stands in them once, and they build without a warning and without a network."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rt_flare
import rt_flare.testing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = re.compile(r"\brt_flare(?:\.[a-z_0-9]+)+\.[A-Z]\w+")


def documented() -> list[str]:
    """Every name that a page of the reference describes; a module stands for what it exports."""
    names = []
    for page in PAGES:
        for path in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE):
            if re.search(r"\.[A-Z]\w+$|\.[a-z]\w+$", path) and importlib.util.find_spec(path.rpartition(".")[0]):
                parent = importlib.import_module(path.rpartition(".")[0])
                if path.rpartition(".")[2] in getattr(parent, "__all__", ()):
                    names.append(path)
                    continue
            names += [f"{path}.{name}" for name in importlib.import_module(path).__all__]
    return names


def public() -> set[str]:
    """What people write into their code and configurations."""
    packages = {name: rt_flare._HOME[name] for name in rt_flare.__all__ if name != "__version__"}
    packages |= rt_flare.testing._HOME
    names = {f"{module}.{name}" for name, module in packages.items()}
    for module in ("rt_flare.errors", "rt_flare.hookspecs"):
        names |= {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    texts = [
        ROOT / "README.md",
        *PAGES,
        *(ROOT / "job_templates").rglob("*.conf"),
        *(ROOT / "job_templates").rglob("*.md"),
    ]
    found = {name for path in texts for name in NAMES.findall(path.read_text())}
    return names | {name for name in found if not name.startswith("rt_flare.quickstart.")}


def test_every_public_name_is_documented_once() -> None:
    """Drift: those of `rt_flare`, of the plugin interface, errors, and every class that a page or a template names."""
    names = documented()
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
    assert sorted(public() - set(names)) == []


def test_every_page_is_in_the_navigation() -> None:
    """Drift."""
    text = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"^ *- ([\w/-]+\.md)$", text, re.MULTILINE)
    assert sorted(listed) == [page.relative_to(DOCS).as_posix() for page in PAGES]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    """Drift: `uv run --group docs mkdocs build --strict`; no page loads anything from elsewhere."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: uv sync --group docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)\"|<link[^>]* href=\"([^\"]+)\"", page.read_text()
        )
        assert [link for pair in loaded for link in pair if "://" in link or link.startswith("//")] == [], page
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", sheet.read_text()), sheet
