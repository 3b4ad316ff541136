"""``rt-flare plugins`` (P2, P5)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RtFlare = Callable[..., subprocess.CompletedProcess[str]]
BROKEN = "raise RuntimeError('boom')"
NOWHERE = """
from rt_flare.hookspecs import AdapterEntry, hookimpl

print("printed while it is imported")

@hookimpl
def rt_flare_dataset_adapters():
    return {"rows": AdapterEntry("no_such_package:Rows", "pip install rows")}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a distribution of one module, which is a plugin, for the command line that the test starts."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def add(distribution: str, source: str) -> None:
        (tmp_path / f"{distribution}_code.py").write_text(source)
        info = tmp_path / f"{distribution}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(f"[rt_flare]\nmain = {distribution}_code\n")

    return add


def plugin_of(document: dict[str, Any], distribution: str) -> dict[str, Any]:
    (plugin,) = (plugin for plugin in document["plugins"] if plugin["distribution"] == distribution)
    return dict(plugin)


def test_list_shows_what_each_distribution_registers(rt_flare: RtFlare) -> None:
    """P5"""
    done = rt_flare("plugins", "list")
    assert done.returncode == 0, done.stderr
    assert "rt-flare 0.1.0 (builtin)\n  dataset adapter      manifest" in done.stdout
    assert "aggregator component sample_weighted_mean" in done.stdout
    assert "problem" not in done.stdout


def test_list_is_one_json_document_when_asked_for(rt_flare: RtFlare, install: Callable[[str, str], None]) -> None:
    """P5: whatever a plugin prints."""
    install("elsewhere", NOWHERE)
    install("broken", BROKEN)
    done = rt_flare("plugins", "list", "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["command"], document["exit_code"]) == ("rt_flare.plugins/1", "plugins list", 0)
    assert plugin_of(document, "elsewhere") == {
        "distribution": "elsewhere",
        "version": "2.5",
        "entry_point": "main",
        "registers": [{"kind": "dataset adapter", "name": "rows", "path": "no_such_package:Rows"}],
    }
    assert plugin_of(document, "broken")["registers"] == []
    assert document["problems"] == [{"distribution": "broken", "plugin": "main", "message": "RuntimeError: boom"}]
    assert "printed while it is imported" in done.stderr


def test_check_imports_what_is_registered_and_fails_on_problems(
    rt_flare: RtFlare, install: Callable[[str, str], None]
) -> None:
    """P2, P5: all of them, each with its distribution."""
    install("elsewhere", NOWHERE)
    install("broken", BROKEN)
    done = rt_flare("plugins", "check", "--format", "json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["exit_code"] == 1
    first, second = document["problems"]
    assert (first["distribution"], first["plugin"]) == ("broken", "main")
    assert (second["distribution"], second["plugin"]) == ("elsewhere", "rows")
    assert "ModuleNotFoundError: No module named 'no_such_package'. Install it: pip install rows" in second["message"]
    text = rt_flare("plugins", "check")
    assert text.returncode == 1
    assert "2 problems:\n  broken, main: RuntimeError: boom\n  elsewhere, rows: dataset adapter 'rows'" in text.stdout


def test_check_says_so_when_all_is_well(rt_flare: RtFlare) -> None:
    """P5"""
    done = rt_flare("plugins", "check")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("All of it can be used.\n")


def test_the_group_alone_shows_its_commands(rt_flare: RtFlare) -> None:
    """N6"""
    done = rt_flare("plugins")
    assert done.returncode == 4
    assert "check" in done.stdout
