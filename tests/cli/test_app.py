"""Arguments and exit codes of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RtFlare = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_every_command_and_loads_neither_pytorch_nor_nvflare() -> None:
    """N6: it answers at once."""
    code = (
        "import sys; sys.argv = ['rt-flare', '--help']\n"
        "from rt_flare.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code == 0\n"
        "assert not {'torch', 'nvflare', 'numpy', 'pyhocon'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"quickstart", "run"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["quickstart", "--rounds", "0"], "'--rounds'"),
        (["quickstart", "--sites", "many"], "'--sites'"),
        (["quickstart", "--format", "xml"], "'--format'"),
        (["quickstart", "--model-def", "nowhere.py"], "nowhere.py: no such file"),
        (["run"], "JOB_FOLDER"),
        (["run", "nowhere"], "no meta.json"),
        (["run", "nowhere", "--sites", "a", "-n", "2"], "not both"),
        (["run", "mini_job", "--sites", "a,a"], "a name of its own"),
        (["rnu"], "rnu"),
    ],
)
def test_wrong_usage_is_explained_on_stderr_with_exit_code_4(
    rt_flare: RtFlare, mini_job: Path, arguments: list[str], text: str
) -> None:
    """N6: the working folder has mini_job in it."""
    done = rt_flare(*arguments)
    assert done.returncode == 4
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("option", [["--format", "json"], ["--format=json"]])
def test_wrong_usage_is_one_json_document_when_asked_for(rt_flare: RtFlare, option: list[str]) -> None:
    """N6."""
    done = rt_flare("run", "nowhere", *option)
    assert done.returncode == 4
    document = json.loads(done.stdout)
    assert (document["state"], document["exit_code"], document["rounds"]) == (None, 4, [])
    assert "no meta.json" in document["error"]["message"]


def test_no_command_at_all_shows_the_help(rt_flare: RtFlare) -> None:
    """N6."""
    done = rt_flare()
    assert done.returncode == 4
    assert "quickstart" in done.stdout


def test_a_folder_that_cannot_be_written_fails_without_a_traceback(
    rt_flare: RtFlare, mini_job: Path, tmp_path: Path
) -> None:
    """N6: no error of rt_flare's own."""
    (tmp_path / "file").touch()
    done = rt_flare("run", str(mini_job), "--out", "file/below")
    assert done.returncode == 1
    assert "file/below" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_our_own_has_exit_code_5(tmp_path: Path) -> None:
    """N6: with its traceback, for the report."""
    code = (
        "import sys; sys.argv = ['rt-flare', 'run', 'x', '--format', 'json']\n"
        "import rt_flare.cli.run_command as command\n"
        "def broken(**arguments): raise ZeroDivisionError('bug')\n"
        "command.run_command = broken\n"
        "from rt_flare.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "Traceback" in done.stderr
    assert json.loads(done.stdout)["error"] == {"kind": "internal", "message": "ZeroDivisionError: bug"}
