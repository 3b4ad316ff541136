"""Tensors as bytes in the safetensors format, written with one copy and read with none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from rt_flare.core.state_dict import StateDict

__all__ = ["HAS_NAME", "tensors_from_bytes", "tensors_to_bytes"]

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
HAS_NAME = frozenset(_NAMES)
"""The dtypes that these functions know; safetensors' own functions know more."""


def tensors_to_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Serialize contiguous CPU tensors whose dtypes are in `HAS_NAME`; ``safetensors.torch.load`` reads the result."""
    header: dict[str, Any] = {}
    parts: list[memoryview] = []
    end = 0
    # Wide ones first, as safetensors does: every tensor then begins at a multiple of its own width.
    for name, tensor in sorted(tensors.items(), key=lambda entry: -entry[1].dtype.itemsize):
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        if tensor.numel():
            parts.append(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)
    text = orjson.dumps(header)
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, *parts))


def tensors_from_bytes(content: NDArray[np.uint8]) -> StateDict:
    """Read tensors as views of ``content``, which lives as long as one of them does.

    Args:
        content: an array of bytes; the tensors must not be written to if it is read-only.

    Raises:
        ValueError: the bytes are no safetensors, or a dtype is not in `HAS_NAME`.
    """
    length = int.from_bytes(content[:_LENGTH_BYTES].tobytes(), "little")
    start = _LENGTH_BYTES + length
    if len(content) < _LENGTH_BYTES or length > _MAX_HEADER_BYTES or start > len(content):
        raise ValueError(f"found {len(content)} bytes that are no safetensors: the header would end at byte {start}")
    tensors: StateDict = {}
    try:
        header = orjson.loads(content[_LENGTH_BYTES:start].tobytes())
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            tensors[name] = _view(content, start, begin, end, _DTYPES[entry["dtype"]], entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"found a safetensors header that cannot be read: {error!r}") from error
    return tensors


def _view(
    content: NDArray[np.uint8], start: int, begin: int, end: int, dtype: torch.dtype, shape: list[int]
) -> torch.Tensor:
    if not all(type(size) is int and size >= 0 for size in (begin, end, *shape)):
        raise ValueError(f"offsets {begin} and {end} and shape {shape}, expected non-negative integers")
    count = math.prod(shape)
    if end - begin != count * dtype.itemsize or start + end > len(content):
        raise ValueError(f"a tensor of {count} {dtype} from byte {begin} to {end} of {len(content) - start}")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count, offset=start + begin).view(shape)
