"""From a model definition to a job folder."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nvflare.fuel.utils.config_factory import ConfigFactory
from nvflare.fuel.utils.json_scanner import JsonScanner
from nvflare.fuel.utils.wfconf import resolve_var_refs
from nvflare.tool.job.job_cli import prepare_job_config

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.errors import ConfigError, DataError, JobError, ShardError
from rt_flare.jobs.render import render_job

SITES = ("site-1", "site-2", "site-3")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="{}")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.from_regex(r"\w[\w -]{0,8}\w", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), VALUES, max_size=4).filter(
    lambda values: not values.keys() & {"path", "class_path", "name", "config_type"}
)


def _render(folder: Path, **changes: Any) -> Path:
    model_def = folder / "model_def.py"
    if not model_def.exists():
        model_def.write_text("import torch\n")
    inputs: dict[str, Any] = {
        "out": folder / "job",
        "model_def": model_def,
        "training": TrainingConfig(),
        "federation": FederationConfig(min_clients=3),
        "sites": SITES,
    }
    return render_job(**(inputs | changes))


def _resolved(config: Path) -> dict[str, Any]:
    """A configuration as NVFlare's own code loads and resolves it."""
    data = ConfigFactory.load_config(str(config)).to_dict()
    resolve_var_refs(JsonScanner(data), dict(data))
    return data


def _executor_args(job: Path) -> dict[str, Any]:
    args = _resolved(job / "app/config/config_fed_client.json")["executors"][0]["executor"]["args"]
    assert isinstance(args, dict)
    return args


def _server_args(job: Path) -> dict[str, Any]:
    config = _resolved(job / "app/config/config_fed_server.json")
    merged: dict[str, Any] = {}
    for component in [*config["components"], *config["workflows"]]:
        merged |= component["args"]
    return merged


def _digest(job: Path) -> dict[str, str]:
    return {p.relative_to(job).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in _files(job)}


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_every_field_lands_where_nvflare_reads_it(tmp_path: Path) -> None:
    """C1, C2, M7, N2."""
    training = TrainingConfig(
        num_classes=7, local_epochs=3, batch_size=9, learning_rate=1e-4, img_size=31, extra={"depth": 2}
    )
    federation = FederationConfig(
        num_rounds=4,
        min_clients=3,
        wait_time_after_min_received=0,
        job_name="mine",
        round_timeout_seconds=77,
        deterministic=True,
        seed=0,
        num_threads=2,
        keep_last=6,
        max_samples_per_site=900,
        task_request_interval=0.25,
    )
    job = _render(
        tmp_path,
        training=training,
        federation=federation,
        model_path="model_def.Net",
        model_args={"width": 5},
        shards_dir="/on/the/sites",
        data_dir="/data",
        adapter_args={"channels": 1},
    )
    assert json.loads((job / "meta.json").read_text()) == {
        "name": "mine",
        "min_clients": 3,
        "deploy_map": {"app": ["@ALL"]},
        "resource_spec": {},
    }
    server = _resolved(job / "app/config/config_fed_server.json")
    assert server["server"] == {"task_request_interval": 0.25}
    expected = {
        "num_rounds": 4,
        "min_clients": 3,
        "wait_time_after_min_received": 0,
        "round_timeout_seconds": 77,
        "deterministic": True,
        "keep_last": 6,
        "max_samples_per_site": 900,
        "seed": 0,
        "model_path": "model_def.Net",
        "model_args": {"width": 5},
    }
    assert {key: _server_args(job)[key] for key in expected} == expected
    expected = {
        "num_classes": 7,
        "local_epochs": 3,
        "batch_size": 9,
        "learning_rate": 1e-4,
        "img_size": 31,
        "extra": {"depth": 2},
        "seed": 0,
        "num_threads": 2,
        "model_path": "model_def.Net",
        "model_args": {"width": 5},
        "adapter": "manifest",
        "adapter_args": {"channels": 1},
        "shards_dir": "/on/the/sites",
        "site_shards": {"site-1": 1, "site-2": 2, "site-3": 3},
        "data_dir": "/data",
    }
    assert {key: _executor_args(job)[key] for key in expected} == expected


