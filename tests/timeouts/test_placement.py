"""Presets worked out for a deployment (T5, T6, T7, T9, T13)."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ConfigError
from rt_flare.timeouts.key_map import Place, load_key_map
from rt_flare.timeouts.placement import Deployment, apply_preset
from rt_flare.timeouts.presets import Preset, builtin_presets

SITES = st.integers(1, 5000)
BYTES = st.integers(1, 10**12)
SPEED = st.floats(1e3, 1e11)


@given(st.sampled_from(sorted(builtin_presets())), SITES, BYTES, SPEED)
def test_every_value_is_one_that_nvflare_takes(name: str, num_sites: int, model_bytes: int, speed: float) -> None:
    """T8, T9, T12: for any deployment."""
    placed = apply_preset(name, num_sites=num_sites, model_bytes=model_bytes, bytes_per_second=speed)
    for setting in placed.settings:
        assert setting.key.problem(setting.value) is None, setting
    json.dumps(placed.to_json(), allow_nan=False)


@given(st.sampled_from(["standard", "large_model", "llm", "high_latency", "hpc", "low_latency"]), SITES)
def test_idle_sites_never_ask_more_than_a_hundred_times_a_second(name: str, num_sites: int) -> None:
    """T6: the interval grows with the number of sites."""
    interval = apply_preset(name, num_sites=num_sites).get("server.task_request_interval")
    assert interval is not None
    assert num_sites / interval <= 100 * (1 + 1e-6)


@given(st.sampled_from(["standard", "large_model", "llm", "high_latency", "hpc"]), SITES, BYTES, SPEED)
def test_a_site_waits_until_the_updates_of_all_are_taken(
    name: str, num_sites: int, model_bytes: int, speed: float
) -> None:
    """T8: the invariant that the linter checks (B05), by construction."""
    placed = apply_preset(name, num_sites=num_sites, model_bytes=model_bytes, bytes_per_second=speed)
    queue, limit = placed.deployment.queue_seconds, placed.get("submit_task_result_timeout")
    assert queue is not None
    assert limit is not None
    assert limit >= queue + 60 or math.isclose(limit, queue + 60)


@pytest.mark.parametrize(("num_sites", "expected"), [(1, 1), (2, 1), (100, 96), (144, 138)])
def test_hpc_tolerates_four_percent_of_the_sites(num_sites: int, expected: int) -> None:
    """T5"""
    placed = apply_preset("hpc", num_sites=num_sites)
    assert placed.get("workflow.min_clients") == placed.get("meta.min_clients") == expected
    assert placed.get("resources.max_num_clients") == max(100, num_sites)


def test_a_rule_without_its_numbers_gives_the_fixed_value_and_says_so() -> None:
    """T9"""
    placed = apply_preset("standard", num_sites=3)
    setting = next(s for s in placed.settings if s.key.key == "submit_task_result_timeout")
    assert setting.value == 300
    assert "not known: bytes of one update, bandwidth of the server" in setting.reason
    assert placed.get("workflow.min_clients") is None


def test_a_worked_out_value_shows_its_numbers() -> None:
    """T9"""
    placed = apply_preset("large_model", num_sites=12, model_bytes=440_000_000, bytes_per_second=6.25e6)
    setting = next(s for s in placed.settings if s.key.key == "submit_task_result_timeout")
    assert setting.value == 906
    assert "= 906 for 12 sites, 440 MB per update, 6.25 MB/s at the server" in setting.reason


def test_the_close_window_of_the_stall_guard_is_computed() -> None:
    """T7"""
    for name in ("stall_guard", "stall_recovery", "llm", "hpc+stall_recovery"):
        window = apply_preset(name, num_sites=2).close_window
        assert window is not None
        assert (window.earliest, window.latest) == (85, 90)
    assert apply_preset("standard", num_sites=2).close_window is None


def test_what_no_job_can_carry_is_set_apart() -> None:
    """T13"""
    placed = apply_preset("hpc", num_sites=144)
    at_the_kit = {setting.key.id for setting in placed.at_the_kit}
    assert at_the_kit >= {"comm.heartbeat_interval", "resources.max_num_clients", "env.strict_start_job_reply_check"}
    in_job = (placed.client_config, placed.server_config, placed.server_section, placed.workflow_args)
    assert not at_the_kit & {key for values in (*in_job, placed.executor_args) for key in values}
    assert placed.comm_config["streaming_read_timeout"] == 600
    assert placed.at(Place.META) == {"min_clients": 138}


@pytest.mark.parametrize("wrong", [{"num_sites": 0}, {"num_sites": 1, "model_bytes": 0}, {"num_sites": -1}])
def test_a_deployment_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    """T9"""
    with pytest.raises(ConfigError, match="expected more than zero"):
        Deployment(**wrong)  # type: ignore[arg-type]


def test_a_rule_that_gives_what_nvflare_refuses_is_named() -> None:
    """T9, T12"""
    preset = Preset.model_validate({"name": "mine", "settings": {"get_task_timeout": {"rule": "num_sites - 5"}}})
    with pytest.raises(ConfigError, match=r"get_task_timeout: the rule 'num_sites - 5' gives -3, expected more than 0"):
        apply_preset(preset, num_sites=2, key_map=load_key_map("2.9"))
