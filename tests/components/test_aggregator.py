"""SampleWeightedAggregator through both of NVFlare's faces."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nvflare.apis.client import Client
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_constant import ReturnCode, ServerCommandKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from rt_flare.components.aggregator import SampleWeightedAggregator
from rt_flare.components.events import UPDATE_REJECTED, Rejection
from rt_flare.components.wire import NUM_SAMPLES, WIRE_DTYPE, WIRE_ERROR
from rt_flare.core.wire_dtype import BFLOAT16, to_difference
from rt_flare.errors import ConfigError, NoAcceptedUpdateError

SITES = ["site-1", "site-2", "site-3"]


class Engine:
    """The two things that the aggregator asks of NVFlare's engine."""

    def __init__(self, sites: list[str]) -> None:
        self.sites = sites
        self.rejections: list[Rejection] = []
        self.contexts = FLContextManager(engine=self, identity_name="server", job_id="job")

    def get_clients(self) -> list[Client]:
        return [Client(name, "token") for name in self.sites]

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == UPDATE_REJECTED:
            self.rejections.append(fl_ctx.get_prop(UPDATE_REJECTED))


class Round:
    """One round of an aggregator, as a controller would run it."""

    def __init__(
        self,
        model: dict[str, Any],
        *,
        sites: list[str] = SITES,
        number: int = 4,
        deterministic: bool = False,
        aggregator: SampleWeightedAggregator | None = None,
    ) -> None:
        self.engine = Engine(sites)
        self.number = number
        self.aggregator = aggregator or SampleWeightedAggregator(deterministic=deterministic)
        self.fl_ctx = self.engine.contexts.new_context()
        learnable = make_model_learnable(model, {})
        self.fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=True)
        self.fl_ctx.set_prop(AppConstants.CURRENT_ROUND, number, private=True, sticky=True)
        self.aggregator.handle_event(AppEventType.ROUND_STARTED, self.fl_ctx)

    def accept(self, site: str, reply: Shareable, *, cookie: int | None = None) -> bool:
        peer = FLContext()
        peer.set_prop("__identity_name__", site, private=False, sticky=False)
        self.fl_ctx.set_peer_context(peer)
        reply.add_cookie(AppConstants.CONTRIBUTION_ROUND, self.number if cookie is None else cookie)
        return self.aggregator.accept(reply, self.fl_ctx)

    def weights(self) -> dict[str, Any]:
        return from_shareable(self.aggregator.aggregate(self.fl_ctx)).data

    @property
    def reasons(self) -> list[str]:
        return [rejection.reason for rejection in self.engine.rejections]


def reply_of(weights: Any, num_samples: Any, kind: str = DataKind.WEIGHTS) -> Shareable:
    return DXO(kind, data=weights, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: num_samples}).to_shareable()


def model(value: float, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"w": torch.full((2,), value, dtype=dtype), "bn.num_batches_tracked": torch.tensor(int(value))}


def test_the_mean_is_weighted_by_samples() -> None:
    """M9: ScatterAndGather's face; step counters take the maximum."""
    round_ = Round(model(0.0))
    assert round_.accept("site-1", reply_of(model(1.0), 10))
    assert round_.accept("site-2", reply_of(model(5.0), 30))
    result = round_.weights()
    assert result["w"].tolist() == [4.0, 4.0]
    assert result["bn.num_batches_tracked"].item() == 5


def test_a_site_that_takes_anothers_name_contributes_as_itself() -> None:
    """X2: the name that NVFlare's server has verified counts, so that nobody can use up another one's turn."""
    round_ = Round(model(0.0))
    disguised = reply_of(model(5.0), 30)
    disguised.set_header(ServerCommandKey.FL_CLIENT, Client("site-2", "token"))
    assert round_.accept("site-1", disguised)
    assert round_.accept("site-1", reply_of(model(1.0), 10))
    again = reply_of(model(9.0), 30)
    again.set_header(ServerCommandKey.FL_CLIENT, Client("site-2", "token"))
    assert not round_.accept("site-3", again)
    assert round_.reasons == ["duplicate"]
    assert round_.weights()["w"].tolist() == [4.0, 4.0]


