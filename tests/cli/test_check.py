"""``rt-flare check`` and ``init``: arguments, output, exit codes (N6)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

RtFlare = Callable[..., subprocess.CompletedProcess[str]]
MODULE = "class Model: pass\ndef fl_train_model(payload, out_dir, logger=None):\n    x = nn\n    raise ValueError\n"


def test_findings_are_one_json_document_with_exit_code_1(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N6, C6."""
    (tmp_path / "model_def.py").write_text(MODULE)
    done = rt_flare("check", str(tmp_path / "model_def.py"), "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["error"], document["kind"]) == (1, 1, None, "module")
    codes = {finding["code"]: finding for finding in document["findings"]}
    assert set(codes) == {"undefined-name", "weights-not-loaded"}
    assert set(codes["undefined-name"]) == {"code", "severity", "file", "line", "field", "found", "expected", "fix"}
    assert codes["undefined-name"]["line"] == 3


def test_findings_are_lines_for_people(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N6: place, found, expected and what to do."""
    (tmp_path / "model_def.py").write_text(MODULE)
    done = rt_flare("check", str(tmp_path), "--no-dry-run")
    assert done.returncode == 1
    assert "error undefined-name" in done.stdout
    assert "model_def.py:3" in done.stdout
    assert "Add `import torch.nn as nn` in this file" in done.stdout
    assert "2 errors" in done.stdout


def test_wrong_usage_has_exit_code_4(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N6."""
    for arguments in (["check", "nowhere"], ["check", ".", "--model-args", "[1]"], ["init", ".", "--kind", "films"]):
        done = rt_flare(*arguments)
        assert done.returncode == 4, arguments
        assert "Traceback" not in done.stderr
