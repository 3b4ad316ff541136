"""``rt-flare quickstart``: from nothing to a model, and what happens with a broken module."""

from __future__ import annotations

import importlib.resources
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RtFlare = Callable[..., subprocess.CompletedProcess[str]]
MODEL_DEF = importlib.resources.files("rt_flare.quickstart").joinpath("model_def.py").read_text()


def _module(folder: Path, old: str, new: str) -> tuple[Path, int]:
    """The quickstart's module with a change, and the line of the change."""
    assert MODEL_DEF.count(old) == 1
    text = MODEL_DEF.replace(old, new)
    path = folder / "broken.py"
    path.write_text(text)
    return path, text[: text.index(new)].count("\n") + 1


def _load_with_torch_alone(folder: Path) -> None:
    """J11: in an interpreter that can import neither rt_flare nor NVFlare."""
    code = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"rt_flare", "nvflare"}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, ".")
import torch
from model_def import Model
model = Model()
print(model.load_state_dict(torch.load("jobs/digits/model_out/global_model.pt", weights_only=True), strict=True))
assert not {"rt_flare", "nvflare"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert "All keys matched" in done.stdout, done.stderr


@pytest.mark.simulator
def test_ten_rounds_give_a_model_as_good_as_central_training(rt_flare: RtFlare, tmp_path: Path) -> None:
    """J7, J8, J11, M1, N6: one JSON document, every output, and an accuracy of at least 0.96 on unseen digits."""
    done = rt_flare("quickstart", "--out", "qs", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["state"] == "FINISHED"
    assert document["error"] is None
    assert document["held_out_accuracy"] >= 0.96
    assert abs(document["held_out_accuracy"] - document["central_accuracy"]) < 0.03
    assert abs(document["central_steps"] - document["federated_steps"]) < 25
    assert [record["verdict"] for record in document["rounds"]] == ["OK"] * 10
    names = {Path(path).relative_to(document["job_dir"]).as_posix() for path in document["outputs"]}
    assert {"files_out/server.log", "files_out/metrics.json", "model_out/global_model.pt"} <= names
    assert {f"files_out/client_{n}.log" for n in (1, 2, 3)} <= names
    assert {f"model_out/model_round_{n}.pt" for n in range(10)} <= names
    assert all(Path(path).is_file() for path in document["outputs"])
    assert sorted(p.name for p in (tmp_path / "qs" / "jobs" / "digits").iterdir()) == [
        *("files_out", "job", "model_out", "shards", "workspace")
    ]
    assert (tmp_path / "qs" / "model_def.py").read_text() == MODEL_DEF
    _load_with_torch_alone(tmp_path / "qs")
    assert [shlex.split(command)[:2] for command in document["next_commands"]] == [
        ["rt-flare", "quickstart"],
        ["rt-flare", "run"],
        ["nvflare", "simulator"],
    ]


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_seeds_learn_as_well(rt_flare: RtFlare, seed: int) -> None:
    """M1: within two minutes, on unseen digits."""
    started = time.monotonic()
    done = rt_flare("quickstart", "--out", "qs", "--format", "json", "--seed", str(seed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["held_out_accuracy"] >= 0.96
    assert time.monotonic() - started < 120


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        pytest.param("from torch import nn\n", "\n", "NameError: name 'nn' is not defined", id="import"),
        pytest.param(
            "    model = Model()\n    # The global",
            "    if env['CURRENT_ROUND'] == 1:\n        raise OSError('disk on fire')\n    model = Model()\n    # The",
            "OSError: disk on fire",
            id="round",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            '"weights": model.state_dict(),',
            '"weights": {k: v * float("nan") for k, v in model.state_dict().items()},',
            "NaN or infinite",
            id="nan",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_broken_module_fails_with_its_cause_and_place(
    rt_flare: RtFlare, tmp_path: Path, old: str, new: str, cause: str
) -> None:
    """J5: no traceback of NVFlare's, the user's own line."""
    module, _ = _module(tmp_path, old, new)
    done = rt_flare("quickstart", "--out", "qs", "--model-def", str(module), "--rounds", "2", "--sites", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    text = done.stdout + done.stderr
    assert "FAILED" in done.stdout
    [root_cause] = [line for line in done.stdout.splitlines() if line.startswith("Root cause: ")]
    assert cause in root_cause
    assert "(model_def.py:" in root_cause
    assert "Traceback" not in text
    assert f"rt-flare quickstart --model-def {module}" in done.stdout


def test_a_changed_module_is_not_replaced(rt_flare: RtFlare, tmp_path: Path) -> None:
    """J8: the user's work stays."""
    (tmp_path / "rt-quickstart").mkdir()
    changed = tmp_path / "rt-quickstart" / "model_def.py"
    changed.write_text("x = 1\n")
    done = rt_flare("quickstart")
    assert done.returncode == 4
    assert f"--model-def {changed}" in done.stderr
    assert changed.read_text() == "x = 1\n"
