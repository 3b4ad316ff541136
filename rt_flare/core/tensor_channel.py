"""Messages with tensors between two processes of one machine: JSON over a socket, tensors in shared memory."""

from __future__ import annotations

import math
import mmap
import os
import select
import socket
import struct
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

import orjson
import torch

from rt_flare.core.durable_io import to_strict_json
from rt_flare.core.state_dict import StateDict
from rt_flare.errors import WorkerError

__all__ = ["ChannelClosedError", "TensorChannel"]

_HEADER = struct.Struct("<?Q")
_ALIGNMENT = 64
_MAX_MESSAGE_BYTES = 1 << 28
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and not str(dtype).startswith("torch.q")
}


class ChannelClosedError(WorkerError):
    """The other end of the channel is closed."""

    code = "channel_closed"


class TensorChannel:
    """One end of a connected pair of Unix sockets.

    Each message with tensors brings its own anonymous memory file, which goes away with the tensors that use it:
    sender and receiver hold one copy of the weights each, nothing is pickled, and nothing is left on disk. The
    receiver's tensors are private copy-on-write views: changing them changes nothing anywhere else.

    ``send`` may be called from several threads, ``receive`` from one.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._send_lock = threading.Lock()

    def send(self, message: Mapping[str, Any], tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        """Send a JSON object (floats that JSON lacks become text, see `to_strict_json`) and tensors of any layout.

        Raises:
            ChannelClosedError: the other end is closed.
        """
        table, size = _layout(tensors or {})
        body = orjson.dumps({"message": to_strict_json(message), "tensors": table})
        packet = _HEADER.pack(bool(tensors), len(body)) + body
        descriptor = _memory_file(tensors, table, size) if tensors else None
        try:
            # In one piece: processes that user code forks may log through the same socket.
            with self._send_lock:
                sent = 0 if descriptor is None else socket.send_fds(self._socket, [packet], [descriptor])
                self._socket.sendall(packet[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosedError("the other process has closed its end") from error
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def wait(self, seconds: float) -> bool:
        """Wait until a message (or the end) can be received; False when ``seconds`` passed without one."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def receive(self) -> tuple[dict[str, Any], StateDict]:
        """Receive the next message and its tensors.

        Raises:
            ChannelClosedError: the other end is closed.
            WorkerError: the message is damaged or larger than 256 MiB (tensors not counted).
        """
        has_memory, length, descriptor = self._receive_header()
        try:
            if length > _MAX_MESSAGE_BYTES:
                raise WorkerError(f"a message of {length} bytes came, expected at most {_MAX_MESSAGE_BYTES}")
            try:
                document = orjson.loads(self._receive_exactly(length))
                message, table = document["message"], document["tensors"]
                tensors = _map_tensors(descriptor, table) if has_memory and descriptor is not None else {}
            except (ValueError, KeyError, TypeError) as error:
                raise WorkerError(f"a damaged message came: {error}") from error
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return message, tensors

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _receive_header(self) -> tuple[bool, int, int | None]:
        try:
            header, descriptors, _, _ = socket.recv_fds(self._socket, _HEADER.size, 1)
        except ConnectionResetError as error:
            raise ChannelClosedError("the other process has closed its end") from error
        if not header:
            raise ChannelClosedError("the other process has closed its end")
        header += self._receive_exactly(_HEADER.size - len(header))
        has_memory, length = _HEADER.unpack(header)
        return has_memory, length, descriptors[0] if descriptors else None

    def _receive_exactly(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            try:
                part = self._socket.recv(min(length - len(parts), 1 << 20))
            except ConnectionResetError:
                part = b""
            if not part:
                raise ChannelClosedError("the other process has closed its end in the middle of a message")
            parts += part
        return bytes(parts)


def _layout(tensors: Mapping[str, torch.Tensor]) -> tuple[list[list[Any]], int]:
    table, offset = [], 0
    for name, tensor in tensors.items():
        table.append([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), offset])
        offset += math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT
    return table, offset


def _memory_file(tensors: Mapping[str, torch.Tensor], table: list[list[Any]], size: int) -> int:
    descriptor = _anonymous_file()
    try:
        os.ftruncate(descriptor, max(size, 1))
        memory = mmap.mmap(descriptor, max(size, 1))
        for name, dtype, shape, offset in table:
            if tensors[name].numel():
                _view(memory, dtype, shape, offset).copy_(tensors[name])
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rt_flare")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _map_tensors(descriptor: int, table: list[list[Any]]) -> StateDict:
    memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    return {name: _view(memory, dtype, shape, offset) for name, dtype, shape, offset in table}


def _view(memory: mmap.mmap, dtype: str, shape: list[int], offset: int) -> torch.Tensor:
    count = math.prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=_DTYPES[dtype])
    return torch.frombuffer(memory, dtype=_DTYPES[dtype], count=count, offset=offset).view(shape)
