"""A federation whose sites fetch their shards by signed URL, and whose results go back to the bucket (J7, K8, K9)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.upload import upload_files, upload_shards
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.render import render_job
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.simulator import run_simulator

pytestmark = [pytest.mark.slow, pytest.mark.simulator]

SITES = ["site-1", "site-2"]
MODEL_DEF = """
from torch import nn
from rt_flare import open_dataset

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

def fl_train_model(payload, out_dir, logger=None):
    dataset = open_dataset(payload)
    brightness = float(sum(image.mean() for image, label in dataset) / len(dataset))
    logger.info("data_root is %s", payload["dataset"]["data_root"])
    return {"weights": payload["initial_weights"], "samples": len(dataset), "metrics": {"brightness": brightness}}
"""


def picture(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards: dark pictures for the first site, bright ones for the second."""
    samples = [ShardSample(f"s{n}", picture(0 if n < 3 else 255), f"images/{n}.png", (n % 2,)) for n in range(7)]
    build_shards(samples, [[0, 1, 2], [3, 4, 5, 6]], tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., RunOutcome]:
    def run(**options: Any) -> RunOutcome:
        model_def = tmp_path / "model_def.py"
        model_def.write_text(MODEL_DEF)
        job = render_job(
            out=tmp_path / "job",
            model_def=model_def,
            training=TrainingConfig(img_size=8, num_classes=2),
            federation=FederationConfig(num_rounds=2, min_clients=2, job_name="digits", round_timeout_seconds=120),
            sites=SITES,
            data_dir=tmp_path / "data",
            **options,
        )
        return run_simulator(job, tmp_path / "run", SITES)

    return run


def everything_below(*folders: Path) -> bytes:
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_sites_fetch_by_signed_url_and_results_go_back(
    s3_server: Any, shards: Path, run: Callable[..., RunOutcome], tmp_path: Path
) -> None:
    """J7, K8, K9: and neither URL nor credential is in the job, the logs or the results."""
    bucket = f"{s3_server.url}/jobs/digits"
    upload_shards(shards, f"{bucket}/shards")
    outcome = run(shards_url=f"{bucket}/shards")
    assert outcome.state is JobState.FINISHED, outcome.error
    seen = {c.site: (c.num_samples, c.train_metrics["brightness"]) for c in outcome.rounds[0].contributions}
    assert seen == {"site-1": (3, 0.0), "site-2": (4, 1.0)}
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"1", "2"}

    upload_files({str(p.relative_to(tmp_path / "out")): p for p in collect_results(outcome, tmp_path / "out")}, bucket)
    names = {str(path.relative_to(s3_server.folder / "jobs" / "digits")) for path in s3_server.folder.rglob("*.*")}
    assert {"files_out/metrics.json", "files_out/client_2.log", "model_out/global_model.pt"} <= names
    assert "shards/shard_0002.zip.sha256" in names

    logs = everything_below(tmp_path / "run")
    assert b"signed a URL for site-2: shard_0002.zip" in logs
    for text in [logs, everything_below(tmp_path / "job"), everything_below(tmp_path / "out")]:
        for secret in [b"X-Amz-", b"Signature=", s3_server.secret.encode(), b"127.0.0.1:%d" % s3_server.wire.port]:
            assert secret not in text
