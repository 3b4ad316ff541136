"""Global models on disk: whole, in order, never lost silently, and loadable without us (J11, X1, X4, M8, M10)."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core import checkpoints
from rt_flare.core.checkpoints import BEST_MODEL, GLOBAL_MODEL, CheckpointWriter, RoundModel, load_checkpoint
from rt_flare.core.checkpoints import round_model_name as name_of
from rt_flare.core.durable_io import read_json, to_strict_json, write_json
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.state_dict import StateDict, describe
from rt_flare.errors import StateDictError

MODEL_SOURCE = """
import torch
class Model(torch.nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width))
        self.tied = torch.nn.Linear(2, width, bias=False)
        self.tied.weight = self.layers[0].weight
        self.register_buffer("table", torch.arange(4, dtype=torch.uint8))
        self.scale = torch.nn.Parameter(torch.ones(2).bfloat16())
"""
PORTABLE = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("rt_flare", "nvflare"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
for name in ("rt_flare", "nvflare"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} is not blocked")
import torch
sys.path.insert(0, sys.argv[1])
import portable_model
for path in sys.argv[2:]:
    sidecar = json.load(open(path[:-2] + "json"))
    state = torch.load(path, weights_only=True)
    assert type(state) is dict, type(state)
    model = portable_model.Model(**sidecar["model_args"])
    model.load_state_dict(state, strict=True)
    print(sidecar["round"], float(sum(tensor.double().sum() for tensor in model.state_dict().values())))
"""
FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from rt_flare.core.checkpoints import CheckpointWriter, RoundModel
from rt_flare.core.model_spec import ModelSpec
writer = CheckpointWriter(Path(sys.argv[1]))
writer.save(RoundModel(round=0, weights={"w": torch.zeros(10)}, model=ModelSpec()))
writer.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
writer.save(RoundModel(round=1, weights={"w": torch.ones(1_000_000)}, model=ModelSpec()))
for call in (writer.flush, writer.close):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[CheckpointWriter]:
    writer = CheckpointWriter(tmp_path)
    yield writer
    writer.close()


def model(round_number: int, **fields: Any) -> RoundModel:
    weights = {"w": torch.full((50, 3), float(round_number)), "n": torch.tensor(round_number)}
    return RoundModel(round=round_number, weights=weights, model=ModelSpec(), **fields)


