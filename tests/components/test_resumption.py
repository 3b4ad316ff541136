"""The server's and the sites' part of a job that goes on where an earlier one ended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.storage import WORKSPACE
from nvflare.apis.workspace import Workspace
from nvflare.app_common.abstract.model import ModelLearnableKey
from nvflare.app_common.storages.filesystem_storage import FilesystemStorage

from rt_flare.components.events import JOB_RESUMED
from rt_flare.components.persistor import CustomPersistor
from rt_flare.components.resumption import Resumption, resume
from rt_flare.components.site_state import take_over_state
from rt_flare.components.writers import RoundSummaryWriter
from rt_flare.core.best_model import BestModel
from rt_flare.core.checkpoints import CheckpointWriter, RoundModel
from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.round_record import Contribution, ContributionStatus, RoundRecord, Verdict
from rt_flare.errors import ResumeError, StateDictError

SITES = ["site-1", "site-2"]
LINEAR = ModelSpec(path="torch.nn.Linear", args={"in_features": 3, "out_features": 2})
OWNER = {"submitter_name": "ann@example.com", "submitter_org": "nvidia", "study": "default"}


class Engine:
    """A server's workspace with its job store, and the sites of the running job ``job-2``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "server"
        for name in ("startup", "local", "job-2"):
            (self.root / name).mkdir(parents=True)
        self.jobs = folder / "storage" / "jobs"
        store = {"id": "job_store", "path": "nvflare.app_common.storages.filesystem_storage.FilesystemStorage"}
        manager = {"id": "job_manager", "path": "x", "args": {"uri_root": str(self.jobs), "job_store_id": "job_store"}}
        (self.root / "local" / "resources.json").write_text(json.dumps({"components": [manager, store]}))
        (self.root / "job-2" / "meta.json").write_text(json.dumps(OWNER))
        self.workspace = Workspace(str(self.root), site_name="server")
        self.sites = list(SITES)

    def get_workspace(self) -> Workspace:
        return self.workspace

    def get_clients(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self.sites]

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Nobody listens."""

    @property
    def context(self) -> FLContext:
        fl_ctx = FLContext()
        fl_ctx.set_prop(ReservedKey.ENGINE, self, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.CURRENT_RUN, "job-2", private=False, sticky=False)
        return fl_ctx

    def archive(self, job_id: str, meta: dict[str, Any]) -> None:
        """Do with a run folder what NVFlare does when a job has ended."""
        store = FilesystemStorage()
        store.create_object(str(self.jobs / job_id), b"the job", {**meta, "job_id": job_id})
        store.update_object(str(self.jobs / job_id), [str(self.root / job_id)], WORKSPACE)
        shutil.rmtree(self.root / job_id)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


@pytest.fixture
def earlier(engine: Engine) -> Callable[..., Path]:
    """Write the run folder of ``job-1``: three rounds with models, of which ``accuracy`` is what the sites measured."""

    def make(*, accuracy: tuple[float | None, ...] = (0.1, 0.3, None), state: str = "RUNNING", best: int = 1) -> Path:
        folder = engine.root / "job-1"
        writer = CheckpointWriter(folder / "model_out")
        for number in range(len(accuracy)):
            weights = {"weight": torch.full((2, 3), float(number)), "bias": torch.zeros(2)}
            writer.save(RoundModel(round=number, weights=weights, model=LINEAR))
        writer.mark_best(best)
        writer.close()
        rounds = [_record(number, value) for number, value in enumerate(accuracy)]
        Ledger(job_id="job-1", num_rounds=5, state=state, rounds=rounds).write_round_summary(folder / "files_out")
        (folder / "meta.json").write_text(json.dumps(OWNER))
        (folder / "log.txt").write_text("what happened\n")
        return folder

    return make


def _record(number: int, accuracy: float | None) -> RoundRecord:
    return RoundRecord(
        round=number,
        verdict=Verdict.OK,
        started_at="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        num_samples=10,
        global_metrics=None if accuracy is None else {"accuracy": accuracy},
        contributions=[Contribution(site=site, status=ContributionStatus.ACCEPTED) for site in SITES],
    )


def _resume(
    engine: Engine,
    persistor: object | None = None,
    best: BestModel | None = None,
    *,
    job_ids: tuple[str, ...] = ("job-1",),
    num_rounds: int = 5,
) -> Resumption:
    persistor = persistor or CustomPersistor(model_path=LINEAR.path, model_args=LINEAR.args)
    return resume(engine.context, job_ids, persistor, best or BestModel("accuracy"), num_rounds=num_rounds)


@pytest.mark.parametrize("archived", [False, True])
def test_a_job_goes_on_from_the_servers_workspace_or_its_job_store(
    engine: Engine, earlier: Callable[..., Path], archived: bool
) -> None:
    """X8: with the model, the records, the best round and the files; nothing of it is left half unpacked."""
    earlier()
    if archived:
        engine.archive("job-1", OWNER)
    persistor = CustomPersistor(model_path=LINEAR.path, model_args=LINEAR.args)
    best = BestModel("accuracy", patience=2)
    found = _resume(engine, persistor, best)
    assert (found.start_round, found.is_over) == (3, False)
    assert (found.ledger.job_id, found.ledger.resumed_from) == ("job-2", ["job-1"])
    assert [record.round for record in found.ledger.rounds] == [0, 1, 2]
    assert (best.round, best.value) == (1, 0.3)
    weights = persistor.load_model(engine.context)[ModelLearnableKey.WEIGHTS]
    assert torch.equal(weights["weight"], torch.full((2, 3), 2.0))
    run = engine.root / "job-2"
    assert (run / "files_out" / "run.1" / "server.log").read_text() == "what happened\n"
    assert json.loads((run / "model_out" / "best_model.json").read_text())["round"] == 1
    assert list(run.glob(".earlier_*")) == []


def test_the_newest_job_that_came_to_a_round_counts(engine: Engine, earlier: Callable[..., Path]) -> None:
    """X8: a job that was resumed and died before it took anything over is stepped over."""
    earlier()
    (engine.root / "job-1b").mkdir()
    (engine.root / "job-1b" / "meta.json").write_text(json.dumps(OWNER))
    Ledger(job_id="job-1c", num_rounds=5, state="FAILED").write_round_summary(engine.root / "job-1c" / "files_out")
    (engine.root / "job-1c" / "meta.json").write_text(json.dumps(OWNER))
    assert _resume(engine, job_ids=("job-1b", "job-1c", "gone", "job-1")).start_round == 3
    with pytest.raises(ResumeError, match=r"job job-1c: no round was complete; job gone: neither"):
        _resume(engine, job_ids=("job-1c", "gone"))
    with pytest.raises(ResumeError, match=r"job job-1b: no files_out.*job gone: neither in the server's workspace nor"):
        _resume(engine, job_ids=("job-1b", "gone"))


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("changes", "why"),
    [({"submitter_name": "eve@example.com"}, "somebody else"), ({"study": "other"}, "another study")],
)
def test_a_job_of_somebody_else_is_refused(
    engine: Engine, earlier: Callable[..., Path], archived: bool, changes: dict[str, str], why: str
) -> None:
    """X8: whoever may submit a job does not read the models of others by that."""
    folder = earlier()
    (folder / "meta.json").write_text(json.dumps(OWNER | changes))
    (folder / "state").mkdir()
    with pytest.raises(ResumeError, match=why):
        take_over_state(engine.context, ["job-1"], 3)
    if archived:
        engine.archive("job-1", OWNER | changes)
    with pytest.raises(ResumeError, match=why):
        _resume(engine)


@pytest.mark.parametrize("job_id", ["../job-1", "/etc", "a/b", "", ".."])
def test_an_id_leads_nowhere_else(engine: Engine, earlier: Callable[..., Path], job_id: str) -> None:
    """X8: it is a name in the workspace and in the store, and no path."""
    earlier()
    with pytest.raises(ResumeError, match="no id of a job"):
        _resume(engine, job_ids=(job_id,))


def test_what_has_changed_is_refused_by_name(engine: Engine, earlier: Callable[..., Path]) -> None:
    """X8: the model by its path, arguments or shapes, the sites, the number of rounds, the persistor."""
    folder = earlier()
    other = CustomPersistor(model_path=LINEAR.path, model_args={**LINEAR.args, "out_features": 4})
    with pytest.raises(ResumeError, match=r"model_args has changed: found .*'out_features': 4.* expected .*: 2"):
        _resume(engine, other)
    with pytest.raises(ResumeError, match="the persistor is dict, expected a CustomPersistor"):
        _resume(engine, {"own": "persistor"})
    with pytest.raises(ResumeError, match="3 rounds are done, expected fewer than num_rounds, 2"):
        _resume(engine, num_rounds=2)
    engine.sites = [*SITES, "site-3"]
    with pytest.raises(ResumeError, match="found site-3, expected sites of the earlier job only"):
        _resume(engine)
    engine.sites = SITES[:1]
    with pytest.raises(ResumeError, match="site-2 took part in round 2 and is not there now"):
        _resume(engine)
    engine.sites = SITES
    for sidecar in (folder / "model_out").glob("*.json"):
        document = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps(document | {"model_args": {"in_features": 5, "out_features": 2}}))
    same_name = CustomPersistor(model_path=LINEAR.path, model_args={"in_features": 5, "out_features": 2})
    _resume(engine, same_name)
    with pytest.raises(StateDictError, match="weight"):
        same_name.load_model(engine.context)


def test_patience_counts_on(engine: Engine, earlier: Callable[..., Path]) -> None:
    """X8: a job that was out of patience when it was killed is over; one that had ended so goes on when told to."""
    earlier(accuracy=(0.5, 0.4, 0.3, 0.2), best=0)
    assert _resume(engine, best=BestModel("accuracy", patience=3)).is_over
    assert not _resume(engine, best=BestModel("accuracy", patience=4)).is_over
    shutil.rmtree(engine.root / "job-1")
    earlier(accuracy=(0.5, 0.4, 0.3, 0.2), best=0, state="FINISHED")
    assert not _resume(engine, best=BestModel("accuracy", patience=3)).is_over


def test_a_job_without_a_complete_round_begins_anew(engine: Engine, earlier: Callable[..., Path]) -> None:
    """X8: and says so."""
    folder = earlier(accuracy=(None,), best=0)
    shutil.rmtree(folder / "model_out")
    found = _resume(engine)
    assert (found.start_round, found.ledger.rounds) == (0, [])
    assert "it begins anew, with round 0" in found.notes[-1]


def test_the_records_of_a_resumed_job_are_one_list(engine: Engine, earlier: Callable[..., Path]) -> None:
    """X8, J10: on disk before the next round, under the new job's id."""
    earlier()
    writer = RoundSummaryWriter()
    context = engine.context
    context.set_prop(JOB_RESUMED, _resume(engine).ledger, private=True, sticky=False)
    writer.handle_event(JOB_RESUMED, context)
    ledger = read_ledger(engine.root / "job-2" / "files_out" / "fl_round_complete.json")
    assert ([record.round for record in ledger.rounds], ledger.job_id) == ([0, 1, 2], "job-2")
    assert (ledger.state, ledger.num_rounds, ledger.resumed_from) == ("RUNNING", 5, ["job-1"])


def test_what_a_site_keeps_goes_along(engine: Engine) -> None:
    """X8, M2: STATE_DIR is moved from the newest job that left one, and what was written in
    complete rounds; a job that has one already keeps it.
    """
    for job_id in ("job-0", "job-1"):
        (engine.root / job_id / "state").mkdir(parents=True)
        (engine.root / job_id / "state" / "of.txt").write_text(job_id)
        (engine.root / job_id / "meta.json").write_text(json.dumps(OWNER))
    for number in (0, 1, 2):
        (engine.root / "job-1" / "out" / f"round_{number}").mkdir(parents=True)
    assert take_over_state(engine.context, ["job-3", "job-1", "job-0"], 2) == engine.root / "job-1"
    assert {path.name for path in (engine.root / "job-2" / "out").iterdir()} == {"round_0", "round_1"}
    assert (engine.root / "job-2" / "state" / "of.txt").read_text() == "job-1"
    assert take_over_state(engine.context, ["job-0"], 2) is None
    assert (engine.root / "job-0" / "state").is_dir()
