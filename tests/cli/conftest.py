"""The command line as a user starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Result = subprocess.CompletedProcess[str]


@pytest.fixture
def rt_flare(tmp_path: Path) -> Callable[..., Result]:
    """Run ``rt-flare`` with these arguments in ``tmp_path``, its output in a pipe."""

    def run(*arguments: str) -> Result:
        command = [sys.executable, "-c", "from rt_flare.cli.app import main; main()", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def mini_job(tmp_path: Path) -> Path:
    """A job of NVFlare's own parts: two sites, two rounds, no PyTorch."""
    source = Path(__file__).parents[1] / "jobs" / "mini_job"
    return Path(shutil.copytree(source, tmp_path / "mini_job", ignore=shutil.ignore_patterns("__pycache__")))
