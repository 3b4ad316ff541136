"""A site of a simulated job asks whether a task waits for it, before NVFlare asks for the task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import Task
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from rt_flare.components import waiting_task
from rt_flare.components.waiting_task import TOPIC, answer_sites, wait_for_task


class Server:
    """The server's engine and a real communicator, asked by sites without messages."""

    def __init__(self, job_id: str = "simulate_job") -> None:
        self.communicator = WFCommServer()
        self.runner = SimpleNamespace(current_wf=SimpleNamespace(controller=self))
        self.handlers: dict[str, Any] = {}
        fl_ctx = FLContext()
        fl_ctx.set_prop(ReservedKey.ENGINE, self, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.RUNNER, self.runner, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.CURRENT_RUN, job_id, private=False, sticky=False)
        answer_sites(fl_ctx)

    def register_aux_message_handler(self, topic: str, message_handle_func: Any) -> None:
        self.handlers[topic] = message_handle_func

    def get_clients(self) -> list[Client]:
        return []

    def reply(self, site: str) -> Shareable:
        peer, fl_ctx = FLContext(), FLContext()
        peer.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
        fl_ctx.set_peer_context(peer)
        return self.handlers[TOPIC](TOPIC, Shareable(), fl_ctx)

    def waits(self, site: str) -> bool:
        return bool(self.reply(site)[waiting_task._WAITS])


def test_a_task_waits_until_the_site_has_answered_it() -> None:
    """T6: the state is NVFlare's own, whichever controller made the task."""
    server = Server()
    fl_ctx = FLContext()
    fl_ctx.set_prop(FLContextKey.RUNNER, server.runner, private=True, sticky=False)
    assert not server.waits("site-1")
    task = Task(name="train", data=Shareable())
    server.communicator.broadcast(task, fl_ctx, targets=["site-1", "site-2"], min_responses=0)
    assert server.waits("site-1")
    assert server.waits("site-2")
    assert not server.waits("site-3")
    client = Client("site-1", "token")
    _, task_id, _ = server.communicator.process_task_request(client, fl_ctx)
    assert server.waits("site-1"), "a task whose answer got lost is sent again"
    server.communicator.process_submission(client, "train", task_id, make_reply(ReturnCode.OK), fl_ctx)
    assert not server.waits("site-1")
    assert server.waits("site-2")
    server.communicator.cancel_task(task)
    assert not server.waits("site-2")


def test_a_site_asks_nvflare_at_once_between_workflows_and_at_the_end() -> None:
    """T6: NVFlare's own reply ends its run."""
    server = Server()
    server.runner.current_wf = None
    assert server.waits("site-1")


class Engine:
    """Gives replies in turn; an exhausted one is a mistake of the test."""

    def __init__(self, replies: list[Shareable | None], abort_after: int = 99) -> None:
        self.replies, self.asked, self.signal, self.abort_after = replies, 0, Signal(), abort_after

    def send_aux_request(self, **request: Any) -> dict[str, Shareable | None]:
        assert request["topic"] == TOPIC
        self.asked += 1
        if self.asked == self.abort_after:
            self.signal.trigger(True)
        return {"server": self.replies.pop(0)}

    def context(self, job_id: str = "simulate_job") -> FLContext:
        fl_ctx = FLContext()
        fl_ctx.set_prop(ReservedKey.ENGINE, self, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.CURRENT_RUN, job_id, private=False, sticky=False)
        fl_ctx.set_prop(ReservedKey.RUN_ABORT_SIGNAL, self.signal, private=True, sticky=False)
        return fl_ctx


def _reply(waits: bool) -> Shareable:
    reply = make_reply(ReturnCode.OK)
    reply[waiting_task._WAITS] = waits
    return reply


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_task, "_POLL_SECONDS", 0.001)


def test_it_asks_until_a_task_waits() -> None:
    """T6"""
    engine = Engine([_reply(False), _reply(False), _reply(True)])
    assert wait_for_task(engine.context())
    assert engine.asked == 3


def test_outside_the_simulator_nothing_is_asked() -> None:
    """T6: there a question in vain costs no more than itself."""
    engine = Engine([])
    assert not wait_for_task(engine.context("5e1f0c9a"))


def test_a_server_that_cannot_answer_is_not_asked_again() -> None:
    """T6: under an aggregator of somebody else's a job goes on as NVFlare runs it."""
    assert not wait_for_task(Engine([make_reply(ReturnCode.TOPIC_UNKNOWN)]).context())


@pytest.mark.parametrize("reply", [None, make_reply(ReturnCode.TIMEOUT)])
def test_a_server_that_is_late_is_asked_again_after_nvflares_own_question(reply: Shareable | None) -> None:
    """T6"""
    engine = Engine([reply])
    assert wait_for_task(engine.context())
    assert engine.asked == 1


def test_only_in_the_simulator_the_server_is_prepared_to_answer() -> None:
    """T6"""
    assert not Server("5e1f0c9a").handlers


def test_the_jobs_end_ends_the_wait() -> None:
    """T6"""
    engine = Engine([_reply(False)] * 9, abort_after=2)
    assert wait_for_task(engine.context())
    assert engine.asked == 2


def test_the_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """T6: NVFlare's own question follows, which is also how a site shows that it lives."""
    monkeypatch.setattr(waiting_task, "_MAX_SECONDS", 0.02)
    assert wait_for_task(Engine([_reply(False)] * 100).context())
