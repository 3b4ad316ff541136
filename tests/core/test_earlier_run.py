"""What an earlier run left: the last round that is complete, and the way of its files into the next run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.core.checkpoints import CheckpointWriter, RoundModel
from rt_flare.core.earlier_run import carry_files, carry_models, read_earlier_run
from rt_flare.core.ledger import Ledger
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.round_record import RoundRecord, Verdict
from rt_flare.errors import ResumeError

MakeRun = Callable[..., Path]


def _record(number: int, verdict: Verdict = Verdict.OK) -> RoundRecord:
    return RoundRecord(
        round=number,
        verdict=verdict,
        started_at="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        num_samples=10,
        contributions=[],
    )


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write the run folder of a job with ``models`` and ``records`` for these rounds; ``best`` is a round."""

    def make(
        models: range = range(3),
        records: range = range(3),
        *,
        best: int | None = None,
        name: str = "run",
        **ledger: object,
    ) -> Path:
        folder = tmp_path / name
        writer = CheckpointWriter(folder / "model_out")
        for number in models:
            weights = {"w": torch.full((3,), float(number))}
            writer.save(RoundModel(round=number, weights=weights, model=ModelSpec(path="m.M", args={})))
        if best is not None:
            writer.mark_best(best)
        writer.close()
        document = {"job_id": "job-1", "num_rounds": 9, "rounds": [_record(n) for n in records], **ledger}
        Ledger.model_validate(document).write_round_summary(folder / "files_out")
        return folder

    return make


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(models=st.integers(1, 4), records=st.integers(1, 4))
def test_the_last_round_with_both_its_model_and_its_record_is_the_one(
    make_run: MakeRun, models: int, records: int
) -> None:
    """X8: whichever of the two the server had come to when it was killed; rounds beyond it are named."""
    earlier = read_earlier_run(make_run(range(models), range(records), name=f"run-{models}-{records}"))
    assert earlier.start_round == min(models, records)
    assert [record.round for record in earlier.ledger.rounds] == list(range(earlier.start_round))
    assert earlier.model is not None
    assert earlier.model.name == f"model_round_{earlier.start_round - 1}.pt"
    assert len(earlier.notes) == abs(models - records)


def test_a_model_that_is_cut_or_changed_does_not_count(make_run: MakeRun) -> None:
    """X8, X4: by its size, then by its hash; the round is run again, and why is told."""
    run = make_run(range(4), range(4))
    (run / "model_out" / "model_round_3.pt").write_bytes(b"cut")
    changed = run / "model_out" / "model_round_2.pt"
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(bytes(content))
    earlier = read_earlier_run(run)
    assert earlier.start_round == 2
    text = "; ".join(earlier.notes)
    assert "model_round_3.pt: found 3 bytes, expected" in text
    assert "model_round_2.pt: found SHA-256" in text
    assert "round 3: not complete, it is run again" in text


def test_a_failed_round_is_run_again(make_run: MakeRun) -> None:
    """X8, X1: it has a record and gave no model."""
    run = make_run(range(2), range(0), rounds=[_record(0), _record(1), _record(2, Verdict.FAILED)], state="FAILED")
    earlier = read_earlier_run(run)
    assert earlier.start_round == 2
    assert (earlier.ledger.state, earlier.ledger.error, earlier.was_finished) == ("RUNNING", None, False)


def test_a_run_that_was_killed_in_its_first_round_has_no_complete_one(make_run: MakeRun) -> None:
    """X8: the job then begins anew."""
    earlier = read_earlier_run(make_run(range(0), range(1)))
    assert (earlier.start_round, earlier.model, earlier.ledger.rounds) == (0, None, [])


def test_what_cannot_be_gone_on_from_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    """X8: never a silent beginning from round 0 when rounds were done."""
    with pytest.raises(ResumeError, match=r"no files_out/fl_round_complete\.json"):
        read_earlier_run(tmp_path / "nothing")
    with pytest.raises(ResumeError, match="5 rounds done and no model of them in model_out"):
        read_earlier_run(make_run(range(0), range(5), name="gone"))
    damaged = make_run(range(1), range(1), name="damaged")
    (damaged / "model_out" / "model_round_0.pt").write_bytes(b"")
    with pytest.raises(ResumeError, match=r"no round has a model that is whole: model_round_0.pt: found 0 bytes"):
        read_earlier_run(damaged)
    (damaged / "files_out" / "fl_round_complete.json").write_text("{}")
    with pytest.raises(ResumeError, match="not a round summary of this version"):
        read_earlier_run(damaged)


