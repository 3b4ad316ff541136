"""Job folders from a template, and changes in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.hocon import read_hocon
from rt_flare.jobs.job_folder import create_job, read_job, set_in_job
from rt_flare.jobs.render import render_job
from rt_flare.jobs.template import find_template

SERVER = "app/config/config_fed_server.conf"


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_job_without_code_has_no_folder_for_it(tmp_path: Path) -> None:
    """N7: an empty one would make it a job with custom code."""
    create_job("rt_site_data", tmp_path / "job")
    assert _files(tmp_path / "job") == {
        *("meta.conf", "app", "app/config"),
        *(SERVER, "app/config/config_fed_client.conf"),
    }


def test_a_job_carries_the_module_and_what_it_imports(tmp_path: Path) -> None:
    """M7."""
    (tmp_path / "net.py").write_text("import layers_of_mine\n")
    (tmp_path / "layers_of_mine.py").write_text("x = 1\n")
    create_job("rt_fedavg", tmp_path / "job", model_def=tmp_path / "net.py")
    custom = tmp_path / "job/app/custom"
    assert {path.name for path in custom.iterdir()} == {"model_def.py", "layers_of_mine.py"}
    assert (custom / "model_def.py").read_text() == "import layers_of_mine\n"


def test_a_job_is_its_template_but_for_the_lines_that_were_set(tmp_path: Path) -> None:
    """N1: comments and all."""
    create_job("rt_fedavg", tmp_path / "job", ["NUM_ROUNDS=3", "name=mine"])
    for file in (SERVER, "app/config/config_fed_client.conf", "meta.conf"):
        old = (find_template("rt_fedavg") / Path(file).name).read_text().splitlines()
        new = (tmp_path / "job" / file).read_text().splitlines()
        changed = [line for line, before in zip(new, old, strict=True) if line != before]
        assert changed == {SERVER: ["NUM_ROUNDS = 3"], "meta.conf": ['name = "mine"']}.get(file, [])


def test_nothing_is_written_when_a_value_is_refused(tmp_path: Path) -> None:
    """C6."""
    with pytest.raises(ConfigError, match="did you mean 'NUM_ROUNDS'"):
        create_job("rt_fedavg", tmp_path / "job", ["BATCH_SIZE=3", "NUM_ROUND=3"])
    with pytest.raises(JobError, match="no such file"):
        create_job("rt_fedavg", tmp_path / "job", model_def=tmp_path / "nowhere.py")
    assert not (tmp_path / "job").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """C5."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(JobError, match="not empty"):
        create_job("rt_fedavg", tmp_path)
    assert _files(tmp_path) == {"thesis.tex"}


def test_a_change_in_one_file_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    """N1."""
    create_job("rt_fedavg", tmp_path / "job")
    before = {path: path.read_bytes() for path in (tmp_path / "job").rglob("*.conf")}
    changes = set_in_job(tmp_path / "job", ["NUM_ROUNDS=0"])
    assert changes == {tmp_path / "job" / SERVER: {"NUM_ROUNDS": 0}}
    after = {path: path.read_bytes() for path in before}
    assert {path for path in before if before[path] != after[path]} == {tmp_path / "job" / SERVER}
    assert read_hocon(tmp_path / "job" / SERVER)["NUM_ROUNDS"] == 0


def test_a_rendered_job_can_be_changed_too(tmp_path: Path) -> None:
    """N1: its files are JSON and stay so."""
    (tmp_path / "model_def.py").write_text("x = 1\n")
    job = render_job(
        out=tmp_path / "job",
        model_def=tmp_path / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(),
        sites=["site-1"],
    )
    path = job / "app/config/config_fed_client.json"
    before: dict[str, Any] = json.loads(path.read_text())
    set_in_job(job, ["BATCH_SIZE=0", 'EXTRA={"a": 1}'])
    assert json.loads(path.read_text()) == before | {"BATCH_SIZE": 0, "EXTRA": {"a": 1}}
    assert [file.kind for file in read_job(job)] == ["meta", "server", "client"]


def test_what_is_no_job_or_not_one_app_is_refused(tmp_path: Path) -> None:
    """N1."""
    with pytest.raises(JobError, match="expected a job folder"):
        set_in_job(tmp_path, ["NUM_ROUNDS=3"])
    create_job("rt_fedavg", tmp_path / "job")
    (tmp_path / "job/app_site-1/config").mkdir(parents=True)
    with pytest.raises(JobError, match="found the apps app, app_site-1, expected one"):
        read_job(tmp_path / "job")


def test_a_second_file_of_the_same_kind_is_an_error(tmp_path: Path) -> None:
    """N1: NVFlare reads the .json and leaves the .conf unread."""
    create_job("rt_fedavg", tmp_path / "job")
    (tmp_path / "job/meta.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"found meta\.json and meta\.conf; NVFlare reads meta\.json only"):
        read_job(tmp_path / "job")
