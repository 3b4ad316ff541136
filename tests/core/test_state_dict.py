"""Plain tensors, and exactly the names, shapes and dtypes that are expected (M9, M10)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.masked import masked_tensor
from torch.nested import nested_tensor

from rt_flare.core.state_dict import (
    StateDict,
    TensorSpec,
    check_fit,
    describe,
    fit_names,
    load_strictly,
    to_plain,
)
from rt_flare.errors import StateDictError


class Labelled(torch.Tensor):
    """A subclass without data of its own."""


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def base() -> torch.Tensor:
    return torch.arange(24.0).reshape(4, 6)


def is_plain(tensor: torch.Tensor) -> bool:
    return (
        type(tensor) is torch.Tensor
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and not (tensor.requires_grad or tensor.is_conj() or tensor.is_neg())
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: base(),
        lambda: base().t(),
        lambda: base()[::2, 1::2],
        lambda: base()[:, 3],
        lambda: base().flip(0),
        lambda: torch.tensor([1.0, 2.0]).expand(3, 2),
        lambda: torch.tensor(3.0).expand(2, 2),
        lambda: torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
        lambda: torch.nn.Parameter(base()),
        lambda: torch.nn.Buffer(base()),
        lambda: torch.nn.Parameter(base()) * 2,
        lambda: base().as_subclass(Labelled),
        lambda: torch.tensor([1 + 2j, 3 - 1j]).conj(),
        lambda: torch.tensor([1 + 2j, 3 - 1j]).conj().imag,
        lambda: torch.tensor([1 + 2j]).real,
        lambda: torch.empty(0, 3),
        lambda: torch.tensor(True),
    ],
)
def test_every_layout_becomes_plain_with_the_same_values(make: Callable[[], torch.Tensor]) -> None:
    """M9: such tensors end NVFlare's server, or arrive empty."""
    tensor = make()
    plain = to_plain({"w": tensor})["w"]
    assert is_plain(plain)
    assert (plain.dtype, plain.shape) == (tensor.dtype, tensor.shape)
    assert plain.tolist() == tensor.tolist()


def test_plain_tensors_are_not_copied() -> None:
    """M9: a model of many gigabytes passes without a second one."""
    tensor = base()
    assert to_plain({"w": tensor})["w"].data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6.0)[::-1],
        np.arange(6, dtype=np.int64)[::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype=">i8"),
        np.broadcast_to(np.float32(2), (2, 2)),
        np.array(3.5),
        np.zeros((0, 2), np.float16),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.arange(3, dtype=np.uint16),
    ],
)
def test_numpy_arrays_become_tensors(array: np.ndarray[Any, Any]) -> None:
    """M9: NVFlare may deliver arrays, of any byte order and stride, read-only too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = to_plain({"w": array})["w"]
    assert is_plain(plain)
    assert plain.numpy().dtype == array.dtype.newbyteorder("=")
    assert plain.tolist() == array.tolist()


@pytest.mark.filterwarnings("ignore:.*(prototype|beta state|deprecated)")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: base().to_sparse(), "sparse_coo"),
        (lambda: base().to_sparse_csr(), "sparse_csr"),
        (lambda: torch.ones(2, device="meta"), "meta"),
        (lambda: torch._empty_affine_quantized([2], scale=1.0, zero_point=0, dtype=torch.quint8), "quantized"),
        (lambda: nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
        (lambda: masked_tensor(torch.ones(2), torch.tensor([True, False])), "MaskedTensor"),
        (lambda: next(iter(torch.nn.LazyLinear(2).state_dict().values())), "not yet initialized"),
        (lambda: torch.zeros(2, dtype=torch.uint8).view(torch.uint4), "torch.uint4"),
    ],
)
def test_tensors_without_dense_values_are_refused(make: Callable[[], torch.Tensor], kind: str) -> None:
    """M10: by name and kind."""
    with pytest.raises(StateDictError, match=rf"layer\.w: found a .*{kind}.* tensor, expected a dense one"):
        to_plain({"layer.w": make()})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"lr": 0.1}, "lr: found float, expected a tensor; return model.state_dict() without extras"),
        ({"w": None}, "w: found NoneType"),
        ({"optimizer": {}}, "optimizer: found dict"),
        ({7: torch.ones(1)}, "state dict names must be str, found 7"),
        ({"w": np.array(["x"])}, "w: numpy dtype <U1 has no torch counterpart"),
        ({"w": np.array([object()])}, "w: numpy dtype object has no torch counterpart"),
    ],
)
def test_what_is_no_tensor_is_refused(entry: Any, message: str) -> None:
    """M10"""
    with pytest.raises(StateDictError) as caught:
        to_plain(entry)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "wrap",
    [
        torch.compile,
        torch.nn.DataParallel,
        lambda model: torch.nn.DataParallel(torch.compile(model)),
        lambda model: torch.nn.Sequential(torch.compile(model[0]), torch.nn.DataParallel(model[1])),
    ],
    ids=["compile", "DataParallel", "both", "layers"],
)
def test_names_of_wrapped_models_fit_the_bare_one(wrap: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    """M10: the names that torch's own wrappers give."""
    trained, fresh = network(), network()
    wrapped = wrap(trained).state_dict()
    assert wrapped.keys() != fresh.state_dict().keys()
    load_strictly(fresh, wrapped)
    assert all(torch.equal(fresh.state_dict()[name], tensor) for name, tensor in trained.state_dict().items())


