"""How tensors cross NVFlare's messages: in its own format and protocol, with fewer copies and a bound on memory."""

from __future__ import annotations

import threading
import warnings
import weakref
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.app_opt.pt.tensor_downloader import TensorConsumer, TensorDownloadable, download_tensors_to_disk
from nvflare.fuel.f3.streaming.download_service import download_object
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from rt_flare.core.state_dict import StateDict
from rt_flare.core.tensor_bytes import HAS_NAME, tensors_from_bytes, tensors_to_bytes

__all__ = ["TensorExchange"]

_CHUNK_BYTES = 32 << 20
"""What one request brings at least, unless the job says otherwise; a larger tensor comes in one piece."""
_ITEM_BYTES = 10 << 20
"""From this size on NVFlare passes bytes on as they are; smaller ones it copies into a message."""

# A received tensor is a view of the bytes that brought it, which nothing else refers to.
warnings.filterwarnings("ignore", message="The given buffer is not writable", category=UserWarning)


class TensorExchange(TensorDecomposer):
    """NVFlare's `TensorDecomposer` with the same bytes on the wire: the other end may be NVFlare's own.

    Receivers that pull the same tensors at the same time share one serialized form of them, and a received tensor is
    a view of the bytes that came. With `limit_memory`, sets of received tensors beyond a number wait in files.
    """

    def __init__(self) -> None:
        super().__init__()
        self.max_chunk_size = _CHUNK_BYTES
        self._max_in_memory = 0
        self._spill_dir: Path | None = None
        self._lock = threading.Lock()
        self._in_memory = 0

    def limit_memory(self, max_in_memory: int, spill_dir: Path | None) -> None:
        """Keep at most ``max_in_memory`` sets of received tensors in memory from now on; 0 sets no limit.

        A set counts from the first request for it until none of its tensors is left. Further ones go to files in
        ``spill_dir``: NVFlare's references to them, which read a tensor when it is asked for, arrive in their place.
        """
        with self._lock:
            self._max_in_memory, self._spill_dir = max_in_memory, spill_dir

    def to_downloadable(self, items: StateDict, max_chunk_size: int, fobs_ctx: dict[str, Any]) -> TensorDownloadable:
        """What the receivers of ``items`` pull from; NVFlare calls this."""
        return _SharedDownloadable(items, max_chunk_size)

    def _download(self, *, use_disk: bool, root_dir: str | None = None, **request: Any) -> tuple[str | None, Any]:
        if use_disk:
            return download_tensors_to_disk(root_dir=root_dir, **request)  # type: ignore[no-any-return]
        with self._lock:
            spills = 0 < self._max_in_memory <= self._in_memory
            self._in_memory += not spills
            spill_dir = self._spill_dir
        if spills:
            return download_tensors_to_disk(root_dir=str(spill_dir), **request)  # type: ignore[no-any-return]
        place = _Place(self._leave_memory)
        consumer = _ViewConsumer(place)
        try:
            download_object(consumer=consumer, **request)
        finally:
            place.release()
        return consumer.error, consumer.result

    def _leave_memory(self) -> None:
        with self._lock:
            self._in_memory -= 1


class _Place:
    """Counts a set of buffers, and the one who fills them; calls ``left`` once none is there any more."""

    def __init__(self, left: Any) -> None:
        self._left = left
        self._lock = threading.Lock()
        self._holders = 1

    def hold_for(self, buffer: NDArray[np.uint8]) -> None:
        with self._lock:
            self._holders += 1
        weakref.finalize(buffer, self.release).atexit = False

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            is_empty = self._holders == 0
        if is_empty:
            self._left()


class _ViewConsumer(TensorConsumer):
    """Takes received tensors as views of the received bytes."""

    def __init__(self, place: _Place) -> None:
        super().__init__(None, {})
        self._place = place

    def consume_items(self, items: list[Any], result: StateDict | None) -> StateDict:
        result = {} if result is None else result
        for item in items:
            buffer = np.frombuffer(item, dtype=np.uint8)
            self._place.hold_for(buffer)
            try:
                result.update(tensors_from_bytes(buffer))
            except ValueError:
                # A rarer dtype, or damage: safetensors tells which.
                result.update(load_safetensors(item))
        return result


