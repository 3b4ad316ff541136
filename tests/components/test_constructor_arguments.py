"""Every component stores its arguments verbatim, as NVFlare's job export needs them (NVFlare drops all others)."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from nvflare.job_config.api import FedJob

from rt_flare.components.aggregator import SampleWeightedAggregator
from rt_flare.components.controller import RtFedAvg
from rt_flare.components.executor import PayloadExecutor
from rt_flare.components.lost_sites import LostSiteOutcomes
from rt_flare.components.persistor import CustomPersistor
from rt_flare.components.shard_urls import ShardUrlService
from rt_flare.components.site_file_receiver import SiteFileReceiver
from rt_flare.components.site_file_sender import SiteFileSender
from rt_flare.components.stats import StatsPublisher
from rt_flare.components.update_memory import UpdateMemory
from rt_flare.components.writers import MetricsWriter, RoundSummaryWriter
from rt_flare.errors import ConfigError

OTHER_VALUES: dict[type, dict[str, Any]] = {
    SampleWeightedAggregator: {"deterministic": True, "max_held_bytes": 5, "max_samples_per_site": 6},
    CustomPersistor: {
        "model_path": "pkg.mod.make",
        "model_args": {"width": 3},
        "initial_weights": "clients",
        "initial_checkpoint": "start.pt",
        "keep_last": 4,
        "seed": 7,
    },
    RtFedAvg: {
        "num_rounds": 9,
        "min_clients": 2,
        "wait_time_after_min_received": 3,
        "round_timeout_seconds": 77,
        "train_timeout_seconds": 66,
        "start_round": 1,
        "aggregator_id": "a",
        "persistor_id": "p",
        "train_task_name": "t",
        "validate_task_name": "v",
        "best_metric": "-loss",
        "patience": 2,
        "allow_empty_global_weights": True,
        "resume_from": ["4f5b", "77aa"],
    },
    PayloadExecutor: {
        "user_module": "other",
        "model_path": "other.Net",
        "model_args": {"n": 1},
        "adapter": "x",
        "adapter_args": {"channels": 1},
        "local_epochs": 3,
        "batch_size": 4,
        "learning_rate": 0.5,
        "img_size": 8,
        "num_classes": 10,
        "manifest_file": "m.ndjson",
        "extra": {"k": [1, 2]},
        "data_dir": "/d",
        "shards_dir": "/s",
        "shards_from_server": True,
        "site_shards": {"site-1": 1},
        "cache_max_bytes": 10,
        "data_root": "/r",
        "isolation": "none",
        "train_timeout_seconds": 5,
        "worker_memory_limit_bytes": 6,
        "num_threads": 2,
        "seed": 3,
        "wire_dtype": "bfloat16",
    },
    UpdateMemory: {"max_in_memory": 5},
    MetricsWriter: {},
    RoundSummaryWriter: {},
    StatsPublisher: {},
    SiteFileReceiver: {
        "site_shards": {"site-1": 1},
        "max_log_bytes": 1,
        "max_files_bytes": 2,
        "max_num_files": 3,
        "end_wait_seconds": 4.0,
    },
    SiteFileSender: {"end_seconds": 3.0},
    LostSiteOutcomes: {"outcome_wait_seconds": 9.0},
    ShardUrlService: {"shards_url": "s3://b/x", "site_shards": {"site-1": 1}, "expires_seconds": 60},
}


@pytest.mark.parametrize("component", OTHER_VALUES, ids=lambda c: c.__name__)
def test_every_argument_is_stored_unchanged_under_its_own_name(component: type) -> None:
    """M12: NVFlare's export reads attributes back; an argument that is not stored is lost in silence."""
    values = OTHER_VALUES[component]
    parameters = {name: p for name, p in inspect.signature(component.__init__).parameters.items() if name != "self"}
    variadic = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    named = {name for name, p in parameters.items() if p.kind not in variadic}
    assert named - {"args", "kwargs"} == set(values) or not values
    made = component(**values)
    for name, value in values.items():
        assert getattr(made, name) is value
        assert value != parameters[name].default, f"the test must use another value than the default for {name}"


def test_an_exported_job_carries_all_arguments(tmp_path: Path) -> None:
    """M12: what NVFlare's own FedJob writes down is what was asked for."""
    job = FedJob(name="exported")
    job.set_app_packages(["rt_flare"])
    job.to_server(CustomPersistor(**OTHER_VALUES[CustomPersistor]), id="persistor")
    job.to_server(SampleWeightedAggregator(deterministic=True), id="aggregator")
    job.to_server(RtFedAvg(**OTHER_VALUES[RtFedAvg]))
    job.to_clients(PayloadExecutor(**OTHER_VALUES[PayloadExecutor]), tasks=["train"])
    job.export_job(str(tmp_path))
    server = json.loads((tmp_path / "exported/app/config/config_fed_server.json").read_text())
    client = json.loads((tmp_path / "exported/app/config/config_fed_client.json").read_text())
    assert server["workflows"][0]["args"] == OTHER_VALUES[RtFedAvg]
    persistor = next(c for c in server["components"] if c["id"] == "persistor")
    assert persistor["args"] == OTHER_VALUES[CustomPersistor]
    assert client["executors"][0]["executor"]["args"] == OTHER_VALUES[PayloadExecutor]


@pytest.mark.parametrize(
    ("component", "arguments", "named"),
    [
        (RtFedAvg, {"round_timeout_seconds": 0}, "round_timeout_seconds"),
        (RtFedAvg, {"round_timeout_seconds": None}, "round_timeout_seconds"),
        (RtFedAvg, {"min_clients": 0}, "min_clients"),
        (RtFedAvg, {"num_rounds": True}, "num_rounds"),
        (CustomPersistor, {"initial_weights": "zeros"}, "initial_weights"),
        (CustomPersistor, {"model_path": "Model"}, "dotted path"),
        (CustomPersistor, {"model_args": {"x": {1, 2}}}, "JSON"),
        (SiteFileReceiver, {"max_log_bytes": -1}, "max_log_bytes"),
        (SiteFileSender, {"end_seconds": -1}, "end_seconds"),
        (PayloadExecutor, {"isolation": "docker"}, "isolation"),
        (PayloadExecutor, {"batch_size": 0}, "batch_size"),
        (PayloadExecutor, {"extra": {"CURRENT_ROUND": 3}}, "CURRENT_ROUND"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(component: type, arguments: dict[str, Any], named: str) -> None:
    """C1, C2: an untimed round among others is not possible; the message names the argument."""
    with pytest.raises(ConfigError, match=named):
        component(**arguments)