def round_in(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["n"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check_pair(path: Path) -> dict[str, Any]:
    """The sidecar, whose name, size and hash are those of the model beside it."""
    sidecar = read_json(path.with_suffix(".json"))
    content = path.read_bytes()
    assert sidecar["sha256"] == hashlib.sha256(content).hexdigest()
    assert sidecar["size_bytes"] == len(content)
    assert sidecar["file"] == path.name
    return dict(sidecar)


def test_every_round_has_a_model_and_its_sidecar(tmp_path: Path, writer: CheckpointWriter) -> None:
    """J11, X4: and the global model is that of the last round."""
    for number in range(3):
        writer.save(model(number))
    writer.flush()
    assert names(tmp_path) == sorted(
        [*(f"model_round_{n}.{ext}" for n in range(3) for ext in ("pt", "json")), GLOBAL_MODEL, "global_model.json"]
    )
    for number in range(3):
        assert round_in(tmp_path / name_of(number)) == check_pair(tmp_path / name_of(number))["round"] == number
    assert round_in(tmp_path / GLOBAL_MODEL) == check_pair(tmp_path / GLOBAL_MODEL)["round"] == 2


@given(
    metrics=st.dictionaries(st.text("abc"), st.floats(), max_size=3),
    num_samples=st.none() | st.integers(0, 2**53),
    contributors=st.lists(st.text(max_size=5), max_size=3),
    args=st.dictionaries(st.text("abc"), st.integers() | st.text("xyz") | st.lists(st.booleans()), max_size=3),
)
def test_sidecars_keep_to_the_published_schema(metrics: Any, num_samples: Any, contributors: Any, args: Any) -> None:
    """X4, J10: with NaN among the metrics; and the schema names exactly the fields that are written."""
    schema = json.loads(files("rt_flare").joinpath("schemas", "model.schema.json").read_text(encoding="utf-8"))
    spec = ModelSpec.model_construct(path="model_def.Model", args=args)
    saved = RoundModel(3, {}, spec, contributors=contributors, num_samples=num_samples, metrics=metrics)
    document = checkpoints._sidecar(saved, name_of(3), "0" * 64, 10)
    assert list(document) == list(schema["properties"])
    strict = json.loads(json.dumps(to_strict_json(document), allow_nan=False))
    jsonschema.Draft202012Validator(schema).validate(strict)


def test_the_sidecar_tells_what_the_model_is(tmp_path: Path, writer: CheckpointWriter) -> None:
    """X4: round, path and arguments, contributors, samples, metrics, versions."""
    spec = ModelSpec(path="model_def.make", args={"width": 4})
    saved = RoundModel(7, {"w": torch.ones(1)}, spec, ["site-1", "site-2"], 12, {"acc": math.nan})
    writer.save(saved)
    writer.flush()
    sidecar = check_pair(tmp_path / name_of(7))
    assert sidecar["schema"] == "rt_flare.model/1"
    assert (sidecar["model_path"], sidecar["model_args"]) == ("model_def.make", {"width": 4})
    assert (sidecar["contributors"], sidecar["num_samples"]) == (["site-1", "site-2"], 12)
    assert sidecar["metrics"] == {"acc": "NaN"}
    assert {"python", "torch", "numpy"} <= sidecar["versions"].keys()


@pytest.mark.parametrize(("keep_last", "kept"), [(0, [0, 1, 2, 3, 4]), (1, [3, 4]), (2, [3, 4]), (3, [2, 3, 4])])
def test_older_rounds_are_removed(tmp_path: Path, keep_last: int, kept: list[int]) -> None:
    """J11: retention is configurable; the newest but one may yet be the best."""
    writer = CheckpointWriter(tmp_path, keep_last=keep_last)
    for number in range(5):
        writer.save(model(number))
    writer.close()
    for suffix in (".pt", ".json"):
        assert [int(path.stem.rsplit("_", 1)[1]) for path in sorted(tmp_path.glob(f"model_round_*{suffix}"))] == kept
    assert round_in(tmp_path / GLOBAL_MODEL) == 4


def test_a_round_saved_again_is_one_round(tmp_path: Path) -> None:
    """J11, X8: it does not push out an older one, and is not removed as its own predecessor."""
    writer = CheckpointWriter(tmp_path, keep_last=2)
    for number in (0, 1, 1, 2):
        writer.save(model(number))
    writer.close()
    assert [name for name in names(tmp_path) if name.startswith("model") and name.endswith(".pt")] == [
        name_of(1),
        name_of(2),
    ]


def test_the_best_model_outlives_its_round(tmp_path: Path) -> None:
    """X4: marked one round later, kept when the round's file is removed."""
    writer = CheckpointWriter(tmp_path, keep_last=2)
    for number in range(6):
        writer.save(model(number))
        if number == 2:
            writer.mark_best(1)
    writer.close()
    assert not (tmp_path / name_of(1)).exists()
    assert round_in(tmp_path / BEST_MODEL) == check_pair(tmp_path / BEST_MODEL)["round"] == 1


def test_a_better_model_replaces_the_best(tmp_path: Path, writer: CheckpointWriter) -> None:
    """X4: marking the same one again is no error."""
    for number in range(3):
        writer.save(model(number))
        writer.mark_best(number)
        writer.mark_best(number)
    writer.flush()
    assert check_pair(tmp_path / BEST_MODEL)["round"] == 2


def test_a_best_model_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """X4: never the wrong one."""
    writer = CheckpointWriter(tmp_path, keep_last=2)
    for number in range(4):
        writer.save(model(number))
    writer.mark_best(0)
    with pytest.raises(FileNotFoundError, match="model_round_0"):
        writer.close()
    assert not (tmp_path / BEST_MODEL).exists()


def test_file_systems_without_links_get_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: CheckpointWriter
) -> None:
    """J11, J7: as on a network mount."""

    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    for number in range(2):
        writer.save(model(number))
    writer.flush()
    assert check_pair(tmp_path / GLOBAL_MODEL)["round"] == round_in(tmp_path / GLOBAL_MODEL) == 1
    assert all(path.is_file() for path in tmp_path.iterdir())


def test_readers_always_see_a_whole_model_and_never_an_older_one(tmp_path: Path, writer: CheckpointWriter) -> None:
    """J11: while rounds are saved."""
    writer.save(model(0))
    writer.flush()
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(round_in(tmp_path / GLOBAL_MODEL))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 25):
        writer.save(model(number))
    writer.flush()
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


def test_saving_does_not_wait_for_the_disk_but_the_next_model_waits_until_the_last_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: CheckpointWriter
) -> None:
    """J11: off the round's critical path, and never two rounds behind it."""
    gate, real = threading.Event(), checkpoints._save

    def slow(path: Path, weights: StateDict) -> str:
        gate.wait(10)
        return real(path, weights)

    monkeypatch.setattr(checkpoints, "_save", slow)
    writer.save(model(0))
    assert names(tmp_path) == []
    found = []
    next_round = threading.Thread(
        target=lambda: [writer.save(model(1)), found.append(round_in(tmp_path / GLOBAL_MODEL))]
    )
    next_round.start()
    next_round.join(0.2)
    assert next_round.is_alive()
    gate.set()
    next_round.join()
    assert found[0] >= 0
    writer.flush()
    assert round_in(tmp_path / GLOBAL_MODEL) == 1


