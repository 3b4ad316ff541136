"""State dicts in anonymous files of shared memory."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from rt_flare.core.pieces import SHARED_PIECE, pieces, run_all
from rt_flare.core.state_dict import StateDict

__all__ = ["MappedFile", "MemoryFile", "Table", "layout", "view_tensors"]

Table = list[tuple[str, str, list[int], int]]
"""Name, dtype, shape and offset of every tensor; as JSON, a list of lists."""

_ALIGNMENT = 64
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and not str(dtype).startswith("torch.q")
}


class MemoryFile:
    """A file that lives in memory only and goes away with the last process that holds it.

    Attributes:
        number: its name between sender and receiver.
        size: its bytes.
        descriptor: the open file.
        table: what is in it.
        is_free: whether its content is not needed any more.
    """

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = max(size, 1)
        self.table: Table = []
        self.is_free = True
        self.descriptor = _anonymous_file()
        try:
            os.ftruncate(self.descriptor, self.size)
            self._memory = mmap.mmap(self.descriptor, self.size)
        except BaseException:
            os.close(self.descriptor)
            raise

    def fill(self, tensors: Mapping[str, torch.Tensor], table: Table) -> None:
        """Copy ``tensors`` to where ``table`` (see `layout`) puts them; the file is not free then."""
        copies: list[Callable[[], torch.Tensor]] = []
        for name, view in view_tensors(self._memory, table).items():
            if tensors[name].is_contiguous() and not tensors[name].is_conj():
                parts = pieces(view, tensors[name].detach(), size=SHARED_PIECE)
                copies += [partial(part.copy_, source) for part, source in parts]
            else:
                view.copy_(tensors[name])
        run_all(copies)
        self.table, self.is_free = table, False

    def close(self) -> None:
        """Let go of the file; who has mapped it keeps it."""
        os.close(self.descriptor)
        self._memory.close()


def layout(tensors: Mapping[str, torch.Tensor]) -> tuple[Table, int]:
    """Where each tensor goes, and how many bytes all take."""
    table: Table = []
    offset = 0
    for name, tensor in tensors.items():
        table.append((name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), offset))
        offset += math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT
    return table, offset


class MappedFile:
    """A received `MemoryFile`. It stays mapped while it is not in use: every page of a new mapping costs a fault."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self._array: weakref.ref[np.ndarray[tuple[int], np.dtype[np.uint8]]] | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether a tensor of the last `view` lives."""
        return self._array is not None and self._array() is not None

    def view(self, table: Table) -> StateDict:
        """The tensors that ``table`` places in the file, without copies (see `view_tensors`)."""
        # Tensors refer to the array, and nothing else does.
        array = np.frombuffer(self._memory, dtype=np.uint8)
        self._array = weakref.ref(array)
        return _views(array, table)


def view_tensors(memory: mmap.mmap, table: Table) -> StateDict:
    """The tensors in ``memory``, without copies; closing it is a `BufferError` as long as one of them lives.

    Raises:
        KeyError, ValueError: ``table`` names an unknown dtype or more than ``memory`` holds.
    """
    return _views(np.frombuffer(memory, dtype=np.uint8), table)


def _views(array: np.ndarray[tuple[int], np.dtype[np.uint8]], table: Table) -> StateDict:
    return {name: _view(array, dtype, shape, offset) for name, dtype, shape, offset in table}


def _view(array: np.ndarray[tuple[int], np.dtype[np.uint8]], dtype: str, shape: list[int], offset: int) -> torch.Tensor:
    count = math.prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=_DTYPES[dtype])
    return torch.frombuffer(array, dtype=_DTYPES[dtype], count=count, offset=offset).view(shape)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rt_flare")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
