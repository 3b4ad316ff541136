"""Startup kits: read, and comm_config.json written into them (T13)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rt_flare.errors import ConfigError
from rt_flare.timeouts.kit_apply import plan_kit
from rt_flare.timeouts.kit_files import read_kit, write_comm_config
from rt_flare.timeouts.placement import apply_preset

HPC = apply_preset("hpc", num_sites=144)


def kit(folder: Path, *, server: bool = False, scheme: str = "tcp", **local: Any) -> Path:
    for part in ("startup", "local"):
        (folder / part).mkdir(parents=True)
    fed = {"servers": [{"name": "p", "service": {"scheme": scheme}}]}
    (folder / "startup" / ("fed_server.json" if server else "fed_client.json")).write_text(json.dumps(fed))
    resources = {"servers": [{"heart_beat_timeout": 600}]} if server else {"client": {"retry_timeout": 30}}
    (folder / "local" / "resources.json.default").write_text(json.dumps(resources))
    for name, content in local.items():
        (folder / "local" / f"{name}.json").write_text(json.dumps(content))
    return folder


def apply(folder: Path, preset: Any = HPC) -> dict[str, Any]:
    plan = plan_kit(folder, preset)
    written = write_comm_config(plan.kit, plan.content)
    return json.loads(written.read_text())  # type: ignore[no-any-return]


def test_what_is_there_is_kept_and_the_changes_are_listed(tmp_path: Path) -> None:
    """T13: relays keep their section `internal`."""
    internal = {"scheme": "tcp", "resources": {"port": 8010}}
    folder = kit(tmp_path / "k", comm_config={"internal": internal, "heartbeat_interval": 60, "tcp_no_delay": True})
    changes = {change.key: (change.before, change.after) for change in plan_kit(folder, HPC).changes}
    assert changes["heartbeat_interval"] == (60, 15)
    assert changes["streaming_read_timeout"] == (None, 600)
    written = apply(folder)
    assert written == {"internal": internal, "tcp_no_delay": True, **HPC.comm_config}


def test_applying_twice_changes_nothing(tmp_path: Path) -> None:
    """T13"""
    folder = kit(tmp_path / "k")
    first = apply(folder)
    assert plan_kit(folder, HPC).changes == ()
    assert apply(folder) == first


def test_planning_writes_nothing(tmp_path: Path) -> None:
    """T13"""
    folder = kit(tmp_path / "k")
    before = sorted(folder.rglob("*"))
    plan_kit(folder, HPC)
    assert sorted(folder.rglob("*")) == before


def test_a_default_file_is_what_counts_until_there_is_another(tmp_path: Path) -> None:
    """T13: NVFlare reads comm_config.json.default as well; what is in it is kept."""
    folder = kit(tmp_path / "k")
    (folder / "local" / "comm_config.json.default").write_text('{"max_message_size": 1000}')
    assert apply(folder)["max_message_size"] == 1000


def test_a_stall_guard_is_left_out_where_it_cannot_work(tmp_path: Path) -> None:
    """T7, T13"""
    plan = plan_kit(kit(tmp_path / "k", scheme="http"), HPC)
    assert not any(key.startswith("sfm_") for key in plan.content)
    assert any("sfm_send_stall_timeout" in line and "http" in line for line in plan.skipped)


@pytest.mark.parametrize(
    ("server", "lines"),
    [
        (
            True,
            [
                '"max_num_clients": 144 in the first of servers',
                "now 600",
                "NVFLARE_STRICT_START_JOB_REPLY_CHECK=true",
                "copy resources.json.default whole",
            ],
        ),
        (False, ['"communication_timeout": 600 in the section client', "now not set"]),
    ],
)
def test_what_an_operator_has_to_do_is_said(tmp_path: Path, server: bool, lines: list[str]) -> None:
    """T11, T13: for the kit at hand only."""
    text = "\n".join(plan_kit(kit(tmp_path / "k", server=server), HPC).by_hand)
    for line in lines:
        assert line in text
    assert ("communication_timeout" in text) != server


def test_what_is_done_already_is_not_asked_for(tmp_path: Path) -> None:
    """T13"""
    folder = kit(tmp_path / "k", resources={"client": {"communication_timeout": 600}})
    assert plan_kit(folder, HPC).by_hand == ()


def test_a_kit_tells_its_role_scheme_and_start_options(tmp_path: Path) -> None:
    """T13"""
    folder = kit(tmp_path / "k", scheme="grpc")
    script = 'exec python3 -u -m x -m "$W" -s fed_client.json --set secure_train=true heart_beat_interval=5 org=rt\n'
    (folder / "startup" / "sub_start.sh").write_text(script)
    found = read_kit(folder)
    assert (found.role, found.scheme) == ("client", "grpc")
    assert found.start_options == {"secure_train": "true", "heart_beat_interval": "5", "org": "rt"}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("local/comm_config.json", "{", "comm_config.json: .*not valid JSON"),
        ("local/comm_config.json", "[]", "found list at the top level, expected an object"),
        ("startup/fed_client.json", "nothing", "fed_client.json"),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_written(tmp_path: Path, file: str, content: str, message: str) -> None:
    """T13"""
    folder = kit(tmp_path / "k")
    (folder / file).write_text(content)
    with pytest.raises(ConfigError, match=message):
        plan_kit(folder, HPC)
    assert (folder / file).read_text() == content
