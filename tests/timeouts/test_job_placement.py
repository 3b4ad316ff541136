"""A preset's values in a job's configurations (T9)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.timeouts.job_placement import PACE_COMPONENT, JobConfigs, place_in_job
from rt_flare.timeouts.placement import apply_preset
from rt_flare.timeouts.presets import Preset, builtin_presets

SAG = "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather"
RT_FEDAVG = "rt_flare.components.controller.RtFedAvg"
CLIENT_API = "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor"
META = {"name": "job", "min_clients": 2}


def configs(workflow: str, executor: dict[str, Any] | None = None, **server: Any) -> JobConfigs:
    return JobConfigs(
        server={"workflows": [{"id": "w", "path": workflow, "args": {}}], "components": [], **server},
        client={"executors": [{"tasks": ["train"], "executor": executor or {"path": "mine.Executor", "args": {}}}]},
        meta=META,
    )


def placed_in(start: JobConfigs, preset: str, num_sites: int = 2) -> JobConfigs:
    return place_in_job(start, apply_preset(preset, num_sites=num_sites))


def test_each_value_stands_where_it_is_read() -> None:
    """T9"""
    job = placed_in(configs(SAG), "hpc", num_sites=100)
    assert job.client["runner_sync_timeout"] == 120
    assert job.client["tensor_min_download_timeout"] == job.server["tensor_min_download_timeout"] == 900
    assert job.server["dead_client_grace_period"] == 300
    assert job.server["server"] == {"task_request_interval": 2}
    assert job.server["workflows"][0]["args"] == {
        "min_clients": 96,
        "train_timeout": 43200,
        "wait_time_after_min_received": 300,
    }
    assert job.meta["min_clients"] == 96
    assert "heartbeat_interval" not in job.client
    assert "strict_start_job_reply_check" not in job.server


def test_a_class_gets_the_arguments_that_it_takes_under_its_own_names() -> None:
    """T9: the deadline of a round has two names."""
    args = placed_in(configs(RT_FEDAVG), "large_model").server["workflows"][0]["args"]
    assert args == {"wait_time_after_min_received": 60, "round_timeout_seconds": 7200}


def test_a_variable_takes_the_value_of_its_place_and_its_type() -> None:
    """N1: the template's references stay."""
    start = configs(SAG, PACE=2.0, server={"task_request_interval": "{PACE}"})
    job = placed_in(start, "large_model")
    assert job.server["server"] == {"task_request_interval": "{PACE}"}
    assert job.server["PACE"] == 1
    assert isinstance(job.server["PACE"], float)


def test_only_an_executor_with_a_process_of_its_own_gets_its_timeouts() -> None:
    """T9: in_process refuses them."""
    for mode, expected in (("external_process", 600), ("in_process", None)):
        executor = {"path": CLIENT_API, "args": {"execution_mode": mode}}
        args = placed_in(configs(SAG, executor), "large_model").client["executors"][0]["executor"]["args"]
        assert args.get("launch_timeout") == expected


def test_the_pace_of_the_communicator_goes_to_its_component() -> None:
    """T6: with a variable or without."""
    component = {"id": "pace", "path": PACE_COMPONENT, "args": {"period_seconds": "{PERIOD}"}}
    job = placed_in(configs(SAG, PERIOD=0.2, components=[component]), "low_latency")
    assert job.server["PERIOD"] == 0.05
    assert job.server["components"] == [component]


def test_what_a_preset_does_not_set_stays() -> None:
    """T9"""
    start = configs(SAG, dead_client_grace_period=7)
    assert placed_in(start, "standard").server["dead_client_grace_period"] == 7


@pytest.mark.parametrize("name", builtin_presets())
def test_the_configurations_that_were_given_are_left_alone(name: str) -> None:
    """T9: a copy is changed."""
    start = configs(SAG)
    before = copy.deepcopy(start)
    placed_in(start, name)
    assert start == before


@given(st.sampled_from(sorted(builtin_presets())), st.integers(1, 300))
def test_placing_twice_changes_nothing_more(name: str, num_sites: int) -> None:
    """T9"""
    once = placed_in(configs(SAG), name, num_sites)
    assert placed_in(once, name, num_sites) == once


def test_a_preset_of_a_users_own_is_placed_like_any_other() -> None:
    """T9, T10"""
    preset = Preset.model_validate({"name": "mine", "settings": {"workflow.validation_timeout": 100}})
    start = configs("nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval")
    job = place_in_job(start, apply_preset(preset, num_sites=2))
    assert job.server["workflows"][0]["args"] == {"validation_timeout": 100}
