"""A model by its path and arguments: they survive JSON or are refused (M7)."""

from __future__ import annotations

import datetime
import enum
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.state_dict import TensorSpec
from rt_flare.errors import ModelError

NUMBERS = itertools.count()
SOURCE = """
import torch
class Model(torch.nn.Module):
    def __init__(self, widths, bias=True):
        super().__init__()
        sizes = zip(widths, widths[1:])
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(a, b, bias=bias) for a, b in sizes))
def make_model(**args):
    return Model(**args).half()
def make_nothing():
    return None
def fail():
    raise RuntimeError("no backbone")
LIMIT = 3
"""
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("abc"), inner, max_size=3)),
    max_leaves=8,
)


class Size(enum.Enum):
    SMALL = "small"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"model_module_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(SOURCE, encoding="utf-8")
    return name


@given(st.dictionaries(st.text("abcdef", min_size=1), json_values, max_size=4))
def test_json_arguments_survive_rendering(args: dict[str, Any]) -> None:
    """M7: values and types, also of numbers that print alike."""
    spec = ModelSpec(args=args)
    assert repr(ModelSpec.model_validate_json(spec.model_dump_json()).args) == repr(args)


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, math.inf, (1, 2), {1, 2}, b"x", {1: "a"}, 2**64, np.int64(3), np.float64(0.5), np.ones(2)),
        *(
            torch.float32,
            Size.SMALL,
            Path("x"),
            datetime.date(2024, 1, 1),
            pytest.param(object(), id="object"),
            len,
            "\ud800",
            1j,
        ),
    ],
    ids=repr,
)
@pytest.mark.parametrize("nested", [False, True])
def test_other_arguments_are_refused(value: Any, nested: bool) -> None:
    """M7: never changed silently."""
    with pytest.raises(ValidationError, match="model arguments"):
        ModelSpec(args={"a": [{"b": value}] if nested else value})


@pytest.mark.parametrize("path", ["", "Model", ".Model", "model_def.", "model def.Model", "os;x.y", "../m.Model"])
def test_a_path_must_be_dotted(path: str) -> None:
    """M7"""
    with pytest.raises(ValidationError, match=r"expected a dotted path as 'model_def.Model'"):
        ModelSpec(path=path)


def test_a_class_is_rebuilt_the_same_from_its_rendered_form(module: str) -> None:
    """M7: same names, shapes, dtypes and counts."""
    spec = ModelSpec(path=f"{module}.Model", args={"widths": [4, 3, 2], "bias": False})
    rebuilt = ModelSpec.model_validate_json(spec.model_dump_json())
    assert rebuilt.describe() == spec.describe()
    assert rebuilt.describe() == {
        "layers.0.weight": TensorSpec((3, 4), torch.float32),
        "layers.1.weight": TensorSpec((2, 3), torch.float32),
    }


def test_a_factory_function_is_called(module: str) -> None:
    """M7"""
    spec = ModelSpec(path=f"{module}.make_model", args={"widths": [2, 1]})
    assert spec.describe()["layers.0.weight"] == TensorSpec((1, 2), torch.float16)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Mdoel", "defines no class or function 'Mdoel'"),
        ("LIMIT", "defines no class or function 'LIMIT'"),
        ("make_nothing", "returned NoneType, expected a torch.nn.Module"),
    ],
)
def test_what_builds_no_model_is_refused(module: str, name: str, message: str) -> None:
    """M7"""
    with pytest.raises(ModelError, match=message):
        ModelSpec(path=f"{module}.{name}").build()


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda module: ModelSpec(path=f"{module}.fail"), RuntimeError),
        (lambda module: ModelSpec(path=f"{module}.Model", args={"width": 3}), TypeError),
        (lambda module: ModelSpec(path=f"not_{module}.Model"), ModuleNotFoundError),
    ],
)
def test_the_users_own_errors_pass_through(
    module: str, build: Callable[[str], ModelSpec], error: type[Exception]
) -> None:
    """M7, J5"""
    with pytest.raises(error):
        build(module).build()
