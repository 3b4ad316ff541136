"""The two signatures of user code, which one applies, and what reaches it (M2, M3, M5, M6)."""

from __future__ import annotations

import inspect
import itertools
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.payload import Payload, build_payload
from rt_flare.core.user_code import Contract, UserCode
from rt_flare.core.user_logger import UserLogger
from rt_flare.errors import ContractError, ResultError, StateDictError

NUMBERS = itertools.count()
MakeModule = Callable[[str], str]
SILENT = UserLogger(lambda level, text: None)
ENV = {"SITE_NAME": "site-1", "DEVICE": "cpu", "local_epochs": 4, "batch_size": 16, "learning_rate": 0.25, "tag": "x"}
MODEL = """
import torch
class Model(torch.nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
"""
SDK = MODEL + (
    """
def fl_train(model, env, out_dir, logger=None):
    seen.update(env=env, out_dir=out_dir, weight=model.layer.weight.detach().clone(), logger=logger)
    return {"state_dict": model.state_dict(), "samples": 5, "metrics": {"loss": 0.5}}
seen = {}
"""
)


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeModule:
    """Writes source text as a module that can be imported; returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source: str) -> str:
        name = f"user_module_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        return name

    return write


def load(name: str, **args: Any) -> UserCode:
    return UserCode(name, ModelSpec(path=f"{name}.Model", args=args))


def payload(weights: dict[str, torch.Tensor] | None = None) -> Payload:
    return build_payload(weights=weights or {}, dataset={"data_root": "/data/1"}, env=ENV, extra={})


def line_of(code: UserCode, text: str) -> int:
    return inspect.getsource(code.module).splitlines().index(text) + 1


def test_fl_train_model_receives_the_payload(make_module: MakeModule, tmp_path: Path) -> None:
    """M2"""
    code = load(
        make_module(
            """
            def fl_train_model(payload, out_dir, logger=None):
                logger("training")
                seen.append((payload, out_dir))
                return {"weights": payload["initial_weights"], "samples": 3}
            seen = []
            """
        )
    )
    lines: list[tuple[str, str]] = []
    given = payload({"w": torch.ones(2)})
    result = code.train(given, tmp_path, UserLogger(lambda level, text: lines.append((level, text))))
    assert code.contract is Contract.PAYLOAD
    assert code.module.seen[0][0] is given
    assert code.module.seen[0][1] == str(tmp_path)
    assert lines == [("info", "training")]
    assert result.num_samples == 3


def test_fl_train_receives_the_loaded_model_and_the_sdks_env(make_module: MakeModule, tmp_path: Path) -> None:
    """M6"""
    code = load(make_module(SDK), width=3)
    weights = {"layer.weight": torch.full((1, 3), 7.0), "layer.bias": torch.zeros(1)}
    result = code.train(payload(weights), tmp_path, SILENT)
    assert code.contract is Contract.MODEL
    assert code.module.seen["weight"].tolist() == [[7.0, 7.0, 7.0]]
    assert code.module.seen["out_dir"] == str(tmp_path)
    assert code.module.seen["env"] == {**ENV, "EPOCHS": 4, "BATCH_SIZE": 16, "LR": 0.25, "DATA_ROOT": "/data/1"}
    assert result.metrics == {"loss": 0.5}


def test_fl_train_starts_from_a_fresh_model_without_global_weights(make_module: MakeModule, tmp_path: Path) -> None:
    """M6, M8"""
    assert load(make_module(SDK)).train(payload(), tmp_path, SILENT).weights.keys() == {"layer.weight", "layer.bias"}


def test_global_weights_that_do_not_fit_are_refused(make_module: MakeModule, tmp_path: Path) -> None:
    """M6, M10"""
    weights = {"layer.weight": torch.ones(1, 9), "layer.bias": torch.zeros(1)}
    with pytest.raises(StateDictError, match=r"the global model does not fit the model.*layer\.weight"):
        load(make_module(SDK)).train(payload(weights), tmp_path, SILENT)


def test_fl_train_model_comes_first_when_both_are_there(make_module: MakeModule) -> None:
    """M6: decided once, explicitly."""
    source = SDK + "\ndef fl_train_model(payload, out_dir, logger=None): ...\n"
    assert load(make_module(source)).contract is Contract.PAYLOAD


@pytest.mark.parametrize(
    ("train", "validate"),
    [
        ("fl_train_model(payload, out_dir, logger=None)", "fl_validate_model(payload, out_dir, logger=None)"),
        ("fl_train(model, env, out_dir, logger=None)", "fl_validate(model, env, out_dir, logger=None)"),
    ],
)
def test_validation_follows_the_same_contract(
    make_module: MakeModule, tmp_path: Path, train: str, validate: str
) -> None:
    """M5, M6"""
    body = ' return {"metrics": {"acc": float("nan"), "loss": float("inf")}, "samples": 9}'
    code = load(make_module(f"{MODEL}\ndef {train}: ...\ndef {validate}:{body}\n"))
    assert code.validates
    found = code.validate(payload(), tmp_path, SILENT)
    assert repr(found) == "({'acc': nan, 'loss': inf}, 9)"


def test_validation_is_optional(make_module: MakeModule, tmp_path: Path) -> None:
    """M5"""
    code = load(make_module("def fl_train_model(payload, out_dir, logger=None): ..."))
    assert not code.validates
    assert code.validate(payload(), tmp_path, SILENT) is None


def test_the_other_contracts_validation_is_not_called(make_module: MakeModule) -> None:
    """M6"""
    source = "def fl_train_model(payload, out_dir, logger=None): ...\ndef fl_validate(model, env, out_dir): ..."
    assert not load(make_module(source)).validates


@pytest.mark.parametrize("samples", [None, 4, np.int64(4)])
def test_the_samples_of_a_validation_may_be_left_out(make_module: MakeModule, tmp_path: Path, samples: Any) -> None:
    """M5: and are a plain int otherwise."""
    code = load(
        make_module(
            """
            def fl_train_model(payload, out_dir, logger=None): ...
            def fl_validate_model(payload, out_dir, logger=None):
                return {"metrics": {}, "samples": payload["env"]["tag"]}
            """
        )
    )
    given = payload()
    given["env"]["tag"] = samples
    found = code.validate(given, tmp_path, SILENT)
    assert found is not None
    assert type(found[1]) in (type(None), int)
    assert found[1] == samples


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("None", "metrics_invalid"),
        ("0.9", "metrics_invalid"),
        ('{"accuracy": 0.9}', "metrics_invalid"),
        ('{"metrics": 0.9}', "metrics_invalid"),
        ('{"metrics": {}, "samples": 0}', "samples_zero"),
        ('{"metrics": {}, "samples": True}', "samples_bool"),
    ],
)
def test_a_bad_validation_result_names_the_function(
    make_module: MakeModule, tmp_path: Path, returned: str, reason: str
) -> None:
    """M5, J5"""
    source = "def fl_train_model(payload, out_dir, logger=None): ...\n\n"
    code = load(make_module(f"{source}def fl_validate_model(payload, out_dir, logger=None):\n    return {returned}\n"))
    with pytest.raises(ResultError) as caught:
        code.validate(payload(), tmp_path, SILENT)
    assert caught.value.reason == reason
    assert caught.value.source == (code.module.__file__, 3)


def test_a_bad_training_result_names_the_function(make_module: MakeModule, tmp_path: Path) -> None:
    """M4, J5"""
    code = load(make_module("import torch\n\ndef fl_train_model(payload, out_dir, logger=None):\n    return 1\n"))
    with pytest.raises(ResultError) as caught:
        code.train(payload(), tmp_path, SILENT)
    assert caught.value.source == (code.module.__file__, 3)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("", ""),
        ("fl_train_model = 3", ""),
        ("def fl_train_mode(payload, out_dir, logger=None): ...", "; did you mean 'fl_train_mode'?"),
        ("def fl_trian(model, env, out_dir, logger=None): ...", "; did you mean 'fl_trian'?"),
    ],
)
def test_a_module_without_a_training_function_is_refused(make_module: MakeModule, source: str, hint: str) -> None:
    """M2, C6"""
    name = make_module(source)
    with pytest.raises(ContractError) as caught:
        load(name)
    assert str(caught.value) == f"{name} defines neither fl_train_model nor fl_train{hint}"


@pytest.mark.parametrize(
    "definition",
    [
        "def fl_train_model(payload): ...",
        "def fl_train_model(payload, out_dir): ...",
        "def fl_train_model(payload, out_dir, log=None): ...",
        "def fl_train_model(payload, out_dir, logger, data): ...",
        "def fl_train_model(*, payload, out_dir, logger): ...",
        "def fl_train(model, env, logger=None): ...",
    ],
)
def test_another_signature_is_refused_before_training(make_module: MakeModule, definition: str) -> None:
    """M2, M6, C6: naming both signatures and the line."""
    name = make_module(f"\n{definition}\n")
    with pytest.raises(ContractError, match="cannot be called as fl_train") as caught:
        load(name)
    assert caught.value.source is not None
    assert caught.value.source[1] == 2


@pytest.mark.parametrize(
    "definition",
    [
        "def fl_train_model(payload, out_dir, logger=None, verbose=False): ...",
        "def fl_train_model(*args, **options): ...",
        "def fl_train_model(p, o, *, logger): ...",
        "fl_train_model = lambda payload, out_dir, logger=None: None",
        "import functools\ndef f(a, p, o, logger): ...\nfl_train_model = functools.partial(f, 1)",
    ],
)
def test_any_callable_that_fits_is_taken(make_module: MakeModule, definition: str) -> None:
    """M2"""
    assert load(make_module(definition)).contract is Contract.PAYLOAD


def test_a_wrong_validation_signature_is_refused_at_the_start(make_module: MakeModule) -> None:
    """M5, C6"""
    source = "def fl_train_model(payload, out_dir, logger=None): ...\ndef fl_validate_model(payload): ..."
    with pytest.raises(ContractError, match=r"cannot be called as fl_validate_model\(payload, out_dir, logger\)"):
        load(make_module(source))


def test_a_decorated_functions_line_is_its_own(make_module: MakeModule, tmp_path: Path) -> None:
    """J5"""
    code = load(
        make_module(
            """
            import functools
            def twice(function):
                @functools.wraps(function)
                def call(*args, **options): return function(*args, **options)
                return call
            @twice
            def fl_train_model(payload, out_dir, logger=None):
                return None
            """
        )
    )
    with pytest.raises(ResultError) as caught:
        code.train(payload(), tmp_path, SILENT)
    assert caught.value.source == (code.module.__file__, line_of(code, "@twice"))
