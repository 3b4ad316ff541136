"""Messages with tensors between two processes: nothing changes on the way, nothing is shared (M2, M4)."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.core.tensor_channel import ChannelClosedError, TensorChannel
from rt_flare.errors import WorkerError

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]
Pair = tuple[TensorChannel, TensorChannel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    channels = [TensorChannel(end) for end in socket.socketpair()]
    yield channels[0], channels[1]
    for channel in channels:
        channel.close()


def raw_pair() -> tuple[TensorChannel, socket.socket]:
    left, right = socket.socketpair()
    return TensorChannel(left), right


def content(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, list[int]]:
    flat = tensor.clone(memory_format=torch.contiguous_format).reshape(-1)
    return tensor.dtype, tensor.shape, flat.view(torch.uint8).tolist() if flat.numel() else []


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = math.prod(shape)
    values = torch.randint(0, 2, (count * dtype.itemsize,), dtype=torch.uint8)
    if dtype is not torch.bool:
        values = torch.tensor(
            list(draw(st.binary(min_size=values.numel(), max_size=values.numel()))), dtype=torch.uint8
        )
    tensor = values.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)
    layout = draw(st.sampled_from(["contiguous", "transposed", "strided", "expanded", "offset"]))
    if layout == "transposed":
        return tensor.permute(list(reversed(range(tensor.dim()))))
    if layout == "strided" and shape:
        return tensor[..., ::2]
    if layout == "expanded":
        return tensor.unsqueeze(0).expand(2, *shape)
    return tensor[1:] if layout == "offset" and shape and shape[0] else tensor


@pytest.mark.filterwarnings("ignore:.*support is experimental")
@given(state=st.dictionaries(st.text(max_size=8).filter(lambda name: name.isprintable()), tensors(), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_dtype_and_layout_arrives_as_it_was(pair: Pair, state: dict[str, torch.Tensor]) -> None:
    """M4: bit for bit, empty and 0-dimensional ones too."""
    left, right = pair
    left.send({"op": "x"}, state)
    message, received = right.receive()
    assert message == {"op": "x"}
    assert list(received) == list(state)
    assert {name: content(tensor) for name, tensor in received.items()} == {
        name: content(tensor) for name, tensor in state.items()
    }


def test_conjugate_and_parameter_tensors_arrive_as_their_values(pair: Pair) -> None:
    """M4"""
    pair[0].send({}, {"c": torch.tensor([1 + 2j]).conj(), "p": torch.nn.Parameter(torch.ones(2))})
    received = pair[1].receive()[1]
    assert received["c"].tolist() == [1 - 2j]
    assert received["p"].tolist() == [1.0, 1.0]


def test_changing_received_tensors_changes_nothing_else(pair: Pair) -> None:
    """M2: each side has its own."""
    sent = {"a": torch.ones(5000), "b": torch.ones(3)}
    pair[0].send({}, sent)
    pair[0].send({}, sent)
    first, second = pair[1].receive()[1], pair[1].receive()[1]
    first["a"].zero_()
    sent["b"].zero_()
    assert first["b"].tolist() == second["b"].tolist() == [1.0] * 3
    assert bool(second["a"].eq(1).all())
    assert bool(sent["a"].eq(1).all())


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_messages_keep_their_order_and_their_ends(pair: Pair, size: int) -> None:
    """M3"""
    for number in range(3):
        pair[0].send({"number": number}, {"w": torch.full((size,), float(number))})
        pair[0].send({"text": "x" * min(size, 50_000)})
    for number in range(3):
        message, received = pair[1].receive()
        assert (message, received["w"].eq(number).all().item()) == ({"number": number}, True)
        assert pair[1].receive() == ({"text": "x" * min(size, 50_000)}, {})


def test_floats_and_text_that_json_lacks_arrive_by_name(pair: Pair) -> None:
    """M4, J10"""
    pair[0].send({"values": [math.nan, math.inf, -math.inf, 0.1], "text": "a\udcff"})
    assert pair[1].receive()[0] == {"values": ["NaN", "Infinity", "-Infinity", 0.1], "text": "a?"}


def test_waiting_ends_with_a_message_or_the_time(pair: Pair) -> None:
    """X7"""
    assert not pair[1].wait(0.01)
    pair[0].send({})
    assert pair[1].wait(0.01)


def test_a_closed_end_is_reported_to_reader_and_writer(pair: Pair) -> None:
    """J5"""
    pair[0].close()
    with pytest.raises(ChannelClosedError):
        pair[1].receive()
    with pytest.raises(ChannelClosedError):
        pair[1].send({}, {"w": torch.ones(2)})


@pytest.mark.parametrize("unread", [b"", b"bytes that the dying process had not read"])
@pytest.mark.parametrize("cut", [3, 9, 20])
def test_an_end_in_the_middle_of_a_message_is_a_closed_channel(cut: int, unread: bytes) -> None:
    """J5: whatever the dying process left unread."""
    channel, other = raw_pair()
    body = b'{"message":{},"tensors":null,"released":[]}'
    other.sendall((struct.pack("<?Q", False, len(body)) + body)[:cut])
    if unread:
        channel._socket.sendall(unread)
    other.close()
    with pytest.raises(ChannelClosedError):
        channel.receive()
    channel.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"message": {}}',
        b'{"message": {}, "tensors": [0, [["w", "no_dtype", [1], 0]]], "released": []}',
    ],
)
def test_a_damaged_message_is_an_error(body: bytes) -> None:
    """J5"""
    channel, other = raw_pair()
    with other:
        if b"no_dtype" in body:
            descriptor = os.memfd_create("test")
            os.ftruncate(descriptor, 64)
            socket.send_fds(other, [struct.pack("<?Q", True, len(body)) + body], [descriptor])
            os.close(descriptor)
        else:
            other.sendall(struct.pack("<?Q", False, len(body)) + body)
        with pytest.raises(WorkerError, match="a damaged message came"):
            channel.receive()
    channel.close()


def test_a_message_beyond_the_limit_is_refused_unread() -> None:
    """J5"""
    channel, other = raw_pair()
    with other:
        other.sendall(struct.pack("<?Q", False, 1 << 40))
        with pytest.raises(WorkerError, match="expected at most 268435456"):
            channel.receive()
    channel.close()


def test_what_is_no_json_is_refused_before_anything_is_sent(pair: Pair) -> None:
    """M4"""
    bad: Any = object()
    with pytest.raises(TypeError, match="object has no JSON form"):
        pair[0].send({"x": bad})
    assert not pair[1].wait(0.01)


def _files(channel: TensorChannel) -> list[int]:
    return sorted(channel._files)


def test_memory_is_used_again_once_the_receiver_has_let_go(pair: Pair) -> None:
    """T2: it hears so with the next message that comes back; the new tensors are right."""
    for number in range(3):
        pair[0].send({}, {"w": torch.full((5000,), float(number))})
        received = pair[1].receive()[1]
        assert received["w"].eq(number).all()
        del received
        pair[1].send({})
        pair[0].receive()
    assert _files(pair[0]) == [0]


def test_memory_that_the_receiver_still_looks_at_is_left_alone(pair: Pair) -> None:
    """M2: user code may keep a round's weights as long as it likes, in a view of a view."""
    pair[0].send({}, {"w": torch.ones(5000), "v": torch.ones(3)})
    kept = pair[1].receive()[1]["w"][10:20].view(2, 5)
    for number in range(3):
        pair[1].send({})
        pair[0].receive()
        pair[0].send({}, {"w": torch.zeros(5000), "v": torch.zeros(3)})
        assert pair[1].receive()[1]["v"].eq(0).all()
        assert kept.eq(1).all(), number


