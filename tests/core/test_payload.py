"""What a training function receives and what it may return (M2, M4, M5, M10, M11)."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.payload import RESERVED_ENV, build_payload, parse_metrics, parse_result
from rt_flare.core.sample_count import sample_count_problem
from rt_flare.errors import ConfigError, ResultError

NOWHERE = Path("does-not-exist")
WEIGHTS = {"w": torch.tensor([1.0, 2.0])}


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pickle-was-run"),)


def result(**entries: Any) -> dict[str, Any]:
    return {"weights": WEIGHTS, "samples": 3, **entries}


def reason_of(returned: Any, out_dir: Path = NOWHERE) -> str:
    with pytest.raises(ResultError) as caught:
        parse_result(returned, out_dir)
    assert caught.value.code == "result"
    return caught.value.reason


def test_the_payload_has_weights_dataset_and_env() -> None:
    """M2"""
    env = dict.fromkeys(RESERVED_ENV, 0)
    payload = build_payload(weights=WEIGHTS, dataset={"data_root": "/d"}, env=env, extra={"mixup": 0.2})
    assert payload == {
        "initial_weights": WEIGHTS,
        "dataset": {"data_root": "/d"},
        "env": {**env, "mixup": 0.2},
    }


@pytest.mark.parametrize("name", sorted(RESERVED_ENV))
def test_extra_keys_cannot_replace_our_own(name: str) -> None:
    """M2, C1"""
    with pytest.raises(ConfigError, match=f"extra must not name {name}: set the field of that name instead"):
        build_payload(weights={}, dataset={}, env={}, extra={name: 1})


def test_changing_the_payload_changes_nothing_of_the_caller() -> None:
    """M2"""
    weights, dataset, env = dict(WEIGHTS), {"data_root": "/d"}, {"SITE_NAME": "a"}
    payload = build_payload(weights=weights, dataset=dataset, env=env, extra={})
    for part in payload.values():
        part.clear()
    assert (weights.keys(), dataset, env) == (WEIGHTS.keys(), {"data_root": "/d"}, {"SITE_NAME": "a"})


@pytest.mark.parametrize("key", ["weights", "state_dict"])
@pytest.mark.parametrize("count_key", ["samples", "num_samples"])
def test_both_spellings_of_the_result_are_taken(key: str, count_key: str) -> None:
    """M4"""
    parsed = parse_result({key: WEIGHTS, count_key: 7, "metrics": {"loss": 0.5}}, NOWHERE)
    assert (parsed.num_samples, parsed.metrics, parsed.warnings) == (7, {"loss": 0.5}, ())
    assert torch.equal(parsed.weights["w"], WEIGHTS["w"])


@pytest.mark.parametrize("returned", [None, 3, [("weights", WEIGHTS)], "weights", torch.ones(1)])
def test_a_result_must_be_a_dict(returned: Any) -> None:
    """M4"""
    assert reason_of(returned) == "result_not_a_dict"


def test_a_final_checkpoint_is_read_relative_to_out_dir(tmp_path: Path) -> None:
    """M4"""
    (tmp_path / "ckpt").mkdir()
    torch.save(WEIGHTS, tmp_path / "ckpt" / "last.pt")
    parsed = parse_result({"final_checkpoint": "ckpt/last.pt", "samples": 2}, tmp_path)
    assert torch.equal(parsed.weights["w"], WEIGHTS["w"])


def test_weights_in_the_result_come_before_files(tmp_path: Path) -> None:
    """M4"""
    torch.save({"w": torch.zeros(2)}, tmp_path / "state_dict.pt")
    parsed = parse_result({"weights": WEIGHTS, "final_checkpoint": "state_dict.pt", "samples": 2}, tmp_path)
    assert torch.equal(parsed.weights["w"], WEIGHTS["w"])


@pytest.mark.parametrize("nested", [None, "model_state", "model_state_dict", "state_dict"])
def test_a_state_dict_file_is_the_last_resort(tmp_path: Path, nested: str | None) -> None:
    """M4: bare, or under the names that training scripts use."""
    torch.save({nested: WEIGHTS, "epoch": 3} if nested else WEIGHTS, tmp_path / "state_dict.pt")
    parsed = parse_result({"weights": None, "samples": 2}, tmp_path)
    assert torch.equal(parsed.weights["w"], WEIGHTS["w"])


def test_no_weights_anywhere_is_refused(tmp_path: Path) -> None:
    """M4"""
    assert reason_of({"samples": 3}, tmp_path) == "weights_missing"


def test_a_named_checkpoint_must_exist(tmp_path: Path) -> None:
    """M4: it does not fall back on another file."""
    torch.save(WEIGHTS, tmp_path / "state_dict.pt")
    assert reason_of({"final_checkpoint": "other.pt", "samples": 3}, tmp_path) == "checkpoint_missing"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["pickle", "torch pickle", "text", "empty", "truncated"])
def test_only_weights_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """M4: a pickle is refused, and nothing in it runs."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state_dict.pt"
    if kind == "torch pickle":
        torch.save({"w": torch.ones(2), "hook": Malicious()}, path)
    elif kind == "truncated":
        torch.save(WEIGHTS, path)
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.write_bytes({"pickle": pickle.dumps(Malicious()), "text": b"hello", "empty": b""}[kind])
    assert reason_of({"samples": 3}, tmp_path) == "checkpoint_invalid"
    assert not (tmp_path / "pickle-was-run").exists()


