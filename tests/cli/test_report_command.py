"""``rt-flare report``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.core.ledger import Ledger

RtFlare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    Ledger(job_id="j<1>", num_rounds=2, state="CANCELLED").write_round_summary(tmp_path / "run" / "files_out")
    return tmp_path / "run"


def test_the_page_stands_beside_the_results(rt_flare: RtFlare, run_folder: Path) -> None:
    """X10: and its path is said."""
    done = rt_flare("report", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "run/report.html: j<1>, CANCELLED; open it in a browser\n"
    assert "j&lt;1&gt;" in (run_folder / "report.html").read_text()


def test_markdown_goes_to_stdout_or_into_a_file(rt_flare: RtFlare, run_folder: Path, tmp_path: Path) -> None:
    """X10"""
    printed = rt_flare("report", "run", "--format", "md").stdout
    assert printed.startswith("# j\\<1\\>: CANCELLED\n")
    assert rt_flare("report", "run", "--format", "md", "--out", "x.md").stdout == "x.md\n"
    assert (tmp_path / "x.md").read_text() == printed
    assert not (run_folder / "report.html").exists()


def test_json_is_one_document_that_says_where_the_page_is(rt_flare: RtFlare, run_folder: Path, tmp_path: Path) -> None:
    """N6"""
    done = rt_flare("report", "run", "--out", "r.html", "--format", "json")
    document = json.loads(done.stdout)
    assert (document["command"], document["exit_code"], document["error"]) == ("report", 0, None)
    assert (document["state"], document["report"], document["num_rounds"]) == ("CANCELLED", "r.html", 2)
    assert (tmp_path / "r.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "no such folder"),
        (["run", "--out", "."], "found a folder"),
        (["run", "--format", "pdf"], "--format"),
    ],
)
def test_wrong_usage_is_explained(rt_flare: RtFlare, run_folder: Path, arguments: list[str], text: str) -> None:
    """N6"""
    done = rt_flare("report", *arguments)
    assert done.returncode == 4
    assert text in done.stderr


def test_a_report_needs_neither_pytorch_nor_nvflare(run_folder: Path) -> None:
    """X10: it is there at once."""
    code = (
        f"import sys; sys.argv = ['rt-flare', 'report', {str(run_folder)!r}]\n"
        "from rt_flare.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code == 0\n"
        "assert not {'torch', 'nvflare', 'numpy'} & set(sys.modules), 'too much was loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
