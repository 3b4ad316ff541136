"""What is kept of a run on this machine for the next one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import RoundRecord, Verdict
from rt_flare.jobs.kept_run import keep_run, place_run
from rt_flare.jobs.submission import Submission

SITES = ("site-1", "site-2")


def _submission(where: str) -> Submission:
    return Submission(name="j", where=where, sites=SITES, submitted_at="2026-01-01T00:00:00.000+00:00")


def _results(folder: Path) -> None:
    model = folder / "model_out" / "model_round_0.pt"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    sidecar = {"schema": "rt_flare.model/1", "round": 0, "size_bytes": 7, "sha256": digest}
    model.with_suffix(".json").write_text(json.dumps(sidecar))
    record = RoundRecord(
        round=0, verdict=Verdict.OK, started_at="2026-01-01", seconds=1.0, num_samples=1, contributions=[]
    )
    Ledger(job_id="4f5b", num_rounds=3, rounds=[record]).write_round_summary(folder / "files_out")


@pytest.mark.parametrize(("where", "place"), [("simulator", "simulator"), ("poc", "poc/kits/project/prod_00")])
def test_results_and_the_sites_state_are_kept_and_placed_again(tmp_path: Path, where: str, place: str) -> None:
    """X8: results stay where the user sees them; state is moved, with the mark of whose it is."""
    _results(tmp_path)
    left = tmp_path / "workspace" / place / "site-1" / "4f5b"
    (left / "state").mkdir(parents=True)
    (left / "state" / "x").write_text("kept")
    (left / "out" / "round_0").mkdir(parents=True)
    (left / "meta.json").write_text('{"submitter_name": "ann"}')
    earlier = keep_run(tmp_path, _submission(where), ["4f5b"])
    assert earlier is not None
    assert earlier.start_round == 1
    assert (tmp_path / "model_out" / "model_round_0.pt").is_file()
    assert not (left / "state").exists()
    again = keep_run(tmp_path, _submission(where), ["4f5b"])  # the next run never came to begin
    assert again is not None
    place_run(tmp_path, lambda name: tmp_path / "next" / name / "id")
    assert (tmp_path / "next" / "site-1" / "id" / "state" / "x").read_text() == "kept"
    assert (tmp_path / "next" / "site-1" / "id" / "out" / "round_0").is_dir() == (where == "poc")
    assert (tmp_path / "next" / "server" / "id" / "model_out" / "model_round_0.pt").read_bytes() == b"weights"
    assert "ann" in (tmp_path / "next" / "server" / "id" / "meta.json").read_text()
    assert list((tmp_path / "workspace" / ".earlier").iterdir()) == []


def test_a_run_that_came_to_no_round_leaves_nothing(tmp_path: Path) -> None:
    """X8: the job begins anew."""
    assert keep_run(tmp_path, _submission("simulator"), ["simulate_job"]) is None
    place_run(tmp_path, lambda name: tmp_path / name)