def test_empty_weights_are_refused() -> None:
    """M4"""
    assert reason_of(result(weights={})) == "weights_empty"


@pytest.mark.parametrize(
    "weights",
    [
        [torch.ones(2)],
        torch.nn.Linear(1, 1),
        {"w": 1.0},
        {"w": None},
        {1: torch.ones(1)},
        {"w": torch.ones(2).to_sparse()},
        {"w": torch.ones(2, device="meta")},
        {"optimizer": {"lr": 0.1}},
    ],
)
def test_weights_that_are_no_state_dict_are_refused(weights: Any) -> None:
    """M4, M10"""
    assert reason_of(result(weights=weights)) == "weights_invalid"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float8_e5m2, torch.complex64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_diverged_weights_are_refused(dtype: torch.dtype, value: float) -> None:
    """M4: with the advice of a smaller learning rate."""
    weights = {"ok": torch.ones(1), "w": torch.tensor([1.0, value]).to(dtype)}
    with pytest.raises(ResultError, match=r"w holds NaN or infinite values.*smaller learning rate") as caught:
        parse_result(result(weights=weights), NOWHERE)
    assert caught.value.reason == "weights_not_finite"


def test_float64_weights_beyond_float32_are_finite() -> None:
    """M4, M9"""
    assert parse_result(result(weights={"w": torch.tensor([1e300], dtype=torch.float64)}), NOWHERE).num_samples == 3


def test_results_of_a_training_on_parameters_become_plain_tensors() -> None:
    """M4: model.state_dict(keep_vars=True) and parameters with gradients are taken."""
    model = torch.nn.Linear(2, 2)
    parsed = parse_result(result(weights=model.state_dict(keep_vars=True)), NOWHERE)
    assert all(type(tensor) is torch.Tensor and not tensor.requires_grad for tensor in parsed.weights.values())


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, None, True, "3", 1e30, 3.0, np.array([1, 2])])
def test_bad_sample_counts_are_refused_under_the_names_of_the_rule(value: Any) -> None:
    """M11"""
    expected = sample_count_problem(value)
    assert expected is not None
    assert reason_of(result(samples=value)) == expected[0]
    assert reason_of(result(num_samples=value)) == expected[0]


def test_a_missing_sample_count_is_refused() -> None:
    """M11"""
    with pytest.raises(ResultError, match="return the number of samples that this site really trained on") as caught:
        parse_result({"weights": WEIGHTS}, NOWHERE)
    assert caught.value.reason == "samples_missing"


def test_two_sample_counts_must_agree() -> None:
    """M11"""
    assert reason_of(result(samples=3, num_samples=4)) == "samples_conflict"
    assert parse_result(result(samples=3, num_samples=np.int64(3)), NOWHERE).num_samples == 3


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:/@ -]{0,20}", fullmatch=True), st.floats(), max_size=5))
def test_metrics_keep_every_float(metrics: dict[str, float]) -> None:
    """M4, J10: NaN and infinities too."""
    assert repr(parse_metrics(metrics)) == repr(metrics)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 2.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.bool_(False), 0.0),
        (np.array([0.25]), 0.25),
        (torch.tensor(0.125), 0.125),
        (torch.tensor([[0.5]], requires_grad=True), 0.5),
        (np.float64("inf"), math.inf),
    ],
)
def test_metrics_of_one_number_become_floats(value: Any, expected: float) -> None:
    """M4"""
    parsed = parse_metrics({"m": value})["m"]
    assert (type(parsed), parsed) == (float, expected)


@pytest.mark.parametrize(
    "metrics",
    [
        [("loss", 1.0)],
        {"loss": "0.5"},
        {"loss": None},
        {"loss": [0.5]},
        {"loss": torch.ones(2)},
        {"loss": np.ones(0)},
        {"loss": 1j},
        {"loss": np.complex64(1)},
        {"loss": torch.tensor(1j)},
        {"loss": 10**400},
        {1: 0.5},
        {"": 0.5},
        {"../loss": 0.5},
        {"loss\n": 0.5},
        {"<script>": 0.5},
        {"x" * 65: 0.5},
        {f"m{number}": 0.5 for number in range(257)},
    ],
    ids=lambda metrics: str(metrics)[:30],
)
def test_other_metrics_are_refused(metrics: Any) -> None:
    """M4: client text is a value, never markup, a path or a second line."""
    with pytest.raises(ResultError, match="metrics") as caught:
        parse_metrics(metrics)
    assert caught.value.reason == "metrics_invalid"
    assert reason_of(result(metrics=metrics)) == "metrics_invalid"


def test_no_metrics_are_no_error() -> None:
    """M4"""
    assert parse_result(result(metrics=None), NOWHERE).metrics == parse_result(result(), NOWHERE).metrics == {}


def test_unknown_keys_are_named_not_used() -> None:
    """M4"""
    parsed = parse_result(result(sample=4, **{"losses": []}), NOWHERE)
    assert parsed.warnings == ("the result's keys ['losses', 'sample'] are not part of the contract and were not used",)


def test_every_documented_reason_is_tested_here() -> None:
    """M4: drift."""
    documented = set((parse_result.__doc__ or "").split("``reason``:")[1].split("``")[1::2])
    source = Path(__file__).read_text(encoding="utf-8")
    assert [reason for reason in documented if f'"{reason}"' not in source] == []