def test_a_site_counts_with_no_more_samples_than_the_cap() -> None:
    """X2: whatever number it gives; without a cap it counts as given."""
    capped = SampleWeightedAggregator(max_samples_per_site=10)
    round_ = Round(model(0.0), aggregator=capped)
    assert round_.accept("site-1", reply_of(model(1.0), 10))
    assert round_.accept("site-2", reply_of(model(5.0), 2**53))
    assert round_.weights()["w"].tolist() == [3.0, 3.0]
    assert SampleWeightedAggregator().counted(2**53) == 2**53
    for wrong in (-1, 1.5, True, None):
        with pytest.raises(ConfigError, match="max_samples_per_site"):
            SampleWeightedAggregator(max_samples_per_site=wrong)  # type: ignore[arg-type]


def test_tensors_that_share_memory_are_added_as_what_they_are() -> None:
    """X2, M9: within an update, between two, and with the global model; nothing of them is changed."""
    base = torch.zeros(2)
    shared = torch.tensor([1.0, 3.0])
    round_ = Round({"a": base, "b": base})
    assert round_.accept("site-1", reply_of({"a": shared, "b": shared.view(2)}, 1))
    assert round_.accept("site-2", reply_of({"a": shared, "b": torch.zeros(2)}, 1))
    assert round_.accept("site-3", reply_of({"a": base, "b": base}, 2))
    result = round_.weights()
    assert (result["a"].tolist(), result["b"].tolist()) == ([0.5, 1.5], [0.25, 0.75])
    assert (base.tolist(), shared.tolist()) == ([0.0, 0.0], [1.0, 3.0])
    pointers = {tensor.data_ptr() for tensor in (base, shared, result["a"], result["b"])}
    assert len(pointers) == 4


def test_an_update_that_is_sent_again_in_a_later_round_is_refused() -> None:
    """X2: what was accepted once is not accepted for another round."""
    reply = reply_of(model(1.0), 10)
    first = Round(model(0.0), number=4)
    assert first.accept("site-1", reply)
    later = Round(model(0.0), number=5)
    assert not later.accept("site-1", reply, cookie=4)
    assert later.reasons == ["wrong_round"]


def test_a_refusal_is_one_bounded_line_of_the_log() -> None:
    """X2, J10: no line of what a site sends passes for a record of the log."""
    round_ = Round(model(0.0))
    forged = "2026-01-01 00:00:00 - ServerRunner - ERROR - all is lost"
    assert not round_.accept("site-1", reply_of(model(1.0), f"x\n{forged}\n" * 1_000))
    assert not round_.accept("site-2", reply_of({f"w\n{forged}": torch.ones(2)}, 3))
    for rejection in round_.engine.rejections:
        assert len(rejection.message) <= 2_000
        assert "\n" not in rejection.message


def test_samples_of_any_kind_do_not_break_the_round() -> None:
    """X2: two arrays have no one answer to whether they differ."""
    round_ = Round(model(0.0))
    meta = {NUM_SAMPLES: np.ones(2), MetaKey.NUM_STEPS_CURRENT_ROUND: np.zeros(2)}
    assert not round_.accept("site-1", DXO(DataKind.WEIGHTS, data=model(1.0), meta=meta).to_shareable())
    assert round_.reasons == ["unreadable"]


def test_fedavgs_face_gives_the_same() -> None:
    """M12: NVFlare's FedAvg hands over FLModels, and takes one back."""
    round_ = Round(model(0.0))
    for site, value, num_samples in (("site-1", 1.0, 10), ("site-2", 5.0, 30)):
        meta = {"client_name": site, MetaKey.NUM_STEPS_CURRENT_ROUND: num_samples}
        update = FLModel(params_type=ParamsType.FULL, params=model(value), meta=meta, current_round=4)
        assert round_.aggregator.accept_model(update)
    result = round_.aggregator.aggregate_model()
    assert result.params["w"].tolist() == [4.0, 4.0]


def test_numpy_updates_give_a_numpy_model() -> None:
    """M12: NVFlare's own persistor exchanges numpy arrays; they stay numpy."""
    round_ = Round({"w": np.zeros(2, dtype=np.float32)})
    assert round_.accept("site-1", reply_of({"w": np.ones(2, dtype=np.float32)}, 1))
    result = round_.weights()["w"]
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    assert result.tolist() == [1.0, 1.0]


