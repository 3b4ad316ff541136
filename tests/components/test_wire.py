"""What NVFlare's serialization does to tensors, and what keeps them whole."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from nvflare.apis.client import Client
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_constant import ReservedKey, ServerCommandKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.fuel.utils import fobs

from rt_flare.components import wire
from rt_flare.components.wire import (
    ENVIRONMENT,
    SiteReport,
    UncopiedWeights,
    error_reply,
    parse_report,
    read_environment,
    read_report,
    register_tensors,
    result_reply,
)
from rt_flare.core.environment import own_environment
from rt_flare.core.payload import TrainResult
from rt_flare.core.round_record import Failure
from rt_flare.core.state_dict import to_plain
from rt_flare.core.task_runner import TaskOutcome


def _send(reply: Shareable) -> Shareable:
    register_tensors()
    received = fobs.loads(fobs.dumps(reply))
    assert isinstance(received, Shareable)
    return received


def _outcome(weights: dict[str, torch.Tensor]) -> TaskOutcome:
    result = TrainResult(to_plain(weights), 5, {"loss": float("inf")}, ("odd",))
    return TaskOutcome(result, {"accuracy": 0.5}, 4)


def test_a_tensor_sent_before_registration_is_noticed() -> None:
    """M9: NVFlare would send every tensor of this process as an empty one, and say nothing."""
    code = (
        "import torch\n"
        "from nvflare.fuel.utils import fobs\n"
        "assert fobs.loads(fobs.dumps({'t': torch.ones(3)}))['t'].numel() == 0\n"
        "from rt_flare.components.wire import TensorExchangeError, register_tensors\n"
        "try:\n    register_tensors()\nexcept TensorExchangeError as error:\n    print('refused:', error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "refused: torch tensors do not survive" in done.stdout


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).view(2, 3).t(),
        torch.ones(1).expand(4),
        torch.nn.Parameter(torch.ones(3)),
        torch.ones(3, dtype=torch.bfloat16),
        torch.tensor(True),
        torch.zeros(0, 2),
        torch.tensor(3, dtype=torch.int64),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.ones(4, dtype=torch.float16)[::2],
    ],
    ids=["transposed", "expanded", "parameter", "bfloat16", "bool", "empty", "scalar", "conjugated", "strided"],
)
def test_every_kind_of_tensor_arrives_whole(tensor: torch.Tensor) -> None:
    """M9: a non-contiguous tensor or a parameter would end the server's job process."""
    received = from_shareable(_send(result_reply(_outcome({"t": tensor}), round_number=2, warnings=[]))).data["t"]
    assert type(received) is torch.Tensor
    assert received.dtype == tensor.dtype
    assert torch.equal(received, tensor.detach())


def test_a_result_says_everything_that_the_server_records() -> None:
    """M4, M5: metrics of the received and of the trained model are kept apart."""
    reply = _send(result_reply(_outcome({"t": torch.ones(1)}), round_number=2, warnings=["more samples than lines"]))
    report = parse_report(reply, "site-1")
    assert report.num_samples == 5
    assert report.train_metrics == {"loss": float("inf")}
    assert report.received_model_metrics == {"accuracy": 0.5}
    assert report.validation_samples == 4
    assert report.warnings == ["more samples than lines", "odd"]
    assert report.failure is None


def test_a_failure_travels_with_its_cause() -> None:
    """J5: kind, message, file and line reach the server; the site's name is the server's own knowledge."""
    failure = Failure(kind="exception", message="boom", site="somebody else", round=3, file="model_def.py", line=9)
    report = parse_report(_send(error_reply(failure)), "site-2")
    assert report.failure == failure.model_copy(update={"site": "site-2"})


def test_a_reply_is_read_once_for_all_who_hear_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """J5: status, ledger and controller share what was read; another reply is another report."""
    read: list[str] = []

    def count(reply: Shareable, site: str) -> SiteReport:
        read.append(site)
        return parse_report(reply, site)

    monkeypatch.setattr(wire, "parse_report", count)
    peer, fl_ctx = FLContext(), FLContext()
    peer.set_prop(ReservedKey.IDENTITY_NAME, "somebody else", private=False, sticky=False)
    fl_ctx.set_peer_context(peer)
    reply, other = (error_reply(Failure(kind="exception", message=text)) for text in ("boom", "bang"))
    reply.set_header(ServerCommandKey.FL_CLIENT, Client("site-2", "token"))
    first = read_report(reply, fl_ctx)
    assert read_report(reply, fl_ctx) is first
    assert first.failure == Failure(kind="exception", message="boom", site="site-2")
    assert read_report(other, fl_ctx).failure == Failure(kind="exception", message="bang", site="somebody else")
    assert read == ["site-2", "somebody else"]