def test_a_job_has_no_file_that_nvflare_would_misread(tmp_path: Path) -> None:
    """T12, T13: no application.conf, no comm_config.json, one configuration of each kind."""
    names = {path.relative_to(tmp_path / "job").as_posix() for path in _files(_render(tmp_path))}
    assert names == {
        "meta.json",
        "app/config/config_fed_server.json",
        "app/config/config_fed_client.json",
        "app/custom/model_def.py",
    }


@settings(max_examples=40, deadline=None)
@given(model_args=ARGUMENTS, extra=ARGUMENTS)
def test_arguments_survive_rendering_submission_and_substitution(
    model_args: dict[str, Any], extra: dict[str, Any]
) -> None:
    """M7, N2: `nvflare job submit` writes every configuration anew; what NVFlare resolves is what was given."""
    with TemporaryDirectory() as folder:
        job = _render(Path(folder), model_args=model_args, training=TrainingConfig(extra=extra))
        prepare_job_config(Namespace(job_folder=str(job)), ["app"], str(job))
        for args in (_executor_args(job), _server_args(job)):
            assert (args["model_args"] or {}) == model_args
        assert (_executor_args(job)["extra"] or {}) == extra


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """C5."""
    first = _digest(_render(tmp_path, model_args={"b": 1, "a": [1.5, None]}))
    second = _digest(_render(tmp_path, model_args={"b": 1, "a": [1.5, None]}))
    assert first == second


def test_rendering_again_leaves_nothing_of_the_job_before(tmp_path: Path) -> None:
    """C5."""
    extra = tmp_path / "vocabulary.txt"
    extra.write_text("a b c")
    job = _render(tmp_path, extra_files=[extra])
    assert (job / "app/custom/vocabulary.txt").read_text() == "a b c"
    _render(tmp_path)
    assert not (job / "app/custom/vocabulary.txt").exists()


def test_a_folder_that_is_no_job_is_not_replaced(tmp_path: Path) -> None:
    """C5."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "thesis.tex").write_text("years of work")
    with pytest.raises(JobError, match="is no job folder"):
        _render(tmp_path)
    assert (tmp_path / "job" / "thesis.tex").read_text() == "years of work"


def test_modules_beside_the_users_are_shipped(tmp_path: Path) -> None:
    """M7."""
    (tmp_path / "model_def.py").write_text("import layers_of_mine\n")
    (tmp_path / "layers_of_mine.py").write_text("x = 1\n")
    job = _render(tmp_path)
    assert (job / "app/custom/layers_of_mine.py").read_text() == "x = 1\n"


def test_a_module_of_another_name_becomes_model_def(tmp_path: Path) -> None:
    """M7."""
    other = tmp_path / "my_net.py"
    other.write_text("x = 2\n")
    job = _render(tmp_path, model_def=other)
    assert (job / "app/custom/model_def.py").read_text() == "x = 2\n"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"federation": FederationConfig(min_clients=2)}, "min_clients is 2 of 3 sites"),
        ({"federation": FederationConfig(min_clients=3, heart_beat_timeout=60)}, r"local/resources\.json"),
        ({"federation": FederationConfig(min_clients=3, task_request_interval=0.01)}, "300 requests a second"),
    ],
)
def test_a_choice_with_consequences_is_said_aloud(tmp_path: Path, changes: Mapping[str, Any], text: str) -> None:
    """C2."""
    with pytest.warns(UserWarning, match=text):
        _render(tmp_path, **changes)


def test_the_usual_choices_warn_of_nothing(tmp_path: Path) -> None:
    """C2."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _render(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"federation": FederationConfig(min_clients=4)}, ConfigError, "min_clients is 4, but there are only 3 sites"),
        ({"model_args": {"sizes": (1, 2)}}, ConfigError, r"model_args\.sizes: found \(1, 2\) of type tuple"),
        ({"model_args": {"a": {"b": float("nan")}}}, ConfigError, r"model_args\.a\.b: found nan"),
        ({"model_args": {"a": ["{seed}"]}}, ConfigError, r"model_args\.a\[0\]: found '\{seed\}'; NVFlare reads braces"),
        ({"model_args": {"a": {"b.c": 1}}}, ConfigError, r"model_args\.a: found the key 'b\.c'"),
        ({"model_args": {"n": 2**63}}, ConfigError, "at most 64 bits"),
        ({"model_args": {"path": "a.b"}}, ConfigError, r"model_args\.path: .* for a component"),
        ({"model_args": {"name": "NPTrainer"}}, ConfigError, r"model_args\.name: .* for a component"),
        ({"model_args": {"config_type": "dict"}}, ConfigError, r"model_args\.config_type"),
        ({"data_dir": "/data/{site}"}, ConfigError, "data_dir: found"),
        ({"template": "rt_nothing"}, ConfigError, "job template .rt_nothing. is not installed"),
        ({"adapter": "manifst"}, ConfigError, "dataset adapter 'manifst' is not installed. Did you mean 'manifest'"),
        ({"client_variables": {"BATCHSIZE": 3}}, ConfigError, "did you mean 'BATCH_SIZE'"),
        ({"model_def": Path("/nowhere/model_def.py")}, JobError, "no such file"),
        ({"extra_files": [Path("/nowhere/words.txt")]}, JobError, "no such file"),
        ({"sites": ["a", "a"]}, ConfigError, "a stand for the same folder"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, changes: Mapping[str, Any], error: type[Exception], text: str
) -> None:
    """C6, M7."""
    with pytest.raises(error, match=text):
        _render(tmp_path, **changes)
    assert not (tmp_path / "job").exists()


