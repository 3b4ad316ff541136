"""Presets: the built-in ones, those of plugins and users, and how they extend each other (T1 to T7, T9 to T12)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.catalog import load_catalog
from rt_flare.errors import ConfigError
from rt_flare.timeouts import presets
from rt_flare.timeouts.key_map import ConfigKey, Place, load_key_map
from rt_flare.timeouts.presets import Preset, builtin_presets, find_preset, flatten_preset

KEYS = load_key_map()
SETTABLE = [key for key in KEYS.keys.values() if key.type != "bool" and Place.RECIPE not in key.places]


def values_of(name: str) -> dict[str, Any]:
    return {key: setting.value for key, setting in flatten_preset(find_preset(name), KEYS).items()}


def write(path: Path, document: object) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def test_the_built_in_presets_enter_through_the_hook() -> None:
    """T9: by the same door as those of strangers."""
    assert set(load_catalog().timeout_presets) == set(builtin_presets())
    for name, preset in builtin_presets().items():
        assert find_preset(name) == preset
        assert preset.title


@pytest.mark.parametrize("name", builtin_presets())
def test_every_value_of_a_preset_has_a_reason_and_a_key_that_is_read(name: str) -> None:
    """T9, T12"""
    for identifier, setting in flatten_preset(find_preset(name), KEYS).items():
        assert identifier in KEYS.keys
        assert len(setting.why) > 10, identifier


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("standard", {"get_task_timeout": 300}),
        ("large_model", {"get_task_timeout": 600, "submit_task_result_timeout": 600}),
        (
            "llm",
            {
                "get_task_timeout": 1200,
                "submit_task_result_timeout": 1800,
                "tensor_min_download_timeout": 600,
                "executor.task_wait_timeout": 1800,
            },
        ),
        (
            "high_latency",
            {
                "get_task_timeout": 600,
                "submit_task_result_timeout": 600,
                "comm.heartbeat_interval": 15,
                "comm.streaming_read_timeout": 600,
            },
        ),
        ("hpc", {"runner_sync_timeout": 120, "max_runner_sync_timeout": 7200, "workflow.min_clients": None}),
        ("cross_site_evaluation", {"workflow.submit_model_timeout": 900, "workflow.validation_timeout": 7200}),
        ("swarm", {"recipe.round_timeout": 7200, "executor.learn_task_ack_timeout": 7200}),
        (
            "strict_start",
            {"env.strict_start_job_reply_check": True, "env.sync_client_jobs_require_previous_report": True},
        ),
        (
            "stall_guard",
            {
                "comm.sfm_close_stalled_connection": False,
                "comm.sfm_send_stall_timeout": 75,
                "comm.sfm_send_stall_consecutive_checks": 3,
            },
        ),
        ("stall_recovery", {"comm.sfm_close_stalled_connection": True, "comm.sfm_send_stall_timeout": 75}),
    ],
)
def test_the_guides_values_are_kept_where_the_installed_nvflare_has_them(name: str, expected: dict[str, Any]) -> None:
    """T1 to T5, T7, T10, T11: 120 for get_task_timeout has no effect in 2.9 and is 300."""
    assert expected.items() <= values_of(name).items()


def test_presets_of_several_names_are_put_together_in_order() -> None:
    """T7, T9, T10: later ones over earlier ones."""
    together = values_of("llm+stall_recovery+cross_site_evaluation")
    assert together == values_of("llm") | values_of("stall_recovery") | values_of("cross_site_evaluation")


def test_a_users_file_extends_a_preset(tmp_path: Path) -> None:
    """T9: plain values, values with a reason, rules, and what is left out."""
    name = write(
        tmp_path / "mine.json",
        {
            "extends": "large_model",
            "settings": {
                "get_task_timeout": 900,
                "streaming_read_timeout": {"value": 700, "why": "ours is slow"},
                "server.task_request_interval": {"rule": "max(3, num_sites / 50)"},
            },
            "without": ["workflow.snapshot_every_n_rounds"],
        },
    )
    mine, base = flatten_preset(find_preset(name), KEYS), flatten_preset(find_preset("large_model"), KEYS)
    assert mine.keys() == base.keys() - {"workflow.snapshot_every_n_rounds"}
    assert mine["get_task_timeout"].value == 900
    assert mine["comm.streaming_read_timeout"].why == "ours is slow"
    assert mine["server.task_request_interval"].rule == "max(3, num_sites / 50)"
    assert mine["dead_client_grace_period"] == base["dead_client_grace_period"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"settings": {"get_task_timout": 1}}, "did you mean 'get_task_timeout'"),
        ({"settings": {"PEER_READ_TIMEOUT": 600}}, "use task_wait_timeout of ClientAPIExecutor"),
        ({"settings": {"max_resends": 3}}, "take the key out"),
        ({"settings": {"heartbeat_interval": 3}}, "is ambiguous"),
        ({"settings": {"get_task_timeout": 0}}, "found 0, expected more than 0"),
        ({"settings": {"workflow.train_timeout": 0.5}}, "found 0.5, expected a whole number"),
        ({"settings": {"comm.tcp_no_delay": 1}}, "expected true or false"),
        ({"settings": {"get_task_timeout": {"rule": "num_sits"}}}, "num_sits"),
        ({"settings": {"get_task_timeout": {}}}, "neither value nor rule"),
        ({"settings": {"get_task_timeout": "600"}}, "settings.get_task_timeout"),
        ({"settings": {}, "extends": "standrad"}, "'standrad' is not installed. Did you mean 'standard'"),
        ({"settings": {}, "without": ["get_task_timeout"]}, "nothing that it extends sets it"),
        ({"settings": {}, "extend": "standard"}, "extend"),
        ({}, "settings: Field required"),
        ([], "timeout preset"),
    ],
)
def test_a_users_file_with_a_mistake_is_refused_with_its_place(tmp_path: Path, document: Any, message: str) -> None:
    """T12"""
    name = write(tmp_path / "mine.json", document)
    with pytest.raises(ConfigError, match=message):
        flatten_preset(find_preset(name), KEYS)


def test_presets_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    """T9"""
    one, two = str(tmp_path / "one.json"), str(tmp_path / "two.json")
    write(Path(one), {"extends": two, "settings": {}})
    write(Path(two), {"extends": one, "settings": {}})
    with pytest.raises(ConfigError, match="in a circle: one -> two -> one"):
        flatten_preset(find_preset(one), KEYS)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """T9"""
    with pytest.raises(ConfigError, match=r"gone\.json"):
        find_preset(str(tmp_path / "gone.json"))
    with pytest.raises(AttributeError, match="NONSENSE"):
        _ = presets.NONSENSE


def _value(key: ConfigKey) -> st.SearchStrategy[int]:
    return st.integers(max(1, int(key.least or 1), int(key.above or 0) + 1), 10**6)


@given(st.data())
def test_extending_keeps_what_is_not_set_and_sets_what_is(data: st.DataObject) -> None:
    """T9: for any preset and any settings."""
    base = data.draw(st.sampled_from(sorted(builtin_presets())))
    keys = data.draw(st.lists(st.sampled_from(SETTABLE), unique_by=lambda key: key.id, max_size=6))
    settings = {key.id: data.draw(_value(key)) for key in keys}
    preset = Preset.model_validate({"name": "mine", "extends": base, "settings": settings})
    flat = {name: setting.value for name, setting in flatten_preset(preset, KEYS).items()}
    assert flat == values_of(base) | settings


@pytest.mark.parametrize(("exchange", "other"), [("tensor", "np"), ("np", "tensor")])
def test_keys_of_what_is_exchanged_have_one_prefix(exchange: str, other: str) -> None:
    """T8: never both."""
    for name in builtin_presets():
        flat = flatten_preset(find_preset(name), KEYS, exchange=exchange)
        assert not [key for key in flat if key.startswith(f"{other}_")]
