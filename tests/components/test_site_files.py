"""Logs and files of a site on their way through both components, over a wire that NVFlare's engine stands for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants
from nvflare.private.defs import CellMessageHeaderKeys

from rt_flare.components import site_file_receiver, site_file_sender
from rt_flare.components.site_file_receiver import SiteFileReceiver
from rt_flare.components.site_file_sender import SiteFileSender

JOB = "4711"


class Workspace:
    """The folders of a site or the server, below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get_run_dir(self, job_id: str) -> str:
        return str(self.root / job_id)

    get_log_root = get_run_dir


class Engine:
    """What the components ask of NVFlare's engines; a message goes to ``deliver`` and comes back with its answer."""

    def __init__(
        self, root: Path, deliver: Callable[[Shareable], Any] | None = None, sites: tuple[str, ...] = ()
    ) -> None:
        self.workspace = Workspace(root)
        self.deliver = deliver
        self.clients = [SimpleNamespace(name=site) for site in sites]
        self.callbacks: dict[str, Callable[[Any], Any]] = {}
        cell = SimpleNamespace(register_request_cb=lambda channel, topic, cb: self.callbacks.update({topic: cb}))
        self.server = SimpleNamespace(command_agent=SimpleNamespace(cell=cell))

    def get_workspace(self) -> Workspace:
        return self.workspace

    def get_clients(self) -> list[Any]:
        return self.clients

    def new_context(self) -> FLContext:
        return make_context(self)

    def send_aux_request(self, *, targets: list[str], request: Shareable, **_: Any) -> dict[str, Shareable]:
        assert self.deliver is not None
        return {targets[0]: self.deliver(request)}


def make_context(engine: Engine, **properties: Any) -> FLContext:
    fl_ctx = FLContext()
    fl_ctx.put(key=ReservedKey.ENGINE, value=engine, private=True, sticky=False)
    fl_ctx.put(key=ReservedKey.RUN_NUM, value=JOB, private=False, sticky=True)
    for name, value in properties.items():
        fl_ctx.put(key=name, value=value, private=True, sticky=False)
    return fl_ctx


class Pair:
    """A receiver and a sender of ``site-1``; ``troubles`` says what happens to the next messages."""

    def __init__(self, root: Path, **limits: Any) -> None:
        self.receiver = SiteFileReceiver(**limits)
        self.server = Engine(root / "server", sites=("site-2", "site-1"))
        self.receiver.handle_event(EventType.START_RUN, make_context(self.server))
        self.troubles: list[str] = []
        self.site = Engine(root / "site", self._deliver)
        self.folder = root / "site" / JOB
        (self.folder / "out").mkdir(parents=True)
        self.results = root / "server" / JOB
        self.sender = SiteFileSender(end_seconds=5)

    def _deliver(self, request: Shareable) -> Shareable:
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "cut":
            return make_reply(ReturnCode.COMMUNICATION_ERROR)
        if trouble == "nobody":
            return make_reply(ReturnCode.TOPIC_UNKNOWN)
        [callback] = self.server.callbacks.values()
        message = SimpleNamespace(get_header={CellMessageHeaderKeys.CLIENT_NAME: "site-1"}.get, payload=request)
        return callback(message).payload  # type: ignore[no-any-return]

    def fire(self, event: str, **properties: Any) -> None:
        self.sender.handle_event(event, make_context(self.site, **properties))

    def train(self, round_number: int, name: str = "note.txt") -> None:
        task = Shareable()
        task.set_header(AppConstants.CURRENT_ROUND, round_number)
        self.fire(EventType.BEFORE_TASK_EXECUTION, **{FLContextKey.TASK_DATA: task})
        path = self.folder / "out" / f"round_{round_number}" / name
        path.parent.mkdir()
        path.write_text(f"round {round_number}")
        with (self.folder / "log.txt").open("a") as log:
            log.write(f"trained in round {round_number}\n")
        self.fire(EventType.AFTER_TASK_EXECUTION)

    def end(self) -> None:
        self.fire(EventType.ABOUT_TO_END_RUN)
        self.fire(EventType.END_RUN)
        for event in (EventType.CHECK_END_RUN_READINESS, EventType.END_RUN):
            self.receiver.handle_event(event, make_context(self.server))

    def log(self) -> str:
        return (self.results / "files_out" / "client_1.log").read_text()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_file_receiver, "_SILENCE_SECONDS", 0.5)


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_log_and_files_arrive_while_the_job_runs(pair: Pair) -> None:
    """J8, N5."""
    pair.fire(EventType.START_RUN)
    pair.train(0)
    note = pair.results / "files_out" / "site-1" / "round_0" / "note.txt"
    _await(lambda: note.exists() and "trained in round 0" in pair.log())
    assert (pair.results / "site-1" / "log.txt").read_text() == pair.log()
    pair.end()


def test_all_is_there_when_the_job_has_ended(pair: Pair) -> None:
    """J8: and nothing that was on its way is left."""
    pair.fire(EventType.START_RUN)
    for round_number in range(3):
        pair.train(round_number)
    pair.end()
    assert pair.log() == "trained in round 0\ntrained in round 1\ntrained in round 2\n"
    files = sorted(p.relative_to(pair.results).as_posix() for p in pair.results.rglob("*") if p.is_file())
    assert files == [
        "files_out/client_1.log",
        *(f"files_out/site-1/round_{n}/note.txt" for n in range(3)),
        "site-1/log.txt",
    ]