@pytest.mark.parametrize("call", ["flush", "save", "close"])
def test_a_failed_save_is_raised_and_stays(tmp_path: Path, call: str) -> None:
    """X1: the folder has become a file; nothing later pretends to have saved."""
    folder = tmp_path / "model_out"
    folder.write_text("in the way", encoding="utf-8")
    writer = CheckpointWriter(folder)
    writer.save(model(0))
    calls: dict[str, Callable[[], None]] = {
        "flush": writer.flush,
        "save": lambda: [writer._queue.join(), writer.save(model(1))][-1],
        "close": writer.close,
    }
    for name in (call, "save", "flush", "close"):
        with pytest.raises(FileExistsError):
            calls[name]()
    assert folder.read_text(encoding="utf-8") == "in the way"


def test_a_full_disk_keeps_the_last_good_model(tmp_path: Path) -> None:
    """X1, X4: a real limit on the size of files."""
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    errors = result.stdout.splitlines()
    assert len(errors) == 2
    assert errors[0] == errors[1]
    assert os.strerror(27) in errors[0]
    assert names(tmp_path) == ["global_model.json", GLOBAL_MODEL, "model_round_0.json", name_of(0)]
    assert check_pair(tmp_path / GLOBAL_MODEL)["round"] == 0


def test_a_closed_writer_saves_nothing_more(tmp_path: Path) -> None:
    """X1: and says so, instead of taking a model that nobody writes."""
    writer = CheckpointWriter(tmp_path)
    for _ in range(3):
        writer.close()
    for call in (lambda: writer.save(model(0)), lambda: writer.mark_best(0)):
        with pytest.raises(ValueError, match="the checkpoint writer is closed"):
            call()
    writer.flush()


def test_a_saved_model_loads_without_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J11: strictly, in an interpreter where nvflare and rt_flare cannot be imported."""
    (tmp_path / "portable_model.py").write_text(MODEL_SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = ModelSpec(path="portable_model.Model", args={"width": 5})
    out = tmp_path / "model_out"
    writer = CheckpointWriter(out)
    sums = []
    for number in range(2):
        torch.manual_seed(number)
        weights = spec.build().state_dict()
        sums.append(f"{number} {float(sum(tensor.double().sum() for tensor in weights.values()))}")
        writer.save(RoundModel(number, dict(weights), spec))
    writer.mark_best(0)
    writer.close()
    paths = [str(out / name) for name in (name_of(0), name_of(1), GLOBAL_MODEL, BEST_MODEL)]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PORTABLE), str(tmp_path), *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [sums[0], sums[1], sums[1], sums[0]]


STATE = {"w": torch.arange(3.0), "n": torch.tensor(4)}


@pytest.mark.parametrize("key", [None, "model", "model_state", "model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_a_warm_start_is_unwrapped(tmp_path: Path, key: str | None, prefix: str) -> None:
    """M8, M10: as training scripts save it."""
    state = {f"{prefix}{name}": tensor for name, tensor in STATE.items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "start.pt")
    loaded = load_checkpoint(tmp_path / "start.pt", describe(STATE))
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**STATE, "extra": torch.ones(1)}, r"unexpected \(1\): extra"),
        ({"w": STATE["w"]}, r"missing \(1\): n"),
        ({**STATE, "w": torch.ones(4)}, r"w: float32\[4\], expected float32\[3\]"),
        ({**STATE, "w": 3}, "w: found int, expected a tensor"),
        (torch.ones(3), "found Tensor, expected a state dict"),
    ],
)
def test_a_warm_start_that_does_not_fit_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    """M8, M10"""
    torch.save(content, tmp_path / "start.pt")
    with pytest.raises(StateDictError, match=message):
        load_checkpoint(tmp_path / "start.pt", describe(STATE))


@pytest.mark.parametrize("content", [None, b"", b"text", pickle.dumps({"w": Path("x")}, protocol=2)])
def test_a_warm_start_is_read_as_weights_only(tmp_path: Path, content: bytes | None) -> None:
    """M8: a missing file is an error too."""
    path = tmp_path / "start.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StateDictError, match=r"start\.pt: cannot be read as weights only"):
        load_checkpoint(path, describe(STATE))


def test_a_sidecar_written_by_us_can_be_written_again(tmp_path: Path, writer: CheckpointWriter) -> None:
    """X4: it is plain JSON."""
    writer.save(model(0, metrics={"acc": math.inf}))
    writer.flush()
    document = read_json(tmp_path / "global_model.json")
    write_json(tmp_path / "copy.json", document)
    assert read_json(tmp_path / "copy.json") == document
