"""Tensors as safetensors: both ways exchangeable with the library's own functions (M9)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from rt_flare.core.tensor_bytes import HAS_NAME, tensors_from_bytes, tensors_to_bytes

DTYPES = sorted(HAS_NAME, key=str)


@st.composite
def states(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    state = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=6), unique=True, min_size=1, max_size=4)):
        dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.lists(st.integers(0, 3), max_size=3))
        state[name] = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(len(state))).to(dtype)
    return state


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and left[name].tolist() == right[name].tolist() for name in left
    )


def array(content: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(content, dtype=np.uint8)


@given(states())
@settings(deadline=None)
def test_what_is_written_is_read_by_both_and_what_the_library_writes_too(state: dict[str, torch.Tensor]) -> None:
    """M9: names, dtypes, shapes and values; empty and 0-dimensional ones too."""
    written = tensors_to_bytes(state)
    assert same(load(written), state)
    assert same(tensors_from_bytes(array(written)), state)
    assert same(tensors_from_bytes(array(save(state))), state)


def test_reading_copies_nothing() -> None:
    """M9: the tensors live in the bytes that came."""
    content = bytearray(tensors_to_bytes({"w": torch.zeros(1000)}))
    read = tensors_from_bytes(np.frombuffer(content, dtype=np.uint8))["w"]
    content[-4:] = struct.pack("<f", 7.0)
    assert read[-1].item() == 7.0


@given(st.binary(max_size=64))
def test_bytes_that_are_no_safetensors_are_a_value_error(content: bytes) -> None:
    """M9: whatever a site sends."""
    try:
        tensors_from_bytes(array(content))
    except ValueError:
        return
    assert content[:8] == (len(content) - 8).to_bytes(8, "little")


@pytest.mark.parametrize(
    "entry",
    [
        {},
        [],
        None,
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]},
        {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0]},
    ],
)
def test_a_header_that_lies_is_a_value_error(entry: Any) -> None:
    """M9: nothing outside of the received bytes is ever looked at."""
    header = orjson.dumps({"w": entry})
    with pytest.raises(ValueError, match="safetensors header"):
        tensors_from_bytes(array(len(header).to_bytes(8, "little") + header + bytes(8)))
