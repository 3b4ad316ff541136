"""The benchmarks of rounds and of polling: by what rule they read, and what they compare (T6)."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.job_times import read_times
from benchmarks.peer_jobs import write_published_job, write_recipe_job
from benchmarks.polling import phases, used
from benchmarks.rounds import NOOP

START = datetime(2026, 3, 1, 12, 0, 0).astimezone().timestamp()
# Both forms: of ScatterAndGather and RtFedAvg, and FedAvg's, which puts a frame around its message.
LOG = """\
2026-03-01 12:00:01,500 - ScatterAndGather - INFO - [identity=server] - Round 0 started.
2026-03-01 12:00:02,250 - ServerRunner - INFO - [identity=server] - finished processing client result by wf
2026-03-01 12:00:02,500 - FedAvg - INFO - [identity=server] -\x20
-----------------------------------
         Round 1 started.          \n\
-----------------------------------

2026-03-01 12:00:02,600 - RtFedAvg - INFO - [identity=server] - Round 2 started.
2026-03-01 12:00:02,750 - ServerRunner - INFO - [identity=server] - finished processing client result by wf
"""


def test_a_round_lasts_from_its_start_to_the_next_ones() -> None:
    """T6: one rule for every controller."""
    times = read_times(LOG, submitted=START, ended=START + 4, num_rounds=3)
    assert times.rounds == pytest.approx((1.0, 0.1))
    assert times.median_round == pytest.approx(0.55)
    assert times.until_first_round == pytest.approx(1.5)
    assert times.until_second_round == pytest.approx(2.5)
    assert times.after_last_result == pytest.approx(1.25)


def test_a_job_that_missed_a_round_is_not_measured() -> None:
    """T6"""
    with pytest.raises(ValueError, match=r"found the rounds \[0, 1, 2\], expected 0 to 3"):
        read_times(LOG, submitted=START, ended=START + 4, num_rounds=4)


def test_the_rule_keeps_any_number_of_sites_at_100_questions_a_second() -> None:
    """T6: N / 100 seconds; the last phase is what happens without it."""
    *by_rule, without = phases(1.0)
    assert all(interval >= count / 100 for count, interval, _ in by_rule)
    assert without[0] / without[1] > 100


def test_load_is_cpu_time_between_two_samples_over_wall_time() -> None:
    """T6"""
    samples = [(10.0, 1.0, 5.0), (11.0, 1.1, 5.2), (13.0, 1.5, 6.2), (14.0, 9.0, 9.0)]
    assert used(samples, 10.5, 13.5) == pytest.approx((0.2, 0.5))


@pytest.mark.slow
def test_the_peers_jobs_are_as_they_come(tmp_path: Path) -> None:
    """T6: none of their waits is set; fetches the published package."""
    sizes = {"model_def": NOOP / "model_def.py", "num_rounds": 3, "num_sites": 2}
    recipe = write_recipe_job(tmp_path / "recipe", train_script=NOOP / "client.py", **sizes)
    published = write_published_job(tmp_path / "published", data_root=tmp_path, **sizes)
    for job, workflow in ((recipe, "fedavg.FedAvg"), (published, "scatter_and_gather.ScatterAndGather")):
        server = json.loads((job / "app/config/config_fed_server.json").read_text())
        [found] = server["workflows"]
        assert found["path"] == f"nvflare.app_common.workflows.{workflow}"
        assert found["args"]["num_rounds"] == 3
        assert "task_request_interval" not in json.dumps(server)
        assert "rt_flare" not in "".join(path.read_text() for path in job.rglob("*.*"))
