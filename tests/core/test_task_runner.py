"""One site's round in user code: what it gets, in which order, and from which seed (M2, M5, X3)."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rt_flare.core.payload import RESERVED_ENV
from rt_flare.core.task_runner import SiteTask, TaskOutcome, TaskRunner, UserCodeConfig
from rt_flare.core.user_logger import UserLogger

NUMBERS = itertools.count()
WEIGHTS = {"w": torch.tensor([1.0, 2.0])}
BOTH = """
import random, numpy, torch
calls = []
def draw():
    return [random.random(), float(numpy.random.rand()), float(torch.rand(()))]
def fl_validate_model(payload, out_dir, logger=None):
    calls.append(("validate", payload["initial_weights"]["w"].tolist(), draw()))
    payload["initial_weights"]["w"].zero_()
    return {"metrics": {"acc": 0.5}, "samples": 4}
def fl_train_model(payload, out_dir, logger=None):
    calls.append(("train", payload["initial_weights"].get("w", torch.zeros(0)).tolist(), draw()))
    calls.append(("env", payload["env"]))
    return {"weights": {"w": torch.ones(2)}, "samples": 3, "metrics": {"loss": 0.25}}
"""
MakeRunner = Callable[..., TaskRunner]


@pytest.fixture
def make_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRunner:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(source: str = BOTH, **config: Any) -> TaskRunner:
        name = f"task_module_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        lines: list[tuple[str, str]] = []
        runner = TaskRunner(
            UserCodeConfig(user_module=name, code_dir=tmp_path, **config),
            UserLogger(lambda level, text: lines.append((level, text))),
        )
        assert lines[0][1].startswith(f"user code: {name}, contract fl_train")
        return runner

    return make


def task(folder: Path, kind: str = "train", site: str = "site-1", round_number: int = 0, **extra: Any) -> SiteTask:
    env = dict.fromkeys(sorted(RESERVED_ENV - {"DEVICE"}), 1) | {"SITE_NAME": site, "CURRENT_ROUND": round_number}
    env["STATE_DIR"] = str(folder / "state" / site)
    return SiteTask(kind=kind, dataset={"data_root": "/d"}, env=env, extra=extra, out_dir=folder / "out" / "round_0")


def calls(runner: TaskRunner) -> list[Any]:
    return list(sys.modules[runner._config.user_module].calls)


def test_training_validates_the_received_model_first(make_runner: MakeRunner, tmp_path: Path) -> None:
    """M5: and what validation does to its weights does not reach training."""
    runner = make_runner()
    outcome = runner.run(task(tmp_path), WEIGHTS)
    assert [call[:2] for call in calls(runner)[:2]] == [("validate", [1.0, 2.0]), ("train", [1.0, 2.0])]
    assert (outcome.received_model_metrics, outcome.validation_samples) == ({"acc": 0.5}, 4)
    assert outcome.result is not None
    assert outcome.result.metrics == {"loss": 0.25}


def test_a_validation_task_does_not_train(make_runner: MakeRunner, tmp_path: Path) -> None:
    """M5: the last global model."""
    runner = make_runner()
    assert runner.run(task(tmp_path, "validate"), WEIGHTS) == TaskOutcome(None, {"acc": 0.5}, 4)
    assert [call[0] for call in calls(runner)] == ["validate"]


def test_without_a_global_model_nothing_is_validated(make_runner: MakeRunner, tmp_path: Path) -> None:
    """M5, M8: the first round of a job that starts from its clients."""
    runner = make_runner()
    outcome = runner.run(task(tmp_path), {})
    assert [call[0] for call in calls(runner)] == ["train", "env"]
    assert outcome.received_model_metrics is None


def test_validation_may_be_left_out(make_runner: MakeRunner, tmp_path: Path) -> None:
    """M5"""
    source = "def fl_train_model(payload, out_dir, logger=None): ..."
    assert make_runner(source).run(task(tmp_path, "validate"), WEIGHTS) == TaskOutcome(None, None, None)


def test_env_holds_every_documented_key_and_the_jobs_own(make_runner: MakeRunner, tmp_path: Path) -> None:
    """M2"""
    runner = make_runner()
    runner.run(task(tmp_path, mixup=0.2), WEIGHTS)
    env = calls(runner)[-1][1]
    assert env.keys() == RESERVED_ENV | {"mixup"}
    assert env["DEVICE"] == ("cuda" if torch.cuda.is_available() else "cpu")


def test_out_dir_and_state_dir_exist_when_user_code_runs(make_runner: MakeRunner, tmp_path: Path) -> None:
    """M2, J8"""
    make_runner().run(task(tmp_path), WEIGHTS)
    assert (tmp_path / "out" / "round_0").is_dir()
    assert (tmp_path / "state" / "site-1").is_dir()


def draws(runner: TaskRunner, folder: Path, site: str = "site-1", round_number: int = 0) -> list[list[float]]:
    before = len(calls(runner))
    runner.run(task(folder, site=site, round_number=round_number), WEIGHTS)
    return [call[2] for call in calls(runner)[before:] if call[0] != "env"]


def test_a_seed_makes_every_generator_repeat_per_site_and_round(make_runner: MakeRunner, tmp_path: Path) -> None:
    """X3: Python's, numpy's and torch's; validation and training draw different numbers."""
    runner = make_runner(seed=7)
    first = draws(runner, tmp_path)
    assert first == draws(runner, tmp_path) == draws(make_runner(seed=7), tmp_path)
    others = [
        draws(runner, tmp_path, site="site-2"),
        draws(runner, tmp_path, round_number=1),
        draws(make_runner(seed=8), tmp_path),
    ]
    numbers = [number for drawn in (first, *others) for call in drawn for number in call]
    assert len(set(numbers)) == len(numbers) == 4 * 2 * 3


def test_without_a_seed_the_generators_are_left_alone(make_runner: MakeRunner, tmp_path: Path) -> None:
    """X3"""
    runner = make_runner()
    assert draws(runner, tmp_path) != draws(runner, tmp_path)


def test_the_jobs_code_comes_last_on_the_import_path(make_runner: MakeRunner, tmp_path: Path) -> None:
    """M7: a module of the job cannot replace one that is installed."""
    make_runner()
    make_runner()
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize("field", [{"kind": "evaluate"}, {"unknown": 1}, {"env": None}])
def test_a_malformed_task_is_refused(tmp_path: Path, field: dict[str, Any]) -> None:
    """M2"""
    with pytest.raises(ValidationError):
        SiteTask.model_validate({"dataset": {}, "env": {}, "out_dir": tmp_path} | field)
