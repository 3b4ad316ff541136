"""Our components in NVFlare's simulator: under our controller, and under NVFlare's own two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rt_flare.core.environment import own_environment, read_environments
from rt_flare.core.round_record import ContributionStatus, Verdict
from rt_flare.jobs.doctor import diagnose
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.simulator import run_simulator

pytestmark = pytest.mark.simulator

SITES = ["site-1", "site-2", "site-3"]
C = "rt_flare.components"
MODEL_DEF = """
import math
import os

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(width, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        return self.norm(self.layer(x))


def step(model):
    model.train()
    model(torch.randn(8, 4)).sum().backward()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
"""
PAYLOAD_CONTRACT = """
def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    model = Model()
    if payload["initial_weights"]:
        model.load_state_dict(payload["initial_weights"])
    step(model)
    site, round_number = env["SITE_NAME"], env["CURRENT_ROUND"]
    fault = env.get("faults", {}).get(f"{site}/{round_number}")
    if fault == "raise":
        raise ValueError("bad luck")
    if fault == "nan":
        model.layer.weight.data[0, 0] = math.nan
    if fault == "exit":
        os._exit(139)
    logger.info("round %s of %s", round_number, site)
    return {"weights": model.state_dict(), "samples": 10 * int(site[-1]), "metrics": {"loss": 1.0 / (1 + round_number)}}


def fl_validate_model(payload, out_dir, logger=None):
    return {"metrics": {"accuracy": min(payload["env"]["CURRENT_ROUND"], 2) * 0.25}}
"""
MODEL_CONTRACT = """
def fl_train(model, env, out_dir, logger=None):
    step(model)
    logger({"type": "warn", "msg": f"{env['EPOCHS']} {env['BATCH_SIZE']} {env['LR']} {env['COLOUR']}"})
    assert os.path.isdir(env["DATA_ROOT"])
    torch.save({"model_state": model.state_dict()}, os.path.join(out_dir, "state_dict.pt"))
    return {"num_samples": 3}


def fl_validate(model, env, out_dir, logger=None):
    return {"metrics": {"accuracy": 0.5}}
"""
RT = {"path": f"{C}.controller.RtFedAvg", "args": {"num_rounds": 3, "min_clients": 2, "best_metric": "accuracy"}}
SAG = {
    "path": "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather",
    "args": {
        "min_clients": 2,
        "num_rounds": 3,
        "wait_time_after_min_received": 10,
        "aggregator_id": "aggregator",
        "persistor_id": "persistor",
        "shareable_generator_id": "generator",
    },
}
FEDAVG = {
    "path": "nvflare.app_common.workflows.fedavg.FedAvg",
    "args": {
        "num_clients": 3,
        "num_rounds": 3,
        "persistor_id": "persistor",
        "ignore_result_error": True,
        "aggregator": {"path": f"{C}.aggregator.SampleWeightedAggregator", "args": {}},
    },
}
Run = Callable[..., RunOutcome]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Writes a job by hand and runs it with three sites."""

    def run(workflow: dict[str, Any], functions: str = PAYLOAD_CONTRACT, **extra: Any) -> RunOutcome:
        persistor, more_arguments = extra.pop("persistor", {}), extra.pop("executor", {})
        job, data = tmp_path / "job", tmp_path / "data"
        (job / "app/config").mkdir(parents=True)
        (job / "app/custom").mkdir()
        data.mkdir()
        (job / "app/custom/model_def.py").write_text(MODEL_DEF + functions)
        meta = {"name": "by_hand", "resource_spec": {}, "deploy_map": {"app": ["@ALL"]}, "min_clients": 2}
        (job / "meta.json").write_text(json.dumps(meta))
        generator = "nvflare.app_common.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator"
        components = [
            {"id": "persistor", "path": f"{C}.persistor.CustomPersistor", "args": {"seed": 0, **persistor}},
            {"id": "aggregator", "path": f"{C}.aggregator.SampleWeightedAggregator", "args": {"deterministic": True}},
            {"id": "metrics", "path": f"{C}.writers.MetricsWriter", "args": {}},
            {"id": "rounds", "path": f"{C}.writers.RoundSummaryWriter", "args": {}},
            {"id": "generator", "path": generator, "args": {}},
        ]
        server = {"format_version": 2, "server": {"task_request_interval": 0.4}, "components": components}
        (job / "app/config/config_fed_server.json").write_text(
            json.dumps({**server, "workflows": [{"id": "workflow", **workflow}]})
        )
        arguments = {"data_root": str(data), "extra": extra, "seed": 1, "num_threads": 1, **more_arguments}
        executor = {"path": f"{C}.executor.PayloadExecutor", "args": arguments}
        client = {"format_version": 2, "executors": [{"tasks": ["train", "validate"], "executor": executor}]}
        (job / "app/config/config_fed_client.json").write_text(json.dumps({**client, "components": []}))
        return run_simulator(job, tmp_path / "workspace", SITES)

    return run


def _statuses(outcome: RunOutcome) -> list[list[str]]:
    return [[str(c.status) for c in record.contributions] for record in outcome.rounds]


def _models(outcome: RunOutcome) -> list[str]:
    return sorted(path.name for path in (outcome.server_dir / "model_out").glob("model_round_*.pt"))


def test_our_controller_runs_on_while_enough_sites_answer_and_fails_when_too_few_do(run: Run) -> None:
    """M1, M5, X1, X4, J5: faults are recorded by site and cause; a failed round leaves the last good model."""
    workflow = {**RT, "args": {**RT["args"], "num_rounds": 5}}
    shortage = {"site-1/3": "raise", "site-3/3": "raise"}
    outcome = run(workflow, faults={"site-1/0": "raise", "site-2/1": "exit", "site-3/2": "nan", **shortage})
    assert outcome.state is JobState.FAILED
    assert [record.verdict for record in outcome.rounds] == [*[Verdict.DEGRADED] * 3, Verdict.FAILED]
    failures = [next(c.failure for c in record.contributions if c.failure) for record in outcome.rounds]
    assert [(f.site, f.round, f.kind) for f in failures] == [
        ("site-1", 0, "exception"),
        ("site-2", 1, "worker_died"),
        ("site-3", 2, "result"),
        ("site-1", 3, "exception"),
    ]
    source = (outcome.server_dir / "app_server/custom/model_def.py").read_text().splitlines()
    assert "bad luck" in source[(failures[0].line or 0) - 1]
    assert "fl_train_model" in source[(failures[2].line or 0) - 1]
    assert "NaN" in failures[2].message
    assert [record.num_samples for record in outcome.rounds[:3]] == [50, 40, 30]
    for record in outcome.rounds[:3]:
        assert all(0 < (c.work_seconds or 0) <= (c.seconds or 0) for c in record.accepted)  # X10
        phases = [record.collect_seconds, record.aggregate_seconds, record.save_seconds]
        assert sum(phase for phase in phases if phase is not None) <= record.seconds + 0.01
        assert None not in phases
    assert outcome.rounds[3].aggregate_seconds is None
    environments = read_environments(outcome.server_dir / "files_out" / "environment.json")
    assert environments.server == own_environment()
    assert {site.site: site.torch for site in environments.sites} == dict.fromkeys(SITES, own_environment().torch)
    assert [record.global_metrics for record in outcome.rounds[:2]] == [
        {"accuracy": pytest.approx(v)} for v in (0.25, 0.5)
    ]
    assert outcome.error is not None
    assert (outcome.error.round, outcome.error.file) == (3, "model_def.py")
    # X6: in the server's log alone, and what was survived in earlier rounds is not the root.
    for place in (outcome.server_log, outcome.server_dir.parents[1]):
        root = diagnose(place).root
        assert root is not None
        assert (root.round, root.file, root.line) == (3, "model_def.py", outcome.error.line)
    assert _models(outcome) == [f"model_round_{i}.pt" for i in range(3)]
    models = outcome.server_dir / "model_out"
    assert json.loads((models / "global_model.json").read_text())["round"] == 2
    assert json.loads((models / "best_model.json").read_text())["round"] == 1


def test_our_components_work_under_scatter_and_gather(run: Run) -> None:
    """M12: a hand-written job with NVFlare's ScatterAndGather; a failing site is recorded there too."""
    outcome = run(SAG, faults={"site-2/1": "raise"})
    assert outcome.state is JobState.FINISHED
    assert [record.verdict for record in outcome.rounds] == [Verdict.OK, Verdict.DEGRADED, Verdict.OK]
    assert _statuses(outcome)[1] == ["accepted", "failed", "accepted"]
    assert all(record.collect_seconds is not None and record.save_seconds is None for record in outcome.rounds)
    assert all(record.aggregate_seconds is not None for record in outcome.rounds)
    assert outcome.rounds[1].contributions[1].status is ContributionStatus.FAILED
    assert _models(outcome) == [f"model_round_{i}.pt" for i in range(3)]
    # J5, X6: NVFlare's controller keeps the site's error to itself; the server's log has its traceback all the same.
    assert '      raise ValueError("bad luck")' in outcome.server_log.read_text().splitlines()


@pytest.mark.slow
def test_our_components_work_under_fedavg(run: Run) -> None:
    """M12, X1: with every site failing, FedAvg alone would end well with an empty model; our aggregator fails it."""
    outcome = run(FEDAVG, faults={"site-2/1": "raise", **{f"{site}/2": "raise" for site in SITES}})
    assert _statuses(outcome) == [["accepted"] * 3, ["accepted", "failed", "accepted"], ["failed"] * 3]
    assert [record.num_samples for record in outcome.rounds] == [60, 40, 0]
    assert outcome.state is JobState.FAILED
    assert outcome.error is not None
    assert "bad luck" in outcome.error.message
    assert _models(outcome) == ["model_round_0.pt", "model_round_1.pt"]
    assert torch.load(outcome.server_dir / "model_out/global_model.pt", weights_only=True)


@pytest.mark.slow
def test_the_published_sdks_newer_signature_runs_unchanged_and_may_make_the_first_model(run: Run) -> None:
    """M6, M8: fl_train(model, env, out_dir, logger); the server starts empty, explicitly asked for."""
    workflow = {**RT, "args": {**RT["args"], "num_rounds": 2, "allow_empty_global_weights": True}}
    outcome = run(workflow, MODEL_CONTRACT, persistor={"initial_weights": "clients"}, COLOUR="blue")
    assert outcome.state is JobState.FINISHED
    assert [record.num_samples for record in outcome.rounds] == [9, 9]
    assert [record.global_metrics for record in outcome.rounds] == [{"accuracy": pytest.approx(0.5)}] * 2
    log = outcome.site_logs["site-1"].read_text()
    assert "contract fl_train(model, env, out_dir, logger)" in log
    assert "2 32 0.001 blue" in log
    assert set(torch.load(outcome.server_dir / "model_out/global_model.pt", weights_only=True)) >= {"layer.weight"}


@pytest.mark.slow
@pytest.mark.parametrize("workflow", [RT, SAG], ids=["ours", "scatter_and_gather"])
def test_updates_travel_as_bfloat16_differences_and_the_record_says_how_far_off(
    run: Run, workflow: dict[str, Any]
) -> None:
    """T2, M9: the gate still checks them, and the global model stays float32."""
    outcome = run(workflow, executor={"wire_dtype": "bfloat16"}, faults={"site-3/1": "nan"})
    assert outcome.state is JobState.FINISHED
    assert _statuses(outcome)[1] == ["accepted", "accepted", "failed"]
    for record in outcome.rounds:
        accepted = [c.wire_error for c in record.contributions if c.status is ContributionStatus.ACCEPTED]
        assert all(error is not None and 0 < error < 2**-8 for error in accepted)
        assert record.wire_error == max(error or 0.0 for error in accepted)
    saved = torch.load(outcome.server_dir / "model_out/global_model.pt", weights_only=True)
    assert saved["layer.weight"].dtype is torch.float32
