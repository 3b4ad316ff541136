"""`ResonTech.build`, and what `rt_submit` refuses before anything is sent."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError

from rt_flare import FederationConfig, ResonTech, ResonTechConfig, TrainingConfig
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.manifest_scan import ManifestScan
from rt_flare.errors import ConfigError, ContractError, JobError, ShardError

MODEL_DEF = """
class Net: ...

class Outer:
    class Inner: ...

def fl_train_model(payload, out_dir, logger=None): ...
"""
OWN = """
from nvflare.apis.executor import Executor
from nvflare.app_common.abstract.model_persistor import ModelPersistor
import arithmetic_of_mine

class MyExecutor(Executor):
    def __init__(self, learning_rate_factor=1.0, data_root=""): ...
    def execute(self, *args): ...

class MyPersistor(ModelPersistor):
    def __init__(self, model_path, seed=None): ...

class Greedy(ModelPersistor):
    def __init__(self, appetite): ...
"""


@pytest.fixture
def sdk(tmp_path: Path) -> ResonTech:
    (tmp_path / "model_def.py").write_text(MODEL_DEF)
    (tmp_path / "data").mkdir()
    return ResonTech(ResonTechConfig(storage=str(tmp_path)))


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _config(job: Path, side: str) -> dict[str, object]:
    return dict(json.loads((job / "app" / "config" / f"config_fed_{side}.json").read_text()))


def test_the_same_arguments_give_the_same_bytes_wherever_they_are_written(sdk: ResonTech, tmp_path: Path) -> None:
    """C5: what can be inspected is what would be submitted."""
    arguments = {
        "model": tmp_path / "model_def.py",
        "name": "mine",
        "sites": ["a", "b"],
        "data_root": tmp_path / "data",
        "training": TrainingConfig(batch_size=4),
        "federation": FederationConfig(num_rounds=7, min_clients=2),
    }
    inspected = sdk.build(out=tmp_path / "look" / "job", **arguments)
    default = sdk.build(**arguments)
    assert default == tmp_path / "jobs" / "mine" / "job"
    assert _content(inspected) == _content(default)
    assert json.loads((default / "meta.json").read_text())["name"] == "mine"
    assert _config(default, "server")["NUM_ROUNDS"] == 7
    assert _config(default, "client")["BATCH_SIZE"] == 4


def test_a_model_is_a_class_of_a_module(sdk: ResonTech, tmp_path: Path) -> None:
    """C5, M7: its module is shipped as model_def.py."""
    module = _load(tmp_path / "model_def.py", "sdk_model_def")
    job = sdk.build(model=module.Net, sites=["a"], data_root=tmp_path / "data")
    assert _config(job, "server")["MODEL_PATH"] == "model_def.Net"
    assert (job / "app" / "custom" / "model_def.py").read_text() == MODEL_DEF
    with pytest.raises(ContractError, match=r"Outer\.Inner: found a definition inside another one"):
        sdk.build(model=module.Outer.Inner, sites=["a"])
    with pytest.raises(ConfigError, match="expected a path, a class or a function, not a model"):
        sdk.build(model=module.Net(), sites=["a"])  # type: ignore[arg-type]
    namespace: dict[str, type] = {}
    exec("class Cell: ...", {"__name__": "nowhere"}, namespace)
    with pytest.raises(ContractError, match="Cell: found no source file"):
        sdk.build(model=namespace["Cell"], sites=["a"])


def test_what_would_fail_at_the_sites_is_refused_before_anything_is_sent(sdk: ResonTech, tmp_path: Path) -> None:
    """C6: all mistakes at once, with file and line."""
    module = tmp_path / "model_def.py"
    module.write_text("import torch\nclass Model(torch.nn.Module): ...\ndef fl_train_model(payload): return nothing\n")
    with pytest.raises(JobError, match=r"3 mistakes were found, and nothing was sent") as caught:
        sdk.rt_submit(model=module, name="broken", sites=["a"], data_root=tmp_path / "data", where="simulator")
    assert "undefined-name" in str(caught.value)
    assert "model_def.py:3" in str(caught.value)
    assert not (tmp_path / "jobs" / "broken" / "status.json").exists()


def test_shards_are_read_once_for_their_classes_and_their_check(
    sdk: ResonTech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C4, C6: the number of classes and every finding come from one pass, images included."""
    (tmp_path / "model_def.py").write_text(
        "import torch\nclass Model(torch.nn.Module): ...\ndef fl_train_model(payload, out_dir, logger=None): return x\n"
    )
    samples = [ShardSample(f"s{n}", b"no image", f"{n}.png", (n,)) for n in range(4)]
    build_shards(samples, [[0, 3], [1, 2]], tmp_path / "shards")
    passes: list[ManifestScan] = []
    walk = ManifestScan.__iter__
    monkeypatch.setattr(ManifestScan, "__iter__", lambda scan: (passes.append(scan), walk(scan))[1])
    with pytest.raises(JobError, match="6 mistakes were found") as caught:
        sdk.rt_submit(
            model=tmp_path / "model_def.py",
            name="once",
            shards_dir=tmp_path / "shards",
            federation=FederationConfig(min_clients=2),
            where="simulator",
        )
    assert str(caught.value).count("  image: ") == 4
    assert len(passes) == 2
    assert _config(tmp_path / "jobs" / "once" / "job", "client")["NUM_CLASSES"] == 4