def test_bfloat16_means_do_not_stick() -> None:
    """M9: fifty bf16 updates, summed in bf16, give 1.0; their mean is 1.0245."""
    sites = [f"site-{i}" for i in range(50)]
    round_ = Round(model(0.0, torch.bfloat16), sites=sites)
    values = [1.0 + 0.001 * i for i in range(50)]
    for site, value in zip(sites, values, strict=True):
        assert round_.accept(site, reply_of(model(value, torch.bfloat16), 1))
    expected = sum(float(torch.tensor(v, dtype=torch.bfloat16)) for v in values) / 50
    result = round_.weights()["w"]
    assert result.dtype == torch.bfloat16
    assert result[0].item() == torch.tensor(expected).to(torch.bfloat16).item() != 1.0


@pytest.mark.parametrize("everyone", [False, True], ids=["one site", "all sites"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, "samples_zero"),
        (-1, "samples_negative"),
        (math.nan, "samples_nan"),
        (math.inf, "samples_infinite"),
        (None, "samples_missing"),
        (True, "samples_bool"),
        ("3", "samples_not_a_number"),
        (1e30, "samples_too_large"),
    ],
)
def test_a_bad_sample_count_is_refused_by_name(value: Any, reason: str, everyone: bool) -> None:
    """X2, M11: no count becomes 1 or 0 in silence; the others' mean is untouched."""
    round_, alone = Round(model(0.0)), Round(model(0.0))
    for site, good in zip(SITES, (7.0, 1.0, 2.0), strict=True):
        bad = everyone or site == "site-2"
        assert round_.accept(site, reply_of(model(good), value if bad else 3)) is not bad
        if not bad:
            assert alone.accept(site, reply_of(model(good), 3))
    assert set(round_.reasons) == {reason}
    if everyone:
        with pytest.raises(NoAcceptedUpdateError):
            round_.weights()
    else:
        assert torch.equal(round_.weights()["w"], alone.weights()["w"])


def test_two_sample_counts_that_differ_are_refused() -> None:
    """M11: our own count and NVFlare's must agree."""
    round_ = Round(model(0.0))
    meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: 3, "rt_num_samples": 4}
    assert not round_.accept("site-1", DXO(DataKind.WEIGHTS, data=model(1.0), meta=meta).to_shareable())
    assert round_.reasons == ["samples_conflict"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (make_reply(ReturnCode.EXECUTION_EXCEPTION), "error_reply"),
        (Shareable(), "unreadable"),
        (reply_of(model(1.0), 1, DataKind.WEIGHT_DIFF), "data_kind"),
        (reply_of({}, 1), "weights_missing"),
        (reply_of({"w": torch.ones(2)}, 1), "does_not_fit"),
        (reply_of(model(1.0, torch.float64), 1), "does_not_fit"),
        (reply_of({**model(1.0), "w": torch.ones(3)}, 1), "does_not_fit"),
        (reply_of({**model(1.0), "w": torch.tensor([1.0, math.nan])}, 1), "not_finite"),
        (reply_of({**model(1.0), "w": [1.0, 2.0]}, 1), "not_plain"),
        (reply_of({**model(1.0), "w": torch.ones(2).to_sparse()}, 1), "not_plain"),
    ],
)
def test_an_update_that_breaks_a_rule_is_refused_by_name(reply: Shareable, reason: str) -> None:
    """X2: checked whole before anything is added."""
    round_ = Round(model(0.0))
    assert not round_.accept("site-1", reply)
    assert round_.reasons == [reason]


def test_a_late_update_of_another_round_is_refused() -> None:
    """X2: NVFlare's ScatterAndGather hands late results to the aggregator; the cookie tells their round."""
    round_ = Round(model(0.0))
    assert not round_.accept("site-1", reply_of(model(1.0), 1), cookie=3)
    assert round_.reasons == ["wrong_round"]


def test_a_site_counts_once() -> None:
    """X2: a replayed update is refused."""
    round_ = Round(model(0.0))
    assert round_.accept("site-1", reply_of(model(1.0), 1))
    assert not round_.accept("site-1", reply_of(model(9.0), 1))
    assert round_.weights()["w"].tolist() == [1.0, 1.0]


def test_a_site_that_was_not_asked_is_refused() -> None:
    """X2: only the job's own sites count."""
    round_ = Round(model(0.0))
    assert not round_.accept("stranger", reply_of(model(1.0), 1))
    assert round_.reasons == ["site_not_expected"]