def test_a_link_that_fails_delays_and_loses_nothing(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """J8: said once, not at every try."""
    pair.troubles = ["cut"] * 2
    pair.fire(EventType.START_RUN)
    pair.train(0)
    _await(lambda: not pair.troubles)
    pair.end()
    assert pair.log() == "trained in round 0\n"
    assert caplog.text.count("the server does not answer") == 1


def test_without_a_receiver_the_sender_gives_up(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """M12: the component may stand in a job whose server has none."""
    pair.troubles = ["nobody"] * 100
    pair.fire(EventType.START_RUN)
    pair.train(0)
    _await(lambda: "given up" in caplog.text)
    assert "no SiteFileReceiver" in caplog.text
    assert len(pair.troubles) == 97


def test_a_server_that_is_gone_does_not_hold_up_the_end(pair: Pair) -> None:
    """J8: the end of the job waits only so long."""
    pair.troubles = ["cut"] * 1000
    pair.fire(EventType.START_RUN)
    pair.train(0)
    _await(lambda: len(pair.troubles) < 996)
    started = time.monotonic()
    pair.fire(EventType.ABOUT_TO_END_RUN)
    pair.fire(EventType.END_RUN)
    assert time.monotonic() - started < 9


def test_in_the_simulator_nothing_is_sent(pair: Pair) -> None:
    """J8: all folders are on one machine; the results are put together from them."""
    pair.fire(EventType.START_RUN, **{FLContextKey.SIMULATE_MODE: True})
    pair.train(0)
    pair.fire(EventType.ABOUT_TO_END_RUN)
    pair.fire(EventType.END_RUN)
    assert not pair.results.exists()


def test_a_site_that_forbids_log_streaming_sends_nothing_but_that(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """J8: the administrator's word."""
    monkeypatch.setattr(site_file_sender, "is_log_streaming_allowed", lambda fl_ctx: False)
    pair.fire(EventType.START_RUN)
    pair.train(0)
    pair.end()
    assert pair.log().startswith("[rt_flare server] site-1 allows no log streaming")
    assert not (pair.results / "files_out" / "site-1").exists()


def test_who_sends_is_told_by_the_verified_header_alone(pair: Pair, tmp_path: Path) -> None:
    """J8: a message that names another site lands with its sender."""
    request = Shareable()
    request["rt_kind"], request["rt_session"], request["rt_round"] = "piece", "s", 0
    request["rt_parts"], request["rt_offset"], request["rt_data"], request["rt_size"] = ["f"], 0, b"x", 1
    peer = FLContext()
    peer.put(key=ReservedKey.IDENTITY_NAME, value="site-2", private=False, sticky=False)
    request.set_peer_props(peer.get_all_public_props())
    pair._deliver(request)
    assert (pair.results / "files_out" / "site-1" / "round_0" / "f").exists()
    assert not (pair.results / "files_out" / "site-2").exists()


@pytest.mark.parametrize("message", [Shareable(), Shareable({"rt_kind": "piece"}), Shareable({"rt_kind": 3})])
def test_a_senseless_message_does_no_harm(pair: Pair, message: Shareable) -> None:
    """J8."""
    assert pair.receiver.take("site-1", message).get_return_code() == ReturnCode.OK
    assert pair.receiver.take("../evil", message).get_return_code() == ReturnCode.OK
    assert not list(pair.results.rglob("*evil*"))


def test_the_job_waits_for_a_site_that_still_sends(pair: Pair) -> None:
    """J8: until it says that all is sent."""
    alive, last = Shareable({"rt_kind": "alive"}), Shareable({"rt_kind": "last"})
    pair.receiver.take("site-1", alive)

    def finish() -> None:
        time.sleep(0.3)
        pair.receiver.take("site-1", alive)
        time.sleep(0.3)
        pair.receiver.take("site-1", last)

    thread = threading.Thread(target=finish)
    started = time.monotonic()
    thread.start()
    pair.receiver.handle_event(EventType.CHECK_END_RUN_READINESS, make_context(pair.server))
    assert 0.5 < time.monotonic() - started < 8
    thread.join()


def test_the_job_does_not_wait_long_for_a_site_that_is_silent(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """X7: a hung site never hangs the job."""
    pair.receiver.take("site-1", Shareable({"rt_kind": "alive"}))
    started = time.monotonic()
    pair.receiver.handle_event(EventType.CHECK_END_RUN_READINESS, make_context(pair.server))
    assert time.monotonic() - started < 8
    assert "the log of site-1 may lack its last lines" in caplog.text


def test_a_message_after_the_end_is_refused(pair: Pair) -> None:
    """J8: what has been archived does not change."""
    pair.receiver.handle_event(EventType.END_RUN, make_context(pair.server))
    answer = pair.receiver.take("site-1", Shareable({"rt_kind": "piece"}))
    assert answer["rt_refusal"] == "the server cannot store it: the job has ended"
    assert not pair.results.exists()
