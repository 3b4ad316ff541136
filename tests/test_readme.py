"""The README's commands are those that run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_ci_calls_the_readmes_test_command() -> None:
    """The second command of the README is what CI runs."""
    commands = re.findall(r"```bash\n(.*?)\n```", README)
    assert commands[:2] == [
        "python3 -m pip install uv && python3 -m uv run rt-flare quickstart",
        "python3 -m uv run pytest",
    ]
    assert commands[1] in (ROOT / ".ci/run").read_text().splitlines()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(rt_flare(?:\.\w+)+\.[A-Z]\w+)`", README))))
def test_every_component_that_the_readme_names_exists(path: str) -> None:
    """Dotted paths in the README are public API."""
    module, _, name = path.rpartition(".")
    imported = __import__(module, fromlist=[name])
    assert hasattr(imported, name)
