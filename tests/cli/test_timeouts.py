"""``rt-flare timeouts`` (T8, T9, T13, N6)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rt_flare.builtin_plugin import templates_home

RtFlare = Callable[..., subprocess.CompletedProcess[str]]
TEMPLATE = str(templates_home() / "rt_fedavg")


def document(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stdout + done.stderr
    content = json.loads(done.stdout)
    if content["error"] is None:
        assert (content["schema"], content["exit_code"]) == ("rt_flare.timeouts/1", code)
    return content  # type: ignore[no-any-return]


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    folder = tmp_path / "site-1"
    for part in ("startup", "local"):
        (folder / part).mkdir(parents=True)
    service = {"servers": [{"name": "p", "service": {"scheme": "tcp"}}]}
    (folder / "startup" / "fed_client.json").write_text(json.dumps(service))
    (folder / "local" / "resources.json.default").write_text('{"client": {"retry_timeout": 30}}')
    (folder / "local" / "comm_config.json").write_text('{"heartbeat_interval": 60, "tcp_no_delay": true}')
    return folder


def test_list_names_every_preset_with_what_it_is_for(rt_flare: RtFlare) -> None:
    """T9"""
    presets = document(rt_flare("timeouts", "list", "--format", "json"))["presets"]
    by_name = {preset["name"]: preset for preset in presets}
    assert {"standard", "large_model", "llm", "high_latency", "hpc", "low_latency"} <= by_name.keys()
    assert by_name["llm"]["extends"] == ["large_model"]
    assert "Foundation models" in rt_flare("timeouts", "list").stdout


def test_show_gives_every_value_its_unit_file_reader_and_reason(rt_flare: RtFlare) -> None:
    """T9"""
    shown = document(rt_flare("timeouts", "show", "hpc", "--sites", "144", "--format", "json"))
    values = {setting["id"]: setting for setting in shown["settings"]}
    assert values["workflow.min_clients"]["value"] == 138
    assert values["comm.heartbeat_interval"]["in_job"] is False
    for setting in values.values():
        assert setting["unit"]
        assert setting["why"]
        assert setting["process"]
        assert setting["read_by"]
        assert all(setting["places"])
    assert shown["close_window_seconds"] == [85, 90]
    text = rt_flare("timeouts", "show", "hpc+stall_recovery", "--sites", "144").stdout
    assert "138 sites" in text
    assert "a stalled tcp connection is closed after 85 to 90 s" in text


def test_suggest_explains_its_choice_and_every_value(rt_flare: RtFlare, tmp_path: Path) -> None:
    """T9: the example of the documentation."""
    arguments = ("timeouts", "suggest", "--params", "110M", "--bandwidth", "50Mbps", "--sites", "12")
    found = document(rt_flare(*arguments, "--out", "mine.json", "--format", "json"))
    assert (found["preset"], found["model_bytes"], found["bytes_per_second"]) == ("large_model", 440_000_000, 6.25e6)
    assert found["reasons"][0].startswith("large_model: 440 MB per update")
    assert all(setting["why"] for setting in found["settings"])
    again = document(rt_flare("timeouts", "show", str(tmp_path / "mine.json"), "--format", "json"))
    assert [(s["id"], s["value"]) for s in again["settings"]] == [(s["id"], s["value"]) for s in found["settings"]]
    text = rt_flare(*arguments, "--dtype", "bfloat16").stdout
    assert "standard: 220 MB per update" in text
    assert "submit_task_result_timeout" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("suggest", "--bandwidth", "50Mbps", "--sites", "2"), "neither --params nor --model-bytes"),
        (("suggest", "--params", "1M", "--model-bytes", "4MB", "--bandwidth", "1Mbps", "--sites", "2"), "one of them"),
        (("suggest", "--params", "110M", "--bandwidth", "50", "--sites", "2"), "such as 50Mbps"),
        (("show", "standrad"), "Did you mean 'standard'?"),
        (("lint", "."), "neither a job (meta.json) nor a startup kit"),
        (("apply", "--kit", "."), "expected that of a server or a site"),
    ],
)
def test_wrong_usage_is_explained(rt_flare: RtFlare, arguments: tuple[str, ...], message: str) -> None:
    """N6: exit code 4, and the message as JSON where it is asked for."""
    assert message in document(rt_flare("timeouts", *arguments, "--format", "json"), 4)["error"]["message"]


def test_lint_reports_findings_and_fails(rt_flare: RtFlare) -> None:
    """T8"""
    arguments = ("timeouts", "lint", TEMPLATE, "--params", "110M", "--bandwidth", "50Mbps", "--sites", "12")
    (finding,) = document(rt_flare(*arguments, "--format", "json"), 1)["findings"]
    assert (finding["rule"], finding["severity"]) == ("B05", "warning")
    assert finding["file"].endswith("config_fed_client.conf")
    assert (finding["found"], finding["expected"]) == (300, "906 or more")
    text = rt_flare(*arguments)
    assert text.returncode == 1
    assert "B05" in text.stdout


def test_lint_of_a_sound_job_says_what_it_could_not_check(rt_flare: RtFlare) -> None:
    """T8"""
    done = rt_flare("timeouts", "lint", TEMPLATE)
    assert done.returncode == 0
    assert "No mistake found.\nnot checked: B18, B30: give the number of sites (--sites)" in done.stdout


def test_apply_shows_then_writes_and_keeps_the_rest(rt_flare: RtFlare, kit: Path) -> None:
    """T13"""
    config, arguments = kit / "local" / "comm_config.json", ("timeouts", "apply", "--kit", str(kit), "--preset", "hpc")
    before = config.read_text()
    dry = rt_flare(*arguments, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "- heartbeat_interval: 60\n  + heartbeat_interval: 15" in dry.stdout
    assert config.read_text() == before
    (report,) = document(rt_flare(*arguments, "--format", "json"))["kits"]
    assert {"key": "heartbeat_interval", "before": 60, "after": 15} in report["changes"]
    assert any('"communication_timeout": 600' in line for line in report["by_hand"])
    written = json.loads(config.read_text())
    assert written["tcp_no_delay"] is True
    assert written["streaming_read_timeout"] == 600
    assert "nothing to change" in rt_flare(*arguments).stdout


def test_no_kit_is_written_when_one_of_them_cannot_be(rt_flare: RtFlare, kit: Path, tmp_path: Path) -> None:
    """T13"""
    config = kit / "local" / "comm_config.json"
    before = config.read_text()
    done = rt_flare("timeouts", "apply", "--kit", str(kit), "--kit", str(tmp_path / "gone"), "--preset", "hpc")
    assert done.returncode == 4
    assert config.read_text() == before