def test_own_components_take_the_place_of_ours_and_are_shipped(sdk: ResonTech, tmp_path: Path) -> None:
    """M12: with the modules beside them; arguments that they do not take are left out."""
    (tmp_path / "own_parts.py").write_text(OWN)
    (tmp_path / "arithmetic_of_mine.py").write_text("ONE = 1\n")
    sys.path.insert(0, str(tmp_path))
    try:
        own = _load(tmp_path / "own_parts.py", "own_parts")
        parts = {"model": tmp_path / "model_def.py", "sites": ["a"], "data_root": tmp_path / "data"}
        job = sdk.build(**parts, executor=own.MyExecutor, persistor=own.MyPersistor)
        with pytest.raises(ConfigError, match="Greedy needs appetite"):
            sdk.build(**parts, name="greedy", persistor=own.Greedy)
        installed = sdk.build(**parts, name="ours", executor="nvflare.app_common.np.np_trainer.NPTrainer")
    finally:
        sys.path.remove(str(tmp_path))
    executor = _config(job, "client")["executors"][0]["executor"]  # type: ignore[index]
    assert executor == {"path": "own_parts.MyExecutor", "args": {"data_root": "{DATA_ROOT}"}}
    components = _config(job, "server")["components"]
    [persistor] = [c for c in components if c["id"] == "persistor"]  # type: ignore[attr-defined]
    assert persistor["path"] == "own_parts.MyPersistor"
    assert set(persistor["args"]) == {"model_path", "seed"}
    assert {"own_parts.py", "arithmetic_of_mine.py"} <= {path.name for path in (job / "app" / "custom").iterdir()}
    executor = _config(installed, "client")["executors"][0]["executor"]  # type: ignore[index]
    assert executor["path"] == "nvflare.app_common.np.np_trainer.NPTrainer"
    assert not (installed / "app" / "custom" / "np_trainer.py").exists()


def test_a_component_that_is_not_there_is_refused(sdk: ResonTech, tmp_path: Path) -> None:
    """C6."""
    for path in ("no_such_module.X", "rt_flare.errors.Nothing", "nodots"):
        with pytest.raises(ConfigError, match="expected the dotted path of a class"):
            sdk.build(model=tmp_path / "model_def.py", sites=["a"], executor=path)


def test_a_checkpoint_goes_along(sdk: ResonTech, tmp_path: Path) -> None:
    """M8."""
    (tmp_path / "start.pt").write_bytes(b"weights")
    job = sdk.build(model=tmp_path / "model_def.py", sites=["a"], model_checkpoint=tmp_path / "start.pt")
    assert _config(job, "server")["INITIAL_CHECKPOINT"] == "start.pt"
    assert (job / "app" / "custom" / "start.pt").read_bytes() == b"weights"