def test_a_capped_site_is_recorded_with_what_counted_and_what_it_said() -> None:
    """X2: metrics are weighted by it too, so that none decides alone which model is best."""
    report = SiteReport("site-1", num_samples=2**53, validation_samples=2**40)
    counted = report.counted(lambda number: min(number, 10))
    assert (counted.num_samples, counted.validation_samples) == (10, 10)
    assert counted.warnings == [f"samples: {2**53} reported, 10 counted (max_samples_per_site)"]
    assert SiteReport("site-1", num_samples=10).counted(lambda number: min(number, 10)) == SiteReport(
        "site-1", num_samples=10
    )
    assert SiteReport("site-1", num_samples="many").counted(lambda number: 0) == SiteReport(
        "site-1", num_samples="many"
    )


def test_a_failure_is_cut_to_size_by_who_receives_it() -> None:
    """J5: whatever a site sends."""
    much = "x" * 100_000
    failure = Failure(kind=much, message=much, file=much, line=9, traceback=f"{much}the end")
    received = parse_report(_send(error_reply(failure)), "site-2").failure
    assert received is not None
    assert len(received.kind) == len(received.file or "") == 300
    assert len(received.message) == 2_000
    assert len(received.traceback or "") == 8_000
    assert (received.traceback or "").endswith("the end")


@pytest.mark.parametrize("sent", [None, "text", {"kind": 3}, {"kind": "x", "message": "y", "shell": "rm"}, []])
def test_a_failure_that_cannot_be_read_is_still_a_failure(sent: object) -> None:
    """J5: a hostile or foreign error reply gives a record, not an exception."""
    reply = error_reply(Failure(kind="exception", message="boom"))
    reply.set_header("rt_failure", sent)
    failure = parse_report(reply, "site-1").failure
    assert failure is not None
    assert failure.site == "site-1"
    assert "EXECUTION_EXCEPTION" in failure.message


def test_metrics_with_hostile_names_are_dropped_with_a_warning() -> None:
    """J10: client text is never a path or markup."""
    outcome = TaskOutcome(TrainResult({"t": torch.ones(1)}, 5, {"<script>": 1.0}), None, None)
    report = parse_report(_send(result_reply(outcome, round_number=0, warnings=[])), "site-1")
    assert report.train_metrics == {}
    assert any("<script>" in warning for warning in report.warnings)


@pytest.mark.parametrize("wrong", ["0.1", -1.0, float("nan"), float("inf"), True, None, [0.1]])
def test_an_error_that_is_no_number_is_not_recorded(wrong: object) -> None:
    """T2, X2: the site says how far off its difference is, in a float or not at all."""
    state = {"t": torch.ones(3)}
    reply = result_reply(_outcome(state), round_number=0, warnings=[], base={"t": torch.zeros(3)})
    assert parse_report(_send(reply), "site-1").wire_error == 0.0
    reply["DXO"]["meta"]["rt_wire_error"] = wrong
    assert parse_report(_send(reply), "site-1").wire_error is None


@pytest.mark.parametrize(("sent", "read"), [(1.5, 1.5), (0.0, 0.0), (-1.0, None), ("1", None), (None, None)])
def test_the_time_of_user_code_travels_with_the_update(sent: Any, read: float | None) -> None:
    """X10: a number of seconds, or nothing."""
    reply = result_reply(_outcome({"t": torch.ones(1)}), round_number=0, warnings=[], work_seconds=sent)
    report = parse_report(_send(reply), "site-1")
    assert report.work_seconds == read
    assert report.contribution("site-1", accepted=True).work_seconds == read


@pytest.mark.parametrize("sent", [None, {}, {"python": "3"}, "3.11", [1]])
def test_a_site_that_says_nothing_readable_of_its_environment_is_not_recorded(sent: object) -> None:
    """X10, J10"""
    reply = error_reply(Failure(kind="exception", message="m"))
    reply.set_header(ENVIRONMENT, sent)
    assert read_environment(_send(reply)) is None
    reply.set_header(ENVIRONMENT, own_environment().model_dump())
    assert read_environment(_send(reply)) == own_environment()


def test_weights_that_nobody_changes_are_sent_without_a_copy() -> None:
    """T2: NVFlare deep copies what it broadcasts; everything around the weights is copied."""
    weights = {"t": torch.ones(3)}
    sent = {"weights": UncopiedWeights(weights), "meta": {"a": [1]}}
    copied = copy.deepcopy(sent)
    assert type(copied["weights"]) is dict
    assert copied["weights"]["t"] is weights["t"]
    assert copied["weights"] is not sent["weights"]
    assert copied["meta"]["a"] is not sent["meta"]["a"]
