"""A job that goes on where an earlier one ended: the server's part, before the first round."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from nvflare.apis.fl_context import FLContext

from rt_flare.components.earlier_job import open_earlier_run
from rt_flare.components.persistor import CustomPersistor
from rt_flare.components.site import run_dir
from rt_flare.core.best_model import BestModel
from rt_flare.core.contribution_pages import contributions_of, read_page
from rt_flare.core.earlier_run import EarlierRun, carry_files
from rt_flare.core.ledger import FILES_FOLDER, Ledger
from rt_flare.errors import ResumeError

__all__ = ["Resumption", "resume"]


@dataclass(frozen=True)
class Resumption:
    """Where a job goes on.

    Attributes:
        ledger: the complete rounds.
        start_round: the first round to run.
        is_over: the earlier job had no more rounds to run, and was killed before it ended.
        notes: what to log.
    """

    ledger: Ledger
    start_round: int
    is_over: bool
    notes: tuple[str, ...]


def resume(
    fl_ctx: FLContext, job_ids: Sequence[str], persistor: object, best: BestModel, *, num_rounds: int
) -> Resumption:
    """Take over models, files and records of the complete rounds of an earlier job.

    Args:
        fl_ctx: the running job's.
        job_ids: ids of the jobs that it continues, newest first.
        persistor: receives the models.
        best: hears of the rounds' metrics.
        num_rounds: rounds of the whole job.

    Raises:
        ResumeError: there is nothing to go on from, or the job has changed.
        StateDictError: the model has changed.
    """
    if not isinstance(persistor, CustomPersistor):
        raise ResumeError(
            f"the persistor is {type(persistor).__name__}, expected a CustomPersistor: others do not resume"
        )
    with ExitStack() as stack:
        earlier = open_earlier_run(fl_ctx, job_ids, stack)
        ledger = earlier.ledger.model_copy(
            update={
                "job_id": fl_ctx.get_job_id(),
                "num_rounds": num_rounds,
                "resumed_from": [earlier.ledger.job_id, *earlier.ledger.resumed_from],
            }
        )
        if not ledger.rounds:
            note = "no round of the earlier job was complete: it begins anew, with round 0"
            return Resumption(ledger, 0, False, (*earlier.notes, note))
        _check_sites(earlier, {client.name for client in fl_ctx.get_engine().get_clients()})
        if earlier.start_round > num_rounds or (earlier.start_round == num_rounds and earlier.was_finished):
            raise ResumeError(f"{earlier.start_round} rounds are done, expected fewer than num_rounds, {num_rounds}")
        for record in ledger.rounds:
            if record.global_metrics is not None:
                best.is_better(record.round, record.global_metrics)
        persistor.take_over(earlier, best.round, fl_ctx)
        carry_files(earlier, run_dir(fl_ctx) / FILES_FOLDER)
    is_over = best.out_of_patience and not earlier.was_finished
    note = f"round {earlier.start_round - 1} of job {earlier.ledger.job_id} is the last complete one: going on after it"
    return Resumption(ledger, earlier.start_round, is_over, (*earlier.notes, note))


def _check_sites(earlier: EarlierRun, sites: Collection[str]) -> None:
    files, rounds = earlier.folder / FILES_FOLDER, earlier.ledger.rounds
    known = {contribution.site for record in rounds for contribution in record.contributions}
    for page in {record.paged.file for record in rounds if record.paged is not None}:
        known |= {contribution.site for _, contribution in read_page(files / page)}
    if new := sorted(set(sites) - known):
        raise ResumeError(
            f"found {', '.join(new)}, expected sites of the earlier job only ({', '.join(sorted(known))}): with others "
            "it would be another job; submit it as one, with initial_checkpoint to start from this model"
        )
    last = {contribution.site for contribution in contributions_of(rounds[-1], files)}
    if lost := sorted(last - set(sites)):
        raise ResumeError(f"{', '.join(lost)} took part in round {earlier.start_round - 1} and is not there now")
