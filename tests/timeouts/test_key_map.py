"""The keys that NVFlare reads, as data (T12)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ConfigError
from rt_flare.timeouts.key_map import Place, installed_version, load_key_map

RETIRED = {
    "external_pre_init_timeout": "executor.launch_timeout",
    "submit_result_timeout": "executor.result_wait_timeout",
    "download_complete_timeout": "executor.shutdown_timeout",
    "PEER_READ_TIMEOUT": "executor.task_wait_timeout",
    "max_resends": None,
}


@pytest.mark.parametrize("name", RETIRED)
def test_a_name_of_the_guide_that_is_gone_is_refused_with_what_to_do(name: str) -> None:
    """T2, T3, T12: mapped to the key to use, or refused by name."""
    keys = load_key_map()
    replacement = RETIRED[name]
    assert keys.retired[name].replacement == replacement
    assert replacement is None or replacement in keys.keys
    with pytest.raises(ConfigError, match=rf"'{name}' was removed after NVFlare 2\.8: ") as caught:
        keys.find(name)
    if replacement:
        assert replacement.rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("get_task_timout", "get_task_timeout"),
        ("GET_TASK_TIMEOUT", "get_task_timeout"),
        ("submit_task_results_timeout", "submit_task_result_timeout"),
        ("streaming_read_timout", "comm.streaming_read_timeout"),
        ("sfm_send_stall_timeot", "comm.sfm_send_stall_timeout"),
        ("download_chunk_size", "tensor_download_chunk_size"),
        ("min_download_timeout", "tensor_min_download_timeout"),
        ("task_request_intervall", "server.task_request_interval"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_one(written: str, meant: str) -> None:
    """T12"""
    with pytest.raises(ConfigError, match=rf"{written}' is not read by NVFlare 2\.9; did you mean '{meant}'"):
        load_key_map().find(written)


def test_a_key_is_found_by_its_id_and_by_its_bare_name() -> None:
    """T12"""
    keys = load_key_map()
    assert keys.find("comm.streaming_read_timeout") is keys.find("streaming_read_timeout")
    with pytest.raises(ConfigError, match=r"ambiguous: 'executor\.heartbeat_interval' or 'comm\.heartbeat_interval'"):
        keys.find("heartbeat_interval")


def test_the_map_of_the_installed_version_is_taken() -> None:
    """T12"""
    assert load_key_map().version == installed_version() == "2.9"
    with pytest.raises(ConfigError, match=r"NVFlare 1\.0: its keys are not known here, expected one of 2\.9"):
        load_key_map("1.0")


def test_every_key_says_who_reads_it_and_what_it_does() -> None:
    """T9"""
    for key in load_key_map().keys.values():
        assert key.process
        assert key.note
        assert key.read_by or key.places == (Place.SERVER_COMPONENT,)
        assert all(place.text for place in key.places)
        assert key.default is None or key.problem(key.default) is None, key.id


@given(st.text())
def test_any_other_name_is_refused_and_nothing_else_happens(name: str) -> None:
    """T12"""
    keys = load_key_map()
    if not (name in keys.keys or keys.named(name)):
        with pytest.raises(ConfigError):
            keys.find(name)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_a_value_is_taken_or_refused_with_what_is_expected(value: object) -> None:
    """T12: never an exception."""
    for key in load_key_map().keys.values():
        problem = key.problem(value)
        assert problem is None or problem.startswith("expected ")
        if problem is None:
            assert isinstance(value, bool) == (key.type == "bool")