def test_a_name_of_a_model_is_no_component(tmp_path: Path) -> None:
    """M7: `name` is what model factories call their choice."""
    job = _render(tmp_path, model_args={"name": "resnet18"})
    assert _executor_args(job)["model_args"] == {"name": "resnet18"}


def test_the_number_of_shards_must_be_that_of_the_sites(tmp_path: Path) -> None:
    """K1: with both numbers."""
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in (1, 2):
        (shards / f"shard_000{number}.zip").touch()
    with pytest.raises(JobError, match="found 2 shards for 3 sites"):
        _render(tmp_path, shards_dir=shards)
    (shards / "shard_0004.zip").touch()
    with pytest.raises(ShardError, match=r"shard_0003\.zip is missing"):
        _render(tmp_path, shards_dir=shards)


def _shards(folder: Path, *labels: int) -> Path:
    samples = [ShardSample(f"s{n}", b"x", f"{n}.bin", (label,)) for n, label in enumerate(labels)]
    build_shards(samples, [[n] for n in range(len(labels))], folder)
    return folder


def test_the_number_of_classes_comes_from_the_labels_of_all_shards(tmp_path: Path) -> None:
    """C4"""
    job = _render(tmp_path, shards_dir=_shards(tmp_path / "shards", 2, 6, 0))
    assert _resolved(job / "app/config/config_fed_client.json")["NUM_CLASSES"] == 7
    job = _render(tmp_path, shards_dir=tmp_path / "shards", training=TrainingConfig(num_classes=9))
    assert _resolved(job / "app/config/config_fed_client.json")["NUM_CLASSES"] == 9


def test_a_label_beyond_the_number_of_classes_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    """C4: the message names the sample."""
    shards = _shards(tmp_path / "shards", 2, 6, 0)
    with pytest.raises(DataError, match=r"shard_0002\.zip/manifest\.ndjson:1: sample 's1': found label 6"):
        _render(tmp_path, shards_dir=shards, training=TrainingConfig(num_classes=3))
    assert not (tmp_path / "job").exists()


def test_shards_without_manifests_leave_the_number_of_classes_to_user_code(tmp_path: Path) -> None:
    """C4, K10"""
    (tmp_path / "shards").mkdir()
    for number in (1, 2, 3):
        with zipfile.ZipFile(tmp_path / "shards" / f"shard_000{number}.zip", "w") as archive:
            archive.writestr("rows.csv", "1,2\n")
    job = _render(tmp_path, shards_dir=tmp_path / "shards")
    assert _resolved(job / "app/config/config_fed_client.json")["NUM_CLASSES"] == 0


@pytest.mark.parametrize("ending", ["json", "conf", "yml"])
def test_a_file_that_nvflare_would_rewrite_is_said_aloud(tmp_path: Path, ending: str) -> None:
    """N2: `nvflare job submit` parses such files, in the code's folder too."""
    extra = tmp_path / f"labels.{ending}"
    extra.write_text("[]")
    with pytest.warns(UserWarning, match=f"labels.{ending}.*rewrites"):
        _render(tmp_path, extra_files=[extra])
