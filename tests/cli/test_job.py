"""``rt-flare job`` (N1)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

RtFlare = Callable[..., subprocess.CompletedProcess[str]]


def test_list_names_every_template_with_what_it_is_for(rt_flare: RtFlare) -> None:
    """N1, T9."""
    done = rt_flare("job", "list")
    assert done.returncode == 0, done.stderr
    assert "rt_fedavg        federated averaging of a PyTorch model (rt_flare)" in done.stdout
    document = json.loads(rt_flare("job", "list", "--format", "json").stdout)
    assert (document["schema"], document["command"], document["exit_code"]) == ("rt_flare.job/1", "job list", 0)
    assert {template["name"]: template["timeouts"] for template in document["templates"]}["rt_llm_lora"] == "llm"


def test_show_explains_every_setting_of_a_template_and_of_a_job(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N1."""
    done = rt_flare("job", "show", "rt_hpc")
    assert done.returncode == 0, done.stderr
    assert (
        "    NUM_ROUNDS = 5\n        Rounds of training: distribute, train on every site, aggregate, save.\n"
        in done.stdout
    )
    assert rt_flare("job", "new", "rt_hpc", "job", "NUM_ROUNDS=9").returncode == 0
    document = json.loads(rt_flare("job", "show", "job", "--format", "json").stdout)
    (server,) = (file for file in document["files"] if file["kind"] == "server")
    (rounds,) = (setting for setting in server["settings"] if setting["name"] == "NUM_ROUNDS")
    assert rounds["value"] == 9
    assert rounds["meaning"].startswith("Rounds of training")
    assert rounds["section"] == "rounds"


def test_new_makes_a_job_and_says_what_it_lacks(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N1."""
    (tmp_path / "net.py").write_text("class Model: ...\n")
    done = rt_flare("job", "new", "rt_fedavg", "plain", "MIN_CLIENTS=2")
    assert done.returncode == 0, done.stderr
    for lack in ("has no model_def.py yet", "MIN_CLIENTS is 2 and min_clients of meta.conf is 1", "names no data"):
        assert lack in done.stdout
    values = ["MIN_CLIENTS=2", "min_clients=2", "DATA_ROOT=/data", "KEEP_LAST=0"]
    done = rt_flare("job", "new", "rt_fedavg", "whole", *values, "--model-def", "net.py", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["notes"] == []
    assert (tmp_path / "whole/app/custom/model_def.py").read_text() == "class Model: ...\n"


def test_set_changes_a_job_and_says_what(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N1: zeros too, negative ones as well."""
    assert rt_flare("job", "new", "rt_fedavg", "job").returncode == 0
    done = rt_flare("job", "set", "job", "WAIT_TIME_AFTER_MIN_RECEIVED=0", "server.SEED=-1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "app/config/config_fed_server.conf: WAIT_TIME_AFTER_MIN_RECEIVED = 0",
        "app/config/config_fed_server.conf: SEED = -1",
    ]
    document = json.loads(rt_flare("job", "set", "job", "SEED=4", "--format", "json").stdout)
    assert [change["values"] for change in document["changed"]] == [{"SEED": 4}, {"SEED": 4}]


def test_wrong_names_and_values_are_usage_errors(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N1, N6, T12."""
    for arguments, message in (
        (["new", "rt_fedavgg", "job"], "Did you mean 'rt_fedavg'"),
        (["new", "rt_fedavg", "job", "num_rounds=3"], "did you mean 'NUM_ROUNDS'"),
        (["new", "rt_fedavg", "job", "NUM_ROUNDS"], "expected NAME=VALUE"),
        (["set", "nowhere", "NUM_ROUNDS=3"], "expected a job folder"),
        (["show", "nothing"], "job template 'nothing' is not installed"),
    ):
        done = rt_flare("job", *arguments)
        assert (done.returncode, message in done.stderr) == (4, True), done.stderr
    assert list(tmp_path.iterdir()) == []
