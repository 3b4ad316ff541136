"""What an earlier run of a job left behind: the rounds of it that count, and the way of its files into the next run.

A round is complete when its model is whole on disk and the round summary has its record: the model is written while
the next round runs, so that either may be there without the other when the server's process is killed.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rt_flare.core.durable_io import link_or_copy
from rt_flare.core.ledger import FILES_FOLDER, ROUND_SUMMARY_FILE, Ledger, read_ledger
from rt_flare.core.model_files import BEST_MODEL, GLOBAL_MODEL, check_model, link_model, round_model_name
from rt_flare.core.round_record import Verdict
from rt_flare.errors import ResumeError

__all__ = ["EarlierRun", "carry_files", "carry_models", "read_earlier_run"]

_MODELS = "model_out"
_MODEL_NAME = re.compile(r"model_round_(\d+)\.pt")
_ROUND_FOLDER = re.compile(r"round_(\d+)")
_MAX_UNWRITTEN = 2
"""Closed rounds that may wait for their models at a time: one is written, one is queued."""


@dataclass(frozen=True)
class EarlierRun:
    """A run that ended before its last round.

    Attributes:
        folder: its run folder, or its results: ``files_out`` and ``model_out`` are in it.
        ledger: its round summary up to the last complete round, as that of a running job.
        was_finished: whether it had ended on purpose, by a stop or all rounds done.
        notes: what was left out, and why.
    """

    folder: Path
    ledger: Ledger
    was_finished: bool
    notes: tuple[str, ...] = ()

    @property
    def start_round(self) -> int:
        """The round to go on with: that after the last complete one; 0 when none is."""
        return self.ledger.rounds[-1].round + 1 if self.ledger.rounds else 0

    @property
    def model(self) -> Path | None:
        """The model of the last complete round."""
        return self.folder / _MODELS / round_model_name(self.start_round - 1) if self.ledger.rounds else None


def read_earlier_run(folder: Path) -> EarlierRun:
    """Find the last complete round of the run in ``folder``.

    Raises:
        ResumeError: there is no round summary, or rounds were done and no model of one is whole.
    """
    path = folder / FILES_FOLDER / ROUND_SUMMARY_FILE
    try:
        ledger = read_ledger(path)
    except FileNotFoundError as error:
        raise ResumeError(
            f"no {FILES_FOLDER}/{ROUND_SUMMARY_FILE}: the run never came to a round, or was removed"
        ) from error
    except ValueError as error:
        raise ResumeError(
            f"{FILES_FOLDER}/{ROUND_SUMMARY_FILE}: not a round summary of this version: {error}"
        ) from error
    notes: list[str] = []
    last = _last_complete(folder / _MODELS, ledger, notes)
    rounds = [record for record in ledger.rounds if record.round <= last]
    notes += [f"round {r.round}: not complete, it is run again" for r in ledger.rounds if r.round > last]
    cut = ledger.model_copy(update={"rounds": rounds, "state": "RUNNING", "stop_reason": None, "error": None})
    return EarlierRun(folder, cut, ledger.state == "FINISHED", tuple(notes))


def carry_models(earlier: EarlierRun, target: Path, best_round: int | None) -> list[int]:
    """Put the models of the complete rounds into ``target``, the folder of the next run's, without copying bytes.

    Args:
        earlier: the earlier run, with at least one complete round.
        target: the new run's ``model_out``.
        best_round: the round whose model is the best so far, to be ``best_model.pt``; None for none.

    Returns:
        The rounds whose models are in ``target``, in order.

    Raises:
        ResumeError: the best model is not there any more.
        OSError: a file cannot be read or written.
    """
    source = earlier.folder / _MODELS
    kept = [number for number in _saved_rounds(source) if number < earlier.start_round]
    for number in kept:
        link_model(source / round_model_name(number), target / round_model_name(number))
    link_model(target / round_model_name(earlier.start_round - 1), target / GLOBAL_MODEL)
    if best_round is not None:
        link_model(_best_model(source, best_round), target / BEST_MODEL)
    return kept


def carry_files(earlier: EarlierRun, target: Path) -> None:
    """Put what user code and sites wrote in the complete rounds, and the logs, into ``target``, the next run's files.

    The logs go to ``run.N/``, where N counts the earlier runs from 1: the doctor looks at the newest run only, and no
    site has a dot in its name.

    Raises:
        OSError: a file cannot be read or written.
    """
    source = earlier.folder / FILES_FOLDER
    logs = target / f"run.{len(earlier.ledger.resumed_from) + 1}"
    for path in [earlier.folder / "log.txt", source / "server.log", *sorted(source.glob("client_*.log"))]:
        if path.is_file() and not path.is_symlink():
            name = "server.log" if path.name == "log.txt" else path.name
            logs.mkdir(parents=True, exist_ok=True)
            # Copied: a log may still grow.
            shutil.copyfile(path, logs / name)
    for path in sorted(source.glob("*/*")):
        match = _ROUND_FOLDER.fullmatch(path.name)
        is_later = match is not None and int(match[1]) >= earlier.start_round
        place = target / path.relative_to(source)
        if is_later or path.is_symlink() or path.parent.is_symlink():
            continue  # written again; and no link leads elsewhere
        if path.is_dir():
            shutil.copytree(path, place, ignore=_links, copy_function=link_or_copy, dirs_exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _last_complete(models: Path, ledger: Ledger, notes: list[str]) -> int:
    """The last complete round; -1 for none."""
    done = {record.round for record in ledger.rounds if record.verdict is not Verdict.FAILED}
    saved = _saved_rounds(models)
    problems = []
    for number in reversed(saved):
        if number not in done:
            notes.append(f"round {number}: its model is there, its record is not")
            continue
        try:
            check_model(models / round_model_name(number))
        except ResumeError as error:
            problems.append(str(error))
            continue
        notes += problems
        return number
    if problems or len(done) > _MAX_UNWRITTEN:
        found = "; ".join(problems) or f"{len(done)} rounds done and no model of them in {_MODELS}"
        raise ResumeError(f"no round has a model that is whole: {found}")
    return -1


def _saved_rounds(models: Path) -> list[int]:
    names = [path.name for path in models.iterdir()] if models.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := _MODEL_NAME.fullmatch(name)))


def _best_model(source: Path, best_round: int) -> Path:
    problems = []
    for path in (source / BEST_MODEL, source / round_model_name(best_round)):
        try:
            if (found := check_model(path)["round"]) == best_round:
                return path
            problems.append(f"{path.name}: found the model of round {found}")
        except ResumeError as error:
            problems.append(str(error))
    raise ResumeError(f"expected the best model, that of round {best_round}: {'; '.join(problems)}")


def _links(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_symlink()]