def test_a_round_without_updates_raises_in_both_faces() -> None:
    """X1: never an empty model; NVFlare's controllers fail the job on an exception."""
    round_ = Round(model(0.0))
    with pytest.raises(NoAcceptedUpdateError):
        round_.aggregator.aggregate(round_.fl_ctx)
    with pytest.raises(NoAcceptedUpdateError):
        round_.aggregator.aggregate_model()


def test_the_order_of_arrival_changes_no_byte_in_deterministic_mode() -> None:
    """X3."""
    generator = torch.Generator().manual_seed(0)
    updates = {site: {"w": torch.randn(1000, generator=generator)} for site in SITES}
    results = []
    for order in itertools.permutations(SITES):
        round_ = Round({"w": torch.zeros(1000)}, deterministic=True)
        for site in order:
            assert round_.accept(site, reply_of(updates[site], 7 + len(site) * SITES.index(site)))
        results.append(round_.weights()["w"].numpy().tobytes())
    assert len(set(results)) == 1


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(weights=JUNK, num_samples=JUNK, header=JUNK)
def test_accept_never_raises(weights: Any, num_samples: Any, header: Any) -> None:
    """X2: NVFlare's controllers treat an exception in accept as the round's end; a hostile site must not get that."""
    round_ = Round(model(0.0))
    reply = reply_of(model(1.0), num_samples)
    reply["DXO"]["data"] = weights
    reply.set_header("rt_failure", header)
    assert round_.accept("site-1", reply) is False


def test_a_site_that_was_refused_cannot_try_again_in_the_same_round() -> None:
    """X3: in deterministic mode its turn is over; the second try is refused, not an exception."""
    round_ = Round(model(0.0), deterministic=True)
    assert not round_.accept("site-1", reply_of(model(1.0), 0))
    assert not round_.accept("site-1", reply_of(model(1.0), 1))
    assert round_.reasons == ["samples_zero", "not_awaited"]


def difference_reply(new: dict[str, torch.Tensor], base: dict[str, torch.Tensor], **meta: Any) -> Shareable:
    difference, error = to_difference(new, base)
    meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: 1, WIRE_DTYPE: BFLOAT16, WIRE_ERROR: error, **meta}
    return DXO(DataKind.WEIGHT_DIFF, data=difference, meta=meta).to_shareable()


def test_differences_are_averaged_as_the_weights_that_they_stand_for() -> None:
    """T2, M9: beside a site that sends in full; the aggregate is float32."""
    base = {"w": torch.randn(50, generator=torch.Generator().manual_seed(0))}
    first, second = {"w": base["w"] + 0.123}, {"w": base["w"] - 1.7}
    round_ = Round(base, sites=SITES[:2])
    assert round_.accept("site-1", difference_reply(first, base))
    assert round_.accept("site-2", reply_of(second, 1))
    mean = round_.weights()["w"]
    assert mean.dtype is torch.float32
    exact = (first["w"].double() + second["w"].double()) / 2
    assert bool(((mean - exact).abs() <= 0.123 * 2**-8 / 2 + 1e-6).all())


def test_a_difference_without_its_sign_is_no_update() -> None:
    """T2, X2: NVFlare's own difference kind is not taken for ours, nor full weights for a difference."""
    base = {"w": torch.zeros(3)}
    round_ = Round(base, sites=SITES[:2])
    assert not round_.accept("site-1", reply_of(base, 1, DataKind.WEIGHT_DIFF))
    full = DXO(DataKind.WEIGHTS, data=base, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 1, WIRE_DTYPE: BFLOAT16})
    assert not round_.accept("site-2", full.to_shareable())
    assert round_.reasons == ["data_kind", "data_kind"]


class OnDisk:
    """What NVFlare puts in a tensor's place that waits in a file."""

    def __init__(self, tensor: torch.Tensor | None) -> None:
        self.tensor = tensor

    def materialize(self) -> torch.Tensor:
        if self.tensor is None:
            raise FileNotFoundError("chunk_0.safetensors")
        return self.tensor


def test_updates_that_wait_on_disk_are_read_in_their_turn() -> None:
    """T2, M9: and one whose file is gone is refused."""
    round_ = Round({"w": torch.zeros(3)}, sites=SITES[:2])
    assert round_.accept("site-1", reply_of({"w": OnDisk(torch.ones(3))}, 1))
    assert not round_.accept("site-2", reply_of({"w": OnDisk(None)}, 1))
    assert round_.reasons == ["unreadable"]
    assert round_.weights()["w"].tolist() == [1.0] * 3