class _SharedDownloadable(TensorDownloadable):
    """Serves tensors in items of several MB, which it shares with others that serve the same ones."""

    def __init__(self, tensors: StateDict, max_chunk_size: int) -> None:
        self._groups = _groups(tensors)
        self._sizes = [sum(tensors[name].nbytes for name in group) for group in self._groups]
        super().__init__(tensors, max_chunk_size)
        self.size = len(self._groups)
        self._items: _SharedItems | None = _SharedItems.of(tensors, self._groups)
        self._ticket = self._items.join()

    def get_item_count(self) -> int:
        return len(self._groups)

    def get_item_size(self, index: int) -> int:
        return self._sizes[index]

    def produce_item(self, index: int) -> bytes:
        items = self._items
        if items is None:
            raise RuntimeError(f"item {index} was asked for after its tensors were released")
        return items.take(self._ticket, index)

    def prefetch_item(self, index: int) -> None:
        """Nothing: serializing is one copy, and a finished item would lie in memory."""

    def clear_cache(self) -> None:
        super().clear_cache()
        if self._items is not None:
            self._items.leave(self._ticket)

    def release(self) -> None:
        if self._items is not None:
            self._items.leave(self._ticket)
            self._items = None
        super().release()


class _SharedItems:
    """The serialized form of a set of tensors, kept from its fastest reader to its slowest one."""

    _all: weakref.WeakValueDictionary[tuple[Any, ...], _SharedItems] = weakref.WeakValueDictionary()
    _all_lock = threading.Lock()

    def __init__(self, tensors: StateDict, groups: list[list[str]]) -> None:
        self._tensors = tensors
        self._groups = groups
        self._lock = threading.Lock()
        self._ready: dict[int, bytes] = {}
        self._next: dict[int, int] = {}
        self._tickets = count()

    @classmethod
    def of(cls, tensors: StateDict, groups: list[list[str]]) -> _SharedItems:
        # Tensors that were changed in place meanwhile are others; ids stay taken as long as an entry lives.
        key = tuple((name, id(t), 0 if t.is_inference() else t._version) for name, t in tensors.items())
        with cls._all_lock:
            found = cls._all.get(key)
            if found is None:
                found = cls._all[key] = cls(tensors, groups)
            return found

    def join(self) -> int:
        """A new reader's ticket."""
        with self._lock:
            ticket = next(self._tickets)
            self._next[ticket] = 0
            return ticket

    def take(self, ticket: int, index: int) -> bytes:
        with self._lock:
            item = self._ready.get(index)
            if item is None:
                item = _serialize({name: self._tensors[name] for name in self._groups[index]})
                self._ready[index] = item
            if ticket in self._next:
                self._next[ticket] = max(self._next[ticket], index + 1)
            self._forget()
            return item

    def leave(self, ticket: int) -> None:
        with self._lock:
            self._next.pop(ticket, None)
            self._forget()

    def _forget(self) -> None:
        slowest = min(self._next.values(), default=len(self._groups))
        for index in [index for index in self._ready if index < slowest]:
            del self._ready[index]


def _groups(tensors: StateDict) -> list[list[str]]:
    """Names of consecutive tensors that travel together: as many as it takes for an item not to be copied."""
    groups: list[list[str]] = []
    size = _ITEM_BYTES
    for name, tensor in tensors.items():
        if size >= _ITEM_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += tensor.nbytes
    return groups


def _serialize(tensors: StateDict) -> bytes:
    if all(
        tensor.dtype in HAS_NAME and tensor.is_contiguous() and tensor.device.type == "cpu"
        for tensor in tensors.values()
    ):
        return tensors_to_bytes(tensors)
    return save_safetensors(tensors)
