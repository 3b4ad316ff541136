"""``rt-flare check`` and ``init``: output and exit codes (N6)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.cli.check_command import check_command
from rt_flare.cli.init import Kind
from rt_flare.errors import ConfigError
from rt_flare.projects import ProjectKind

RtFlare = Callable[..., subprocess.CompletedProcess[str]]
MODULE = "class Model: pass\ndef fl_train_model(payload, out_dir, logger=None):\n    x = nn\n    raise ValueError\n"


def _check(path: Path, *, as_json: bool, model_args: str = "{}") -> int:
    return check_command(
        path=path,
        model="Model",
        model_args=model_args,
        shards=None,
        sites=None,
        dry_run=False,
        images=True,
        memory=None,
        timeout=60,
        as_json=as_json,
    )


def test_findings_are_one_json_document_with_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """N6, C6."""
    (tmp_path / "model_def.py").write_text(MODULE)
    assert _check(tmp_path / "model_def.py", as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["error"], document["kind"]) == (1, None, "module")
    codes = {finding["code"]: finding for finding in document["findings"]}
    assert set(codes) == {"undefined-name", "weights-not-loaded"}
    assert set(codes["undefined-name"]) == {"code", "severity", "file", "line", "field", "found", "expected", "fix"}
    assert codes["undefined-name"]["line"] == 3


def test_findings_are_lines_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """N6: place, found, expected and what to do; what was not looked at."""
    (tmp_path / "model_def.py").write_text(MODULE)
    assert _check(tmp_path, as_json=False) == 1
    shown = capsys.readouterr().out
    for text in ("error undefined-name", "model_def.py:3", "Add `import torch.nn as nn` in this file", "2 errors"):
        assert text in shown
    assert "not checked: dry run" in shown


def test_arguments_that_are_no_object_are_refused(tmp_path: Path) -> None:
    """N6."""
    with pytest.raises(ConfigError, match="--model-args"):
        _check(tmp_path, as_json=False, model_args="[1]")


def test_an_unknown_kind_of_project_has_exit_code_4(rt_flare: RtFlare) -> None:
    """N6."""
    done = rt_flare("init", "mine", "--kind", "films")
    assert done.returncode == 4
    assert "'--kind'" in done.stderr


def test_the_command_offers_every_kind_of_project() -> None:
    """N6: listed twice, so that the help loads nothing heavy."""
    assert [kind.value for kind in Kind] == [kind.value for kind in ProjectKind]
