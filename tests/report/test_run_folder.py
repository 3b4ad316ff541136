"""Finding what a run left behind (X10, J7, N4)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.core.round_record import RoundRecord
from rt_flare.errors import JobError
from rt_flare.report.run_folder import read_run

Run = Callable[..., Path]
Make = Callable[..., RoundRecord]


@pytest.mark.parametrize("way", ["", "files_out", "files_out/fl_round_complete.json", ".."])
def test_a_run_is_found_from_wherever_one_points_at_it(
    tmp_path: Path, make_run: Run, make_record: Make, way: str
) -> None:
    """X10"""
    folder = make_run(tmp_path / "deep" / "run", [make_record(0, ["a"])])
    run = read_run(Path(os.path.normpath(folder / way)))
    assert (run.folder, run.job_name, len(run.ledger.rounds)) == (folder, "scans", 1)
    assert [model.file for model in run.models] == ["global_model.pt"]
    assert [config.path.as_posix() for config in run.configs] == ["job/app/config/config_fed_server.json"]
    assert "files_out/server.log" in [file.path.as_posix() for file in run.files]


def test_what_nvflare_downloads_has_its_job_beside_it(tmp_path: Path, make_run: Run, make_record: Make) -> None:
    """N4: workspace/ is the server's run folder, job/ what was submitted."""
    make_run(tmp_path / "4711" / "workspace", [make_record(0, ["a"])])
    shutil.move(tmp_path / "4711" / "workspace" / "job", tmp_path / "4711" / "job")
    run = read_run(tmp_path / "4711")
    assert run.folder == tmp_path / "4711" / "workspace"
    assert run.job_name == "scans"
    assert [config.path.as_posix() for config in run.configs] == ["../job/app/config/config_fed_server.json"]


def test_where_there_is_no_run_or_more_than_one_the_message_says_what_to_do(
    tmp_path: Path, make_run: Run, make_record: Make
) -> None:
    """X10"""
    with pytest.raises(JobError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobError, match="never came to its first round"):
        read_run(tmp_path / "empty")
    for name in ("one", "two"):
        make_run(tmp_path / "runs" / name, [make_record(0, ["a"])])
    with pytest.raises(JobError, match=r"found 2 runs, expected one.*one.*two"):
        read_run(tmp_path / "runs")


def test_what_cannot_be_read_is_named_and_the_rest_is_there(tmp_path: Path, make_run: Run, make_record: Make) -> None:
    """X10: nothing is left out in silence."""
    folder = make_run(tmp_path, [make_record(0, ["a"])])
    (folder / "model_out" / "best_model.json").write_text('{"schema": "rt_flare.model/1", "file": 3}')
    (folder / "files_out" / "environment.json").write_text("{")
    (folder / "job" / "app" / "config" / "config_fed_client.conf").write_text("a = [")
    run = read_run(folder)
    assert len(run.models) == 1
    named = "\n".join(run.notes)
    for path in ("model_out/best_model.json", "files_out/environment.json", "job/app/config/config_fed_client.conf"):
        assert f"{path} is not part of this report" in named


def test_a_link_left_by_user_code_is_not_named(tmp_path: Path, make_run: Run, make_record: Make) -> None:
    """J8: it may lead anywhere."""
    folder = make_run(tmp_path / "run", [make_record(0, ["a"])])
    (folder / "files_out" / "link.log").symlink_to(tmp_path)
    assert not [file for file in read_run(folder).files if file.path.name == "link.log"]


def test_a_damaged_summary_is_an_error(tmp_path: Path, make_run: Run) -> None:
    """X10"""
    folder = make_run(tmp_path, [])
    (folder / "files_out" / "fl_round_complete.json").write_text("{}")
    with pytest.raises(JobError, match="expected a round summary of this version"):
        read_run(folder)
