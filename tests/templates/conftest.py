"""NVFlare's own command line in a process and a home of its own, and jobs as NVFlare will run them."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.utils.config_factory import ConfigFactory
from nvflare.fuel.utils.json_scanner import JsonScanner
from nvflare.fuel.utils.wfconf import resolve_var_refs

_DRIVER = """
import contextlib, io, json, sys
from nvflare.cli import run

done = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["nvflare", *arguments]
    code, text = 0, io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            run("nvflare")
        except SystemExit as error:
            code = error.code or 0
    done.append({"code": code, "text": text.getvalue()})
print(json.dumps(done))
"""


@dataclass(frozen=True)
class Said:
    """Exit code and output of one command."""

    code: int
    text: str


NvflareCli = Callable[[Path, Sequence[Sequence[str]]], list[Said]]


@pytest.fixture(scope="session")
def nvflare_cli() -> NvflareCli:
    """Run several `nvflare ...` commands one after the other in ``folder``, which is their home too."""

    def run(folder: Path, commands: Sequence[Sequence[str]]) -> list[Said]:
        done = subprocess.run(
            [sys.executable, "-c", _DRIVER, json.dumps(commands)],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return [Said(**each) for each in json.loads(done.stdout.splitlines()[-1])]

    return run


@pytest.fixture(scope="session")
def as_run() -> Callable[[Path], dict[str, Any]]:
    """Read a configuration as NVFlare does: variables put in, components by id, every argument with its value."""

    def read(path: Path) -> dict[str, Any]:
        config = ConfigFactory.load_config(str(path)).to_dict()
        resolve_var_refs(JsonScanner(config), dict(config))
        read = {key: value for key, value in config.items() if not key.isupper()}
        for key in ("components", "workflows"):
            read[key] = {entry["id"]: _complete(entry) for entry in config.get(key, [])}
        read["executors"] = [[entry["tasks"], _complete(entry["executor"])] for entry in config.get("executors", [])]
        return read

    return read


def _complete(component: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    module, _, name = component["path"].rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    return component["path"], defaults | component["args"]
