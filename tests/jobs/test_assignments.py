"""NAME=VALUE from a command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ConfigError
from rt_flare.jobs.assignments import assign

CONFIGS: dict[str, dict[str, Any]] = {
    "meta": {"name": "a", "min_clients": 1, "deploy_map": {"app": ["@ALL"]}},
    "server": {"ROUNDS": 5, "RATE": 0.5, "PATH": "m.M", "ON": False, "workflows": [{"args": {"rounds": "{ROUNDS}"}}]},
    "client": {"PATH": "m.M", "ARGS": None, "SHARDS": {"a": 1}, "SEED": None, "wait_timeout": 300, "executors": []},
}


@pytest.mark.parametrize(
    ("texts", "changes"),
    [
        (["ROUNDS=0"], {"server": {"ROUNDS": 0}}),
        (["RATE=1"], {"server": {"RATE": 1.0}}),
        (["ON=true"], {"server": {"ON": True}}),
        (["PATH=n.N"], {"server": {"PATH": "n.N"}, "client": {"PATH": "n.N"}}),
        (["client.PATH=n.N", "server.PATH=o.O"], {"server": {"PATH": "o.O"}, "client": {"PATH": "n.N"}}),
        (["PATH="], {"server": {"PATH": ""}, "client": {"PATH": ""}}),
        (["client.PATH=12"], {"client": {"PATH": "12"}}),
        (['client.PATH="12"'], {"client": {"PATH": "12"}}),
        (['ARGS={"a": [1, null]}'], {"client": {"ARGS": {"a": [1, None]}}}),
        (["SHARDS=null", "SEED=-1"], {"client": {"SHARDS": None, "SEED": -1}}),
        (["ARGS=a=b"], {"client": {"ARGS": "a=b"}}),
        (["min_clients=2"], {"meta": {"min_clients": 2}}),
        (["wait_timeout=0.5"], {"client": {"wait_timeout": 0.5}}),
    ],
)
def test_a_value_goes_where_its_name_is(texts: list[str], changes: dict[str, dict[str, Any]]) -> None:
    """N1, T12: a name that two files have is set in both; zero, false, "" and null are values."""
    assert assign(CONFIGS, texts) == changes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rounds=3", r"no setting 'rounds'; did you mean 'ROUNDS'\?"),
        ("client.ROUND=3", r"^config_fed_client: no setting 'ROUND'$"),
        ("executors=[]", "no setting 'executors'"),
        ("deploy_map={}", "no setting 'deploy_map'"),
        ("ROUNDS", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
        ("sites.ROUNDS=3", "expected NAME=VALUE or one of meta, server, client before it"),
        ("ROUNDS=3.5", r"config_fed_server: ROUNDS: found 3\.5, expected a whole number, such as 5"),
        ("ROUNDS=many", "expected a whole number"),
        ("ROUNDS=true", "expected a whole number"),
        ("ON=1", "expected true or false"),
        ("RATE=fast", "expected a number"),
        ("RATE=NaN", "expected a number"),
        ("RATE=1e999", "expected a finite number"),
        ("SHARDS=3", "expected an object"),
        ("PATH={x}", "NVFlare reads braces"),
        ('ARGS={"path": "a.b"}', "for a component"),
        ("SEED=99999999999999999999", "at most 64 bits"),
        ("min_clients=0", "expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, message: str) -> None:
    """N1, T12."""
    with pytest.raises(ConfigError, match=message):
        assign(CONFIGS, [text])


def test_two_values_for_one_setting_are_refused() -> None:
    """N1: rather than the last one taken."""
    with pytest.raises(ConfigError, match="ROUNDS: found two values for config_fed_server"):
        assign(CONFIGS, ["ROUNDS=3", "server.ROUNDS=4"])


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_numbers_keep_their_value_and_their_type(rounds: int, rate: float, on: bool) -> None:
    """N1."""
    changes = assign(CONFIGS, [f"ROUNDS={rounds}", f"RATE={rate!r}", f"ON={json.dumps(on)}"])
    values = changes["server"]
    assert values == {"ROUNDS": rounds, "RATE": rate, "ON": on}
    assert [type(value) for value in values.values()] == [int, float, bool]


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters='{}"')))
def test_text_arrives_as_it_is_without_the_space_around_it(text: str) -> None:
    """N1."""
    if text.strip() == "null":
        return
    assert assign(CONFIGS, [f"client.PATH={text}"])["client"]["PATH"] == text.strip()