def test_requirements_are_checked_line_by_line(sdk: ResonTech, tmp_path: Path) -> None:
    """C6: all problems at once, before anything is sent."""
    path = tmp_path / "requirements.txt"
    path.write_text("# mine\npydantic>=2  # fine\nno-such-thing-xyz\npydantic==0.1\n>>>\nx; python_version < '3'\n")
    with pytest.raises(ConfigError) as refused:
        sdk.build(model=tmp_path / "model_def.py", sites=["a"], requirements_txt=path)
    lines = str(refused.value).splitlines()
    assert [line.removeprefix(str(path))[:3] for line in lines] == [":3:", ":4:", ":5:"]
    assert "no-such-thing-xyz is not installed" in lines[0]
    assert "expected ==0.1" in lines[1]
    path.write_text("pydantic>=2\n")
    job = sdk.build(model=tmp_path / "model_def.py", sites=["a"], requirements_txt=path)
    assert (job / "app" / "custom" / "requirements.txt").is_file()


def test_shards_decide_the_sites(sdk: ResonTech, tmp_path: Path) -> None:
    """K1: both numbers are in the message; and shards with a gap are refused."""
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in (1, 2):
        (shards / f"shard_{number:04}.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    job = sdk.build(model=tmp_path / "model_def.py", shards_dir=shards, federation=FederationConfig(min_clients=2))
    assert _config(job, "client")["SITE_SHARDS"] == {"site-1": 1, "site-2": 2}
    with pytest.raises(JobError, match="found 2 shards for 3 sites"), pytest.warns(UserWarning, match="of 3 sites"):
        sdk.build(model=tmp_path / "model_def.py", shards_dir=shards, sites=["a", "b", "c"])
    (shards / "shard_0001.zip").unlink()
    with pytest.raises(ShardError):
        sdk.build(model=tmp_path / "model_def.py", shards_dir=shards)


def test_a_storage_holds_the_shards_of_a_job(tmp_path: Path) -> None:
    """J7, C5: the configuration names the place, and no network is used for it."""
    (tmp_path / "model_def.py").write_text(MODEL_DEF)
    sdk = ResonTech(ResonTechConfig(storage="s3://bucket/home"))
    parts = {"model": tmp_path / "model_def.py", "name": "mine", "sites": ["a"], "out": tmp_path / "job"}
    job = sdk.build(**parts, shards_dir=tmp_path / "shards")
    assert _config(job, "server")["SHARDS_URL"] == "s3://bucket/home/jobs/mine/shards"
    job = sdk.build(**parts, shards_dir="s3://elsewhere/shards")
    assert _config(job, "server")["SHARDS_URL"] == "s3://elsewhere/shards"


def test_the_guides_names_and_defaults_are_kept() -> None:
    """C3: what is not used is accepted, with a warning that says so."""
    assert ResonTechConfig().base_url == "simulator:"
    assert ResonTechConfig().sftp_key_file == "~/.ssh/id_ed25519"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ResonTechConfig(email="me@example.com")
        assert said == []
        ResonTechConfig(password="tops3cret", sftp_key_file="~/.ssh/k")  # type: ignore[arg-type]
    assert [str(warning.message).split(":")[0] for warning in said] == ["password", "sftp_key_file"]


def test_a_password_is_shown_nowhere() -> None:
    """C3: not in repr, text, JSON, nor in the message about another field or about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = ResonTechConfig(password="tops3cret", sftp_key_file="/home/me/key-of-mine")  # type: ignore[arg-type]
    shown = [repr(config), str(config), config.model_dump_json(), repr(ResonTech(config).__dict__)]
    for arguments in ({"password": 12345678}, {"password": "tops3cret", "base_url": "https://example.com"}):
        with pytest.raises(ValidationError) as refused:
            ResonTechConfig(**arguments)  # type: ignore[arg-type]
        shown += [str(refused.value), repr(refused.value)]
    for text in shown:
        assert "tops3cret" not in text
        assert "12345678" not in text
        assert "key-of-mine" not in repr(config)


def test_a_storage_with_a_password_in_its_url_is_refused_without_showing_it() -> None:
    """C3: it would stand in the job's folder."""
    with pytest.raises(ValidationError, match="credentials go to the environment") as refused:
        ResonTechConfig(storage="s3://me:tops3cret@host/bucket")
    assert "tops3cret" not in str(refused.value)
