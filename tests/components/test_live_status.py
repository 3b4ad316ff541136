"""What a running job tells administrators, and how it takes a wish to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import make_reply

from rt_flare.components.live_status import LiveStatus
from rt_flare.components.stop_request import StopRequest
from rt_flare.components.wire import FAILURE
from rt_flare.core.durable_io import read_json
from rt_flare.core.ledger import Ledger
from rt_flare.core.live_job import LIVE_FILE, STATUS_TOPIC, STOP_FILE, STOP_TOPIC, LiveJob, stop_reason_text
from rt_flare.core.round_record import Failure, RoundRecord, Verdict


class Engine:
    """The part of NVFlare's server engine that is asked for here."""

    def __init__(self, folder: Path) -> None:
        self.commands: dict[str, Callable[..., dict[str, Any]]] = {}
        self._folder = folder

    def register_app_command(self, topic: str, function: Callable[..., dict[str, Any]]) -> None:
        self.commands[topic] = function

    def get_clients(self) -> list[Any]:
        return [SimpleNamespace(name="a"), SimpleNamespace(name="b")]

    def get_workspace(self) -> Any:
        return SimpleNamespace(get_run_dir=lambda job_id: str(self._folder))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def context(engine: Engine, *, simulated: bool = False, **props: Any) -> FLContext:
    fl_ctx = FLContext()
    fl_ctx.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
    fl_ctx.set_prop(FLContextKey.CURRENT_RUN, "job", private=False, sticky=False)
    fl_ctx.set_prop(FLContextKey.SIMULATE_MODE, simulated, private=True, sticky=False)
    for name, value in props.items():
        fl_ctx.set_prop(name, value, private=True, sticky=False)
    return fl_ctx


def answer_of(site: str, engine: Engine, failure: Failure | None, *, simulated: bool = False) -> FLContext:
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION if failure else ReturnCode.OK)
    if failure:
        reply.set_header(FAILURE, failure.model_dump())
    peer = FLContext()
    peer.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
    fl_ctx = context(engine, simulated=simulated, **{FLContextKey.TASK_RESULT: reply})
    fl_ctx.set_peer_context(peer)
    return fl_ctx


def test_an_error_of_a_site_is_told_until_it_answers_well(engine: Engine) -> None:
    """J5, J6: with file and line, while the round is still open."""
    live = LiveStatus()
    live.handle_event(EventType.START_RUN, context(engine))
    failure = Failure(kind="exception", message="ValueError: x", site="b", round=0, file="model_def.py", line=3)
    live.handle_event(EventType.AFTER_PROCESS_SUBMISSION, answer_of("b", engine, failure))
    told = LiveJob.model_validate(engine.commands[STATUS_TOPIC](STATUS_TOPIC, {}, FLContext()))
    assert told.sites["a"].failure is None
    assert told.sites["b"].failure == failure
    live.handle_event(EventType.AFTER_PROCESS_SUBMISSION, answer_of("b", engine, None))
    told = LiveJob.model_validate(live.answer(STATUS_TOPIC, {}, FLContext()))
    assert told.sites["b"].failure is None


def test_a_lost_site_is_told_until_it_is_back(engine: Engine) -> None:
    """J6."""
    live = LiveStatus()
    live.handle_event(EventType.START_RUN, context(engine))
    lost = context(engine, **{FLContextKey.DISCONNECTED_CLIENT_NAME: "a"})
    live.handle_event(EventType.CLIENT_DISCONNECTED, lost)
    assert not LiveJob.model_validate(live.answer("", {}, FLContext())).sites["a"].connected
    back = context(engine, **{FLContextKey.RECONNECTED_CLIENT_NAME: "a"})
    live.handle_event(EventType.CLIENT_RECONNECTED, back)
    assert LiveJob.model_validate(live.answer("", {}, FLContext())).sites["a"].connected


def test_rounds_and_the_end_follow_the_round_summary(engine: Engine) -> None:
    """J3, J10: NaN has a name on its way."""
    live = LiveStatus()
    record = RoundRecord(
        round=2,
        verdict=Verdict.OK,
        started_at="2025-01-01T00:00:00+00:00",
        seconds=1.0,
        num_samples=3,
        train_metrics={"loss": float("nan")},
        contributions=[],
    )
    live.follow(Ledger(job_id="job", num_rounds=5, rounds=[record], stop_reason="enough"))
    document = live.answer("", {}, FLContext())
    assert (document["round"], document["num_rounds"], document["stop_reason"]) == (2, 5, "enough")
    assert document["metrics"] == {"loss": "NaN"}


def test_in_the_simulator_a_file_says_it(engine: Engine, tmp_path: Path) -> None:
    """J6: there is no administrator; the file is written when a site's state changes."""
    live = LiveStatus()
    live.handle_event(EventType.START_RUN, context(engine, simulated=True))
    assert engine.commands == {}
    assert set(read_json(tmp_path / LIVE_FILE)["sites"]) == {"a", "b"}
    failure = Failure(kind="exception", message="x", site="a")
    live.handle_event(EventType.AFTER_PROCESS_SUBMISSION, answer_of("a", engine, failure, simulated=True))
    assert read_json(tmp_path / LIVE_FILE)["sites"]["a"]["failure"]["message"] == "x"


def test_an_administrator_asks_to_stop_and_the_first_reason_stays(engine: Engine) -> None:
    """J4."""
    said: list[str] = []
    stop = StopRequest(lambda reason, fl_ctx: said.append(reason))
    stop.listen(context(engine))
    assert stop.look(context(engine)) is None
    assert engine.commands[STOP_TOPIC](STOP_TOPIC, {"reason": "enough"}, FLContext()) == {"stop_requested": "enough"}
    engine.commands[STOP_TOPIC](STOP_TOPIC, {"reason": "later"}, FLContext())
    assert stop.look(context(engine)) == "enough"
    assert said == ["enough", "enough"]


def test_in_the_simulator_a_file_asks_to_stop(engine: Engine, tmp_path: Path) -> None:
    """J4."""
    stop = StopRequest(lambda reason, fl_ctx: None)
    stop.listen(context(engine, simulated=True))
    assert engine.commands == {}
    (tmp_path / STOP_FILE).write_bytes(b"enough\xff\n")
    assert stop.look(context(engine, simulated=True)) == "enough\N{REPLACEMENT CHARACTER}"


@given(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text())))
def test_whatever_is_sent_as_a_reason_becomes_one_short_line(value: object) -> None:
    """J4: text of others is a value."""
    text = stop_reason_text(value)
    assert 0 < len(text) <= 200
    assert text.isprintable()
