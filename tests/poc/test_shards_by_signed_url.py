"""A real deployment whose sites get their shards by signed URL, and one that tries to get another's (K2, K9)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.ledger import read_ledger
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.upload import upload_shards
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(420)]

SITES = ["site-1", "site-2", "site-3"]
MODEL_DEF = """
from pathlib import Path
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

def fl_train_model(payload, out_dir, logger=None):
    images = list((Path(payload["dataset"]["data_root"]) / "images").iterdir())
    return {"weights": payload["initial_weights"], "samples": len(images), "metrics": {"loss": 1.0}}
"""
CURIOUS = """
from nvflare.apis.fl_constant import ReservedKey

from rt_flare.components.executor import PayloadExecutor
from rt_flare.components.shard_urls import ask_for_shard


class Disguise:
    # Says of itself that it is site 1.
    def __init__(self, fl_ctx):
        self.fl_ctx = fl_ctx

    def get_all_public_props(self):
        return {**self.fl_ctx.get_all_public_props(), ReservedKey.IDENTITY_NAME: "site-1"}

    def __getattr__(self, name):
        return getattr(self.fl_ctx, name)


class CuriousExecutor(PayloadExecutor):
    # Site 2 tries to get what is site 1's, by asking for it and by taking its name.
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        if fl_ctx.get_identity_name() == "site-2":
            self.attempt("as itself", fl_ctx)
            self.attempt("in disguise", Disguise(fl_ctx))
        return super().execute(task_name, shareable, fl_ctx, abort_signal)

    def attempt(self, how, fl_ctx):
        try:
            got = ask_for_shard(1, fl_ctx)
        except Exception as error:
            self.logger.info(f"{how}: {error}")
        else:
            self.logger.info(f"{how}: got {got.url}")
"""


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    return content.getvalue()


def test_a_site_gets_its_own_shard_and_no_other(s3_server: Any, tmp_path: Path) -> None:
    """K2, K9: the name that NVFlare's server has verified counts. A third site brings its own shard."""
    samples = [ShardSample(f"s{n}", picture(), f"images/{n}.png", (0,)) for n in range(9)]
    build_shards(samples, [[0], [1, 2], [3, 4, 5]], tmp_path / "shards")
    (own,) = build_shards(samples, [[5, 6, 7, 8]], tmp_path / "own")
    upload_shards(tmp_path / "shards", "s3://bucket/jobs/x/shards")
    (tmp_path / "model_def.py").write_text(MODEL_DEF)
    (tmp_path / "curious.py").write_text(CURIOUS)
    job = render_job(
        out=tmp_path / "job",
        model_def=tmp_path / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(num_rounds=1, min_clients=3, round_timeout_seconds=120, num_threads=1),
        sites=SITES,
        shards_url="s3://bucket/jobs/x/shards",
        data_dir=tmp_path / "data",
        extra_files=[tmp_path / "curious.py"],
    )
    config = job / "app" / "config" / "config_fed_client.json"
    config.write_text(
        config.read_text().replace("rt_flare.components.executor.PayloadExecutor", "curious.CuriousExecutor")
    )
    with PocDeployment(tmp_path / "poc", SITES) as poc:
        kit = poc.run_dir("none", "site-3").parent
        (kit / "local" / "rt_flare_data.json").write_text(json.dumps({"shard": str(own)}))
        job_id = poc.submit(job)
        assert poc.wait_for_job(job_id) == "FINISHED:COMPLETED"
        site_log = (poc.run_dir(job_id, "site-2") / "log.txt").read_text()
        downloaded = poc.download(job_id, tmp_path / "download")
    server_log = (downloaded / "workspace" / "log.txt").read_text()
    [summary] = downloaded.rglob("fl_round_complete.json")
    samples_of = {c.site: c.num_samples for c in read_ledger(summary).rounds[0].contributions}
    assert samples_of == {"site-1": 1, "site-2": 2, "site-3": 4}
    assert "as itself: shard_0001.zip: the server refuses a URL: site-2 asked for shard 1" in site_log
    assert "in disguise: shard_0001.zip: the server refuses a URL: site-2 asked in the name of 'site-1'" in site_log
    assert "no shard URL for site-2: site-2 asked for shard 1, which is not its own" in server_log
    assert "no shard URL for site-2: site-2 asked in the name of 'site-1'" in server_log
    assert "X-Amz" not in server_log + site_log
