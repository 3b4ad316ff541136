"""Tensors between two of NVFlare's cells, and the memory that they take on the way."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nvflare.apis.event_type import EventType
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.app_opt.pt.tensor_downloader import TensorConsumer, TensorDownloadable
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.fobs.dots import TENSOR_DOWNLOAD

import rt_flare.components.update_memory as update_memory_module
from rt_flare.components.tensor_exchange import TensorExchange, _SharedDownloadable
from rt_flare.components.update_memory import UpdateMemory
from rt_flare.components.wire import TensorExchangeError, register_tensors
from rt_flare.errors import ConfigError

State = dict[str, torch.Tensor]
LARGE = 3_000_000
"""Values of a float32 tensor that NVFlare does not copy into a message."""


@pytest.fixture(scope="module")
def cells() -> Iterator[tuple[Cell, Cell]]:
    """A server's cell and a site's, connected over loopback."""
    register_tensors()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    server, site = (
        Cell(fqcn=name, root_url=url, secure=False, credentials={}, create_internal_listener=False)
        for name in ("server", "site-1")
    )
    server.start()
    site.start()
    deadline = time.monotonic() + 30
    while not site.is_cell_connected("server") and time.monotonic() < deadline:
        time.sleep(0.05)
    yield server, site
    site.stop()
    server.stop()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[TensorExchange]:
    """The exchange that this process has registered, without a limit afterwards."""
    register_tensors()
    found = fobs.get_dot_handler(TENSOR_DOWNLOAD)
    assert isinstance(found, TensorExchange)
    yield found
    found.limit_memory(0, None)


def send(cells: tuple[Cell, Cell], state: State) -> dict[str, Any]:
    """Send from the site to the server."""
    server, site = cells
    message = fobs.dumps({"state": state}, fobs_ctx=site.get_fobs_context())
    received: dict[str, Any] = fobs.loads(message, fobs_ctx=server.get_fobs_context())["state"]
    return received


def test_every_kind_of_tensor_crosses_bit_for_bit(cells: tuple[Cell, Cell]) -> None:
    """M9: large and small ones, and dtypes that only safetensors itself knows."""
    generator = torch.Generator().manual_seed(0)
    state = {
        "large": torch.randn(LARGE, generator=generator),
        "brain": torch.randn(LARGE * 3, generator=generator).bfloat16(),
        "narrow": torch.randn(7, generator=generator).to(torch.float8_e4m3fn),
        "phase": torch.randn(7, generator=generator, dtype=torch.complex64),
        "empty": torch.empty(0, 3),
        "steps": torch.tensor(2**62 + 1),
        "mask": torch.tensor([True, False]),
    }
    received = send(cells, state)
    assert list(received) == list(state)
    for name, tensor in state.items():
        assert (received[name].dtype, received[name].shape) == (tensor.dtype, tensor.shape)
        assert received[name].reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


def items_of(served: TensorDownloadable) -> list[bytes]:
    return [served.produce_item(index) for index in range(served.get_item_count())]


def mixed() -> State:
    return {"a": torch.ones(LARGE), "b": torch.arange(5), "c": torch.full((LARGE,), 2.0), "d": torch.tensor(1j)}


@pytest.mark.parametrize("sender", [_SharedDownloadable, TensorDownloadable])
def test_the_other_end_may_be_nvflares_own(sender: type[TensorDownloadable]) -> None:
    """M9, M12: what we serve NVFlare reads, and what NVFlare serves we read."""
    state = mixed()
    received: State = {}
    if sender is _SharedDownloadable:
        received = TensorConsumer(None, {}).consume_items(items_of(sender(state, 1 << 25)), None)
    else:
        from rt_flare.components.tensor_exchange import _Place, _ViewConsumer

        received = _ViewConsumer(_Place(lambda: None)).consume_items(items_of(sender(state, 1 << 25)), None)
    assert all(torch.equal(received[name], state[name]) for name in state)


def test_receivers_at_the_same_time_share_one_serialized_form() -> None:
    """T2: nothing is kept for longer than the slowest of them needs it."""
    state = mixed()
    first, second = _SharedDownloadable(state, 1 << 25), _SharedDownloadable(state, 1 << 25)
    taken = items_of(first)
    assert all(theirs is ours for theirs, ours in zip(items_of(second), taken, strict=True))
    assert first._items is not None
    assert first._items is second._items
    assert first._items._ready == {}
    third = _SharedDownloadable(state, 1 << 25)
    third.produce_item(0)
    for served in (first, second, third):
        served.clear_cache()
    assert third._items is not None
    assert third._items._ready == {}


def test_tensors_that_changed_meanwhile_are_serialized_anew() -> None:
    """M9: in place, under the same name and at the same address."""
    state = {"w": torch.ones(10)}
    first = _SharedDownloadable(state, 1 << 25)
    first.produce_item(0)
    state["w"].add_(1)
    second = _SharedDownloadable(state, 1 << 25)
    assert TensorConsumer(None, {}).consume_items(items_of(second), None)["w"].eq(2).all()


def test_an_item_of_released_tensors_is_an_error() -> None:
    """M9: a request that comes after the end."""
    served = _SharedDownloadable({"w": torch.ones(3)}, 1 << 25)
    served.clear_cache()
    served.release()
    with pytest.raises(RuntimeError, match="item 0 was asked for after"):
        served.produce_item(0)


def test_updates_beyond_the_limit_wait_on_disk(
    cells: tuple[Cell, Cell], exchange: TensorExchange, tmp_path: Path
) -> None:
    """T2: one counts until the last view of it is gone; what was on disk is the same, and leaves nothing there."""
    exchange.limit_memory(1, tmp_path)
    state = mixed() | {"v": torch.zeros(4)}
    first = send(cells, state)
    kept = first["a"].view(2, -1)[1]
    first.clear()
    gc.collect()
    second = send(cells, state)
    assert all(hasattr(value, "materialize") for value in second.values())
    assert list(tmp_path.iterdir())
    assert all(torch.equal(second[name].materialize(), state[name]) for name in state)
    del kept, second
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert isinstance(send(cells, state)["a"], torch.Tensor)


def test_the_limit_lasts_for_the_job(exchange: TensorExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T2: set at its start; at its end there is none, and nothing is left on disk."""
    monkeypatch.setattr(update_memory_module, "run_dir", lambda fl_ctx: tmp_path)
    widget, context = UpdateMemory(max_in_memory=3), SimpleNamespace()
    widget.handle_event(EventType.START_RUN, context)
    assert exchange._max_in_memory == 3
    assert [path.name for path in tmp_path.iterdir()] == ["updates_on_disk"]
    widget.handle_event(EventType.END_RUN, context)
    assert exchange._max_in_memory == 0
    assert list(tmp_path.iterdir()) == []


def test_a_limit_that_would_have_no_effect_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """T2: NVFlare's own exchange was registered first, and stays."""
    monkeypatch.setattr(update_memory_module.fobs, "get_dot_handler", lambda dot: TensorDecomposer())
    with pytest.raises(TensorExchangeError, match="found TensorDecomposer as this process's exchange"):
        UpdateMemory()


@pytest.mark.parametrize("wrong", [-1, 1.0, True, "2", None])
def test_a_limit_that_is_no_number_is_refused(wrong: Any) -> None:
    """J5"""
    with pytest.raises(ConfigError, match="max_in_memory must be an int of at least 0"):
        UpdateMemory(max_in_memory=wrong)
