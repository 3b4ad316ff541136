"""The jsonl adapter in a federation: which package of the standard library does a docstring belong to? (P4)"""

from __future__ import annotations

import ast
import importlib.util
import json
import random
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.render import render_job
from rt_flare.jobs.simulator import run_simulator
from rt_flare_jsonl.adapter import JsonLinesAdapter

MODEL_DEF = Path(__file__).parents[1] / "example" / "model_def.py"
PACKAGES = ["asyncio", "email", "importlib", "logging", "unittest", "xml"]
OPTIONS: dict[str, Any] = {"file": "docs.jsonl", "classes": PACKAGES, "max_tokens": 64, "num_buckets": 4096}
SITES = ["site-1", "site-2", "site-3"]


def docstrings(package: str) -> list[str]:
    """The docstrings of at least four words in a package's source, sorted, each once."""
    found = set()
    for file in (Path(sysconfig.get_path("stdlib")) / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                found.update([text] if len(text.split()) >= 4 else [])
    return sorted(found)


def write_lines(file: Path, rows: list[dict[str, str]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def model_of(global_model: Path) -> Any:
    spec = importlib.util.spec_from_file_location("jsonl_model_def", MODEL_DEF)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(len(PACKAGES))
    model.load_state_dict(torch.load(global_model, weights_only=True), strict=True)
    return model.eval()


@pytest.mark.slow
@pytest.mark.simulator
def test_three_sites_learn_to_tell_packages_by_their_documentation(tmp_path: Path) -> None:
    """P4, K10: the class names of a shard become indices that all sites agree on."""
    rows = [{"text": text, "label": package} for package in PACKAGES for text in docstrings(package)]
    random.Random(0).shuffle(rows)
    held_out, training = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(1, 4):
        lines = write_lines(tmp_path / "rows" / str(number), training[number - 1 :: 3])
        with zipfile.ZipFile(shards / f"shard_{number:04d}.zip", "w") as archive:
            archive.write(lines, "docs.jsonl")
    job = render_job(
        out=tmp_path / "job",
        model_def=MODEL_DEF,
        model_args={"num_classes": len(PACKAGES)},
        training=TrainingConfig(learning_rate=0.02, local_epochs=2),
        federation=FederationConfig(num_rounds=5, min_clients=3, seed=0, num_threads=1),
        sites=SITES,
        shards_dir=shards,
        data_dir=tmp_path / "data",
        adapter="jsonl",
        adapter_args=OPTIONS,
        client_variables={"ISOLATION": "none"},
    )
    outcome = run_simulator(job, tmp_path / "run", SITES)
    assert outcome.state is JobState.FINISHED, outcome.error
    assert [record.num_samples for record in outcome.rounds] == [len(training)] * 5

    write_lines(tmp_path / "held_out" / "docs.jsonl", held_out)
    dataset = JsonLinesAdapter(**OPTIONS).open(tmp_path / "held_out", manifest_file="", env={})
    tokens = torch.stack([dataset[index][0] for index in range(len(dataset))])
    scores = model_of(outcome.server_dir / "model_out" / "global_model.pt")(tokens)
    accuracy = (scores.argmax(dim=1) == torch.from_numpy(dataset.targets)).double().mean().item()
    assert accuracy >= 0.8, "the most frequent of the six packages alone would give about 0.2"