def test_models_of_complete_rounds_are_linked_and_the_last_is_the_global_one(make_run: MakeRun, tmp_path: Path) -> None:
    """X8, X4, J11: no bytes are copied; a later round's model and half a file stay behind."""
    run = make_run(range(4), range(3), best=1)
    (run / "model_out" / ".model_round_4.pt.x.part").write_bytes(b"half")
    target = tmp_path / "next" / "model_out"
    assert carry_models(read_earlier_run(run), target, best_round=1) == [0, 1, 2]
    names = {path.name for path in target.iterdir()}
    whole = {"model_round_0", "model_round_1", "model_round_2", "global_model", "best_model"}
    assert names == {f"{name}.{end}" for name in whole for end in ("pt", "json")}
    assert (target / "global_model.pt").samefile(run / "model_out" / "model_round_2.pt")
    assert (target / "best_model.pt").samefile(run / "model_out" / "model_round_1.pt")
    assert json.loads((target / "global_model.json").read_text())["file"] == "global_model.pt"
    assert json.loads((target / "best_model.json").read_text())["round"] == 1


def test_the_best_model_is_that_of_its_round_or_it_is_missed(make_run: MakeRun, tmp_path: Path) -> None:
    """X8, X4: found among the rounds when the link was not made yet; refused by name when it is nowhere."""
    run = make_run(range(3), range(3), best=0)
    carry_models(read_earlier_run(run), tmp_path / "a", best_round=2)
    assert (tmp_path / "a" / "best_model.pt").samefile(run / "model_out" / "model_round_2.pt")
    (run / "model_out" / "model_round_1.pt").unlink()
    with pytest.raises(ResumeError, match=r"that of round 1: best_model.pt: found the model of round 0"):
        carry_models(read_earlier_run(run), tmp_path / "b", best_round=1)


def test_the_writer_counts_carried_models_among_those_it_keeps(make_run: MakeRun, tmp_path: Path) -> None:
    """X8, X4: ``keep_last`` is about the whole job."""
    run = make_run(range(3), range(3))
    target = tmp_path / "next"
    saved = carry_models(read_earlier_run(run), target, best_round=None)
    writer = CheckpointWriter(target, keep_last=2, saved=saved)
    writer.save(RoundModel(round=3, weights={"w": torch.zeros(3)}, model=ModelSpec(path="m.M", args={})))
    writer.close()
    assert {path.name for path in target.glob("model_round_*.pt")} == {"model_round_2.pt", "model_round_3.pt"}
    assert (run / "model_out" / "model_round_0.pt").is_file()


def test_files_of_complete_rounds_go_along_and_logs_are_set_apart(make_run: MakeRun, tmp_path: Path) -> None:
    """X8, J8, J12: user files by site and round; logs of a second and a third run do not meet; links stay behind."""
    run = make_run(range(2), range(2))
    out = run / "files_out"
    for number in (0, 1, 2):
        (out / "site-1" / f"round_{number}" / "sub").mkdir(parents=True)
        (out / "site-1" / f"round_{number}" / "sub" / "note.txt").write_text(str(number))
    (out / "site-1" / "round_0" / "passwords").symlink_to("/etc/passwd")
    (out / "site-1" / "LEFT_OUT.txt").write_text("big.bin\n")
    (run / "log.txt").write_text("server\n")
    (out / "client_1.log").write_text("client\n")
    target = tmp_path / "next" / "files_out"
    carry_files(read_earlier_run(run), target)
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert found == {
        "run.1/client_1.log",
        "run.1/server.log",
        "site-1/LEFT_OUT.txt",
        "site-1/round_0/sub/note.txt",
        "site-1/round_1/sub/note.txt",
    }
    again = read_earlier_run(run)
    Ledger.model_validate({**again.ledger.model_dump(), "resumed_from": ["job-1"]}).write_round_summary(target)
    (target / "client_1.log").write_text("client again\n")
    (run / "model_out").rename(tmp_path / "next" / "model_out")
    carry_files(read_earlier_run(tmp_path / "next"), tmp_path / "third")
    assert (tmp_path / "third" / "run.1" / "client_1.log").read_text() == "client\n"
    assert (tmp_path / "third" / "run.2" / "client_1.log").read_text() == "client again\n"
