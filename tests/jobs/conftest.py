"""A small job of NVFlare's own parts, for tests of what runs jobs and not of what they train."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def mini_job(tmp_path: Path) -> Callable[..., Path]:
    """Make a job folder for two sites and two rounds.

    ``train``: what the sites do in a round; ``top``: first lines of their module; ``end``: what the server does last.
    """

    def make(train: str = "pass", top: str = "", end: str = "pass", folder: Path | None = None) -> Path:
        job = folder or tmp_path / "mini_job"
        shutil.copytree(Path(__file__).parent / "mini_job", job, ignore=shutil.ignore_patterns("__pycache__"))
        module = job / "app" / "custom" / "mini.py"
        code = module.read_text().replace("# TOP", top)
        for mark, lines, width in (("# TRAIN", train, 8), ("# END", end, 12)):
            code = code.replace(mark, textwrap.indent(lines, " " * width).strip())
        module.write_text(code)
        return job

    return make