def test_a_models_own_layer_called_module_keeps_its_name() -> None:
    """M10"""
    model = torch.nn.ModuleDict({"module": torch.nn.Linear(1, 1)})
    assert fit_names(model.state_dict(), model.state_dict()).keys() == {"module.weight", "module.bias"}


@pytest.mark.parametrize("names", [["module.a"], ["module.a", "b", "c"], ["a", "module.a"], ["module.x", "module.b"]])
def test_names_that_do_not_fit_without_prefixes_stay_for_the_message(names: list[str]) -> None:
    """M10: nothing is dropped halfway."""
    state = {name: torch.ones(1) for name in names}
    assert fit_names(state, ["a", "b"]).keys() == state.keys()


@given(st.sets(st.sampled_from("abcdef"), min_size=1), st.sets(st.sampled_from("abcdef"), min_size=1))
def test_exactly_the_expected_names_fit(found: set[str], expected: set[str]) -> None:
    """M10"""
    state: StateDict = {name: torch.ones(1) for name in found}
    specs = {name: TensorSpec((1,), torch.float32) for name in expected}
    if found == expected:
        check_fit(state, specs, what="it")
        return
    with pytest.raises(StateDictError) as caught:
        check_fit(state, specs, what="it")
    assert ("missing" in str(caught.value)) == bool(expected - found)
    assert ("unexpected" in str(caught.value)) == bool(found - expected)


def test_all_differences_are_listed_at_once() -> None:
    """M10"""
    expected = describe(network().state_dict())
    state = {name: tensor for name, tensor in network().state_dict().items() if name != "0.bias"}
    state["1.weight"] = state["1.weight"].double()
    state["0.weight"] = state["0.weight"].t()
    state["head"] = torch.ones(1)
    with pytest.raises(StateDictError) as caught:
        check_fit(state, expected, what="the update of site-1")
    assert str(caught.value) == (
        "the update of site-1 does not fit the model: missing (1): 0.bias; unexpected (1): head; of another shape or "
        "dtype (2): 0.weight: float32[3, 2], expected float32[2, 3], 1.weight: float64[2], expected float32[2]"
    )


def test_long_lists_are_cut() -> None:
    """M10"""
    with pytest.raises(StateDictError, match=r"unexpected \(25\): n0, .*, n9 and 15 more$"):
        check_fit({f"n{number}": torch.ones(1) for number in range(25)}, {}, what="it")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("0.bias"),
        lambda state: state.update(extra=torch.ones(1)),
        lambda state: state.update({"0.bias": torch.ones(3)}),
        lambda state: state.update({"0.bias": torch.ones(2).double()}),
        lambda state: state.update({"1.num_batches_tracked": torch.tensor(1.0)}),
    ],
)
def test_loading_refuses_what_does_not_fit_and_changes_nothing(change: Callable[[StateDict], Any]) -> None:
    """M10"""
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = dict(network().state_dict())
    change(state)
    with pytest.raises(StateDictError, match="does not fit the model"):
        load_strictly(model, state)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
