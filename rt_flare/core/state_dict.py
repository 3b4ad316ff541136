"""State dicts at the gate: plain tensors only, and exactly the names, shapes and dtypes that are expected."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from rt_flare.core.pieces import pieces
from rt_flare.errors import StateDictError

__all__ = [
    "StateDict",
    "TensorSpec",
    "check_fit",
    "describe",
    "fit_names",
    "largest_magnitude",
    "load_strictly",
    "to_plain",
]

StateDict = dict[str, torch.Tensor]
_WRAPPER_PREFIX = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|module)\.")
_STORAGE_ONLY = frozenset(
    dtype
    for name, dtype in vars(torch).items()
    if isinstance(dtype, torch.dtype) and re.fullmatch(r"u?int[1-7]|bits.*|float4.*", name)
)
"""Dtypes that torch can hold but neither copy nor compare."""
_MAX_LISTED = 10
_MAX_NAME = 300


class TensorSpec(NamedTuple):
    """Shape and dtype of one entry of a state dict."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


def describe(state: Mapping[str, torch.Tensor]) -> dict[str, TensorSpec]:
    """Shape and dtype of every entry of ``state``, in its order."""
    return {name: TensorSpec(tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}


def to_plain(state: Mapping[str, Any]) -> StateDict:
    """Return ``state`` as detached, contiguous, dense CPU tensors of the plain `torch.Tensor` class.

    Only such tensors survive NVFlare's serialization: a non-contiguous one ends the server's job process, and an
    `nn.Parameter` arrives empty. numpy arrays become tensors. A tensor that is plain already is not copied.

    Raises:
        StateDictError: a name is no string, or a value is no tensor, or is sparse, nested, quantized, without data, or
            of a dtype that torch has no arithmetic for.
    """
    plain: StateDict = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise StateDictError(f"state dict names must be str, found {reprlib.repr(name)}")
        if isinstance(value, np.ndarray):
            value = _from_numpy(name, value)
        if _is_plain(value):
            plain[name] = value
            continue
        if not isinstance(value, torch.Tensor):
            raise StateDictError(
                f"{_shown_name(name)}: found {type(value).__name__}, expected a tensor; return model.state_dict() "
                "without extras"
            )
        if kind := _unusable_kind(value):
            raise StateDictError(
                f"{_shown_name(name)}: found a {kind} tensor, expected a dense one; convert it to a dense tensor"
            )
        plain[name] = value.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg().cpu().contiguous()
    return plain


def largest_magnitude(tensor: torch.Tensor) -> float:
    """Return the largest absolute value in a plain floating-point tensor; 0 if it is empty, NaN if it holds one."""
    if not tensor.numel():
        return 0.0
    # The extremes of values with a NaN are NaN: one pass, nothing allocated. 8-bit floats have no such kernel.
    narrow = tensor.dtype.itemsize == 1
    extremes = [torch.stack(torch.aminmax(piece.float() if narrow else piece)) for (piece,) in pieces(tensor)]
    return float(torch.cat(extremes).abs().max())


def fit_names(state: Mapping[str, torch.Tensor], expected: Iterable[str]) -> StateDict:
    """Return ``state`` under the expected names, dropping the prefixes that wrappers add.

    ``torch.compile`` adds ``_orig_mod.`` and ``DataParallel`` adds ``module.`` to names. They are dropped only when
    this makes all names fit; otherwise ``state`` is returned as it is, for `check_fit` to name the differences.
    """
    wanted = set(expected)
    if set(state) == wanted:
        return dict(state)
    stripped = {_WRAPPER_PREFIX.sub("", name): tensor for name, tensor in state.items()}
    return stripped if len(stripped) == len(state) and set(stripped) == wanted else dict(state)


def check_fit(state: Mapping[str, torch.Tensor], expected: Mapping[str, TensorSpec], *, what: str) -> None:
    """Check that ``state`` has exactly the expected names, shapes and dtypes.

    Args:
        state: the state dict to check.
        expected: what each name must hold.
        what: names ``state`` in the message, as in "the update of site-1".

    Raises:
        StateDictError: with every kind of difference, up to ten names each.
    """
    problems = []
    if missing := [name for name in expected if name not in state]:
        problems.append(f"missing {_listed(missing)}")
    if unexpected := [name for name in state if name not in expected]:
        problems.append(f"unexpected {_listed(unexpected)}")
    differing = [
        f"{name}: {TensorSpec(tuple(tensor.shape), tensor.dtype)}, expected {expected[name]}"
        for name, tensor in state.items()
        if name in expected and (tensor.dtype, tensor.shape) != (expected[name].dtype, expected[name].shape)
    ]
    if differing:
        problems.append(f"of another shape or dtype {_listed(differing)}")
    if problems:
        raise StateDictError(f"{what} does not fit the model: {'; '.join(problems)}")


def load_strictly(model: torch.nn.Module, state: Mapping[str, Any], *, what: str = "the state dict") -> None:
    """Load ``state`` into ``model``: every name, shape and dtype must fit (wrapper prefixes are dropped).

    Raises:
        StateDictError: the names, shapes or dtypes differ; the message lists them.
    """
    expected = describe(model.state_dict())
    fitted = fit_names(to_plain(state), expected)
    check_fit(fitted, expected, what=what)
    model.load_state_dict(fitted, strict=True)


def _is_plain(value: Any) -> bool:
    """Whether `to_plain` has nothing to do; hundreds of small tensors cost more in questions than in bytes."""
    return (
        type(value) is torch.Tensor
        and value.layout is torch.strided
        and value.is_cpu
        and not (value.requires_grad or value.is_nested or value.is_quantized or value.is_conj() or value.is_neg())
        and value.is_contiguous()
        and value.dtype not in _STORAGE_ONLY
    )


def _unusable_kind(tensor: torch.Tensor) -> str | None:
    if is_lazy(tensor):
        return "not yet initialized"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_meta:
        return "meta"
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return str(tensor.layout)
    # A subclass with its own dispatch holds its values elsewhere: the plain tensor in it is empty.
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        return type(tensor).__name__
    return str(tensor.dtype) if tensor.dtype in _STORAGE_ONLY else None


def _from_numpy(name: str, value: np.ndarray[Any, Any]) -> torch.Tensor:
    # torch takes neither foreign byte order nor negative strides, and warns about read-only memory.
    native = value.astype(value.dtype.newbyteorder("="), order="C", copy=False)
    try:
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    except TypeError as error:
        raise StateDictError(f"{name}: numpy dtype {value.dtype} has no torch counterpart") from error


def _shown_name(name: str) -> str:
    """A name of any origin, in one line of bounded length."""
    return name if len(name) <= _MAX_NAME and name.isprintable() else reprlib.repr(name)


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(_shown_name, names[:_MAX_LISTED]))
    rest = len(names) - _MAX_LISTED
    return f"({len(names)}): {shown}" + (f" and {rest} more" if rest > 0 else "")