def test_a_larger_model_gets_larger_memory(pair: Pair) -> None:
    """T2"""
    for size in (10, 100_000, 10):
        pair[0].send({}, {"w": torch.full((size,), float(size))})
        assert pair[1].receive()[1]["w"].tolist() == [float(size)] * size
        pair[1].send({})
        pair[0].receive()
    assert len(_files(pair[0])) == 1


def test_what_a_child_process_may_still_see_is_not_used_again() -> None:
    """M2: user code that forks loses time, never its weights. Other tests leave children here: so in a process that
    has none."""
    process = multiprocessing.get_context("fork").Process(target=_use_again_only_without_a_child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def _use_again_only_without_a_child() -> None:
    left, right = socket.socketpair()
    sender, receiver = TensorChannel(left), TensorChannel(right, may_fork=True)
    sender.send({}, {"w": torch.ones(5000)})
    received = receiver.receive()[1]
    child = subprocess.Popen(["sleep", "60"])
    try:
        del received
        receiver.send({})
        sender.receive()
        sender.send({}, {"w": torch.zeros(5000)})
        receiver.receive()
        assert _files(sender) == [0, 1]
    finally:
        child.kill()
        child.wait()
    receiver.send({})
    sender.receive()
    assert all(file.is_free for file in sender._files.values())
    sender.close()
    receiver.close()


def test_a_child_process_that_logs_lets_go_of_nothing_but_its_own(pair: Pair) -> None:
    """M2: it forgets its view of the weights; the parent still has its own."""
    pair[0].send({}, {"w": torch.ones(5000)})
    received = pair[1].receive()[1]
    child = os.fork()
    if child == 0:
        received.clear()
        pair[1].send({"op": "log"})
        os._exit(0)
    os.waitpid(child, 0)
    assert pair[0].receive()[0] == {"op": "log"}
    assert not pair[0]._files[0].is_free
    assert received["w"].eq(1).all()


def test_tensors_that_are_let_go_leave_the_memory_that_they_came_in(pair: Pair) -> None:
    """T2: a result that lies in the received model's memory does not keep it."""
    pair[0].send({}, {"w": torch.ones(5000)})
    weights = pair[1].receive()[1]
    weights["w"].add_(1)
    pair[1].send({}, weights, let_go=True)
    assert weights == {}
    assert pair[0].receive()[1]["w"].eq(2).all()
    assert [file.is_free for file in pair[0]._files.values()] == [True]
