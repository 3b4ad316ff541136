"""Messages with tensors between two processes of one machine: JSON over a socket, tensors in shared memory."""

from __future__ import annotations

import itertools
import os
import select
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

import orjson
import torch

from rt_flare.core.durable_io import to_strict_json
from rt_flare.core.memory_file import MappedFile, MemoryFile, Table, layout
from rt_flare.core.state_dict import StateDict
from rt_flare.errors import WorkerError

__all__ = ["ChannelClosedError", "TensorChannel"]

_HEADER = struct.Struct("<?Q")
_MAX_MESSAGE_BYTES = 1 << 28


class ChannelClosedError(WorkerError):
    """The other end of the channel is closed."""

    code = "channel_closed"


class TensorChannel:
    """One end of a connected pair of Unix sockets.

    Tensors cross in an anonymous memory file: sender and receiver hold one copy of the weights each, nothing is
    pickled, and nothing is left on disk. Nobody else sees the received tensors: they may be changed. Once the receiver
    has none of them left it says so with its next message, and the sender uses the file again, because fresh memory
    takes longer to get than to fill.

    ``send`` may be called from several threads, ``receive`` from one.

    Args:
        sock: this end.
        may_fork: whether child processes of this one may see what it received: then nothing that they might still
            read is used again while there are any.
    """

    def __init__(self, sock: socket.socket, *, may_fork: bool = False) -> None:
        self._socket = sock
        self._may_fork = may_fork
        self._pid = os.getpid()
        self._send_lock = threading.Lock()
        self._files: dict[int, MemoryFile] = {}
        self._numbers = itertools.count()
        self._received: dict[int, MappedFile] = {}
        self._unused: dict[int, MappedFile] = {}

    def send(self, message: Mapping[str, Any], tensors: StateDict | None = None, *, let_go: bool = False) -> None:
        """Send a JSON object (floats that JSON lacks become text, see `to_strict_json`) and tensors of any layout.

        Args:
            message: the object.
            tensors: the tensors.
            let_go: empty ``tensors`` once they are copied; if they live in a received message's memory, its sender
                then hears that it is free.

        Raises:
            ChannelClosedError: the other end is closed.
        """
        content = to_strict_json(message)
        # In one piece: processes that user code forks may log through the same socket.
        with self._send_lock:
            file = None if not tensors else self._fill_file(tensors)
            if tensors and let_go:
                tensors.clear()
            table = [file.number, file.table] if file else None
            document = {"message": content, "tensors": table, "released": self._released()}
            body = orjson.dumps(document)
            packet = _HEADER.pack(file is not None, len(body)) + body
            try:
                sent = 0 if file is None else socket.send_fds(self._socket, [packet], [file.descriptor])
                self._socket.sendall(packet[sent:])
            except (BrokenPipeError, ConnectionResetError) as error:
                raise ChannelClosedError("the other process has closed its end") from error

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
                message, table, released = document["message"], document["tensors"], document["released"]
                tensors = self._map(descriptor, *table) if has_memory and descriptor is not None else {}
                self._take_back(released)
            except (ValueError, KeyError, TypeError) as error:
                raise WorkerError(f"a damaged message came: {error}") from error
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return message, tensors

    def close(self) -> None:
        """Close this end; received tensors stay."""
        self._socket.close()
        with self._send_lock:
            while self._files:
                self._files.popitem()[1].close()
            self._received.clear()
            self._unused.clear()

    def _fill_file(self, tensors: Mapping[str, torch.Tensor]) -> MemoryFile:
        table, size = layout(tensors)
        fitting = [file for file in self._files.values() if file.is_free and file.size >= size]
        file = min(fitting, key=lambda file: file.size, default=None)
        if file is None:
            # Of files that are too small, none will ever fit again while the model stays the same.
            self._drop_free_files()
            file = MemoryFile(next(self._numbers), size)
            self._files[file.number] = file
        file.fill(tensors, table)
        return file

    def _drop_free_files(self) -> None:
        for number in [file.number for file in self._files.values() if file.is_free]:
            self._files.pop(number).close()

    def _take_back(self, numbers: list[int]) -> None:
        with self._send_lock:
            for number in numbers:
                self._files[number].is_free = True

    def _map(self, descriptor: int, number: int, table: Table) -> StateDict:
        with self._send_lock:
            mapped = self._unused.pop(number, None)
            if mapped is None:
                # A sender that takes a new file has no use for the old ones.
                self._unused.clear()
                mapped = MappedFile(descriptor)
            tensors = mapped.view(table)
            self._received[number] = mapped
        return tensors

    def _released(self) -> list[int]:
        released: list[int] = []
        # A child that logs through this channel has let go of its own view only.
        if os.getpid() != self._pid or (self._received and self._may_fork and _has_children()):
            return released
        for number, mapped in list(self._received.items()):
            if not mapped.is_in_use:
                self._unused[number] = self._received.pop(number)
                released.append(number)
        return released

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


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
