"""docs/writing-a-plugin.md: its files make a package that builds, installs and passes; its commands are run (P3)."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from rt_flare.hookspecs import HOOKS

PAGE = (Path(__file__).parents[1] / "docs" / "writing-a-plugin.md").read_text()
FILES = re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
NOT_RUN = ["uv publish"]
UV_CONFIG = "offline = true\nno-build-isolation = true\n[pip]\nno-deps = true\nno-build-isolation = true\n"
SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files; beside them an environment that sees this one's packages and takes more of its own."""
    folder = tmp_path_factory.mktemp("stranger")
    for name, text in FILES:
        (folder / "rt-flare-wav" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "rt-flare-wav" / name).write_text(text)
    (folder / "uv.toml").write_text(UV_CONFIG)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # addsitedir also follows the links of packages that are installed for development.
    (packages / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name, module in (("rt-flare", "rt_flare.cli.app"), ("pytest", "pytest")):
        script = folder / "venv" / "bin" / name
        script.write_text(SCRIPT.format(python=folder / "venv" / "bin" / "python", module=module))
        script.chmod(0o755)
    return folder / "rt-flare-wav"


def run(project: Path, command: str) -> subprocess.CompletedProcess[str]:
    venv = project.parent / "venv"
    # Set by `python -m uv`: it would install into that interpreter's environment.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("UV_INTERNAL")}
    environment = {
        **inherited,
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(venv),
        "UV_CONFIG_FILE": str(project.parent / "uv.toml"),
    }
    return subprocess.run(
        shlex.split(command), cwd=project, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_the_pages_commands_succeed_in_their_order(project: Path) -> None:
    """P3, P5: from the files on the page to a wheel, without a network."""
    output = {}
    for command in COMMANDS:
        if command not in NOT_RUN:
            done = run(project, command)
            assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
            output[command] = done.stdout
    assert "wav                      rt_flare_wav.adapter:WavAdapter" in output["rt-flare plugins list"]
    assert output["rt-flare plugins check"].endswith("All of it can be used.\n")
    assert re.search(r"\d+ passed", output["pytest"])
    assert json.loads((project / "job/app/config/config_fed_client.json").read_text())["ADAPTER"] == "wav"
    assert "rt_flare_wav.aggregator.OneVote" in (project / "job/app/config/config_fed_server.json").read_text()
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "rt_flare_wav/adapter.py" in archive.namelist()
        points = archive.read("rt_flare_wav-0.1.0.dist-info/entry_points.txt").decode()
    assert points == "[rt_flare]\nwav = rt_flare_wav.plugin\n"


def test_only_publishing_is_left_out() -> None:
    """P3"""
    assert set(NOT_RUN) < set(COMMANDS)


def test_the_page_names_every_hook() -> None:
    """P1"""
    for hook, entry in HOOKS.items():
        assert f"| `{hook}` | `{entry.__name__}(" in PAGE


def test_the_test_of_an_adapter_takes_about_twenty_lines() -> None:
    """P3: the suite is worth its name only if it is short to use."""
    text = dict(FILES)["tests/test_adapter.py"]
    assert len([line for line in text.splitlines() if line.strip()]) <= 25


@pytest.mark.parametrize("block", re.findall(r"^```python.*?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_every_block_of_code_is_valid(block: str) -> None:
    """P3"""
    ast.parse(block)
