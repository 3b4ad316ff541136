"""The benchmark of a large model compares like with like (T2)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from benchmarks.large_model import CLIENT_SCRIPT, MODEL_DEF, _peak_if_server, write_own_job


def test_training_is_the_same_under_every_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """T2: a constant is added to every weight; NVFlare's script adds the same one."""
    monkeypatch.setenv("MODEL_MEGABYTES", "1")
    monkeypatch.syspath_prepend(str(MODEL_DEF.parent))
    monkeypatch.delitem(sys.modules, "model_def", raising=False)
    import model_def  # type: ignore[import-not-found]

    model = model_def.Model()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert sum(tensor.nbytes for tensor in start.values()) == pytest.approx(1e6, rel=0.1)
    ours = model_def.fl_train_model({"initial_weights": {name: t.clone() for name, t in start.items()}}, "")
    published = model_def.fl_train(model, {}, "")
    assert ours["samples"] == published["samples"]
    for name, tensor in start.items():
        assert torch.equal(ours["weights"][name], tensor + 0.001)
        assert torch.equal(published["weights"][name], tensor + 0.001)
    assert "value += 0.001" in CLIENT_SCRIPT.read_text()
    assert "value += 0.001" in MODEL_DEF.read_text()


@pytest.mark.parametrize("wire_dtype", ["", "bfloat16"])
def test_our_job_is_the_large_models_template(tmp_path: Path, wire_dtype: str) -> None:
    """T2"""
    job = write_own_job(tmp_path / "job", num_rounds=3, num_sites=2, wire_dtype=wire_dtype)
    client = json.loads((job / "app/config/config_fed_client.json").read_text())
    server = json.loads((job / "app/config/config_fed_server.json").read_text())
    assert client["WIRE_DTYPE"] == wire_dtype
    assert client["tensor_download_chunk_size"] == server["tensor_download_chunk_size"] == 16 << 20
    assert server["MAX_UPDATES_IN_MEMORY"] > 0


def test_the_servers_peak_is_that_of_its_process() -> None:
    """T2: in bytes; sites and training workers do not count, nor does a process that has ended."""
    assert _peak_if_server(psutil.Process()) >= psutil.Process().memory_info().rss * 0.9
    code = "import time; print(flush=True); time.sleep(60)"
    child = psutil.Popen([sys.executable, "-c", code, "simulator_worker"], stdout=subprocess.PIPE)
    assert child.stdout.readline()  # its command line is there
    assert _peak_if_server(child) == 0.0
    child.kill()
    child.wait()
    child.stdout.close()
    assert _peak_if_server(child) == 0.0
