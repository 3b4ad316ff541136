"""The contributions of a large job: files of about 5,000 each, beside a round summary that only counts them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
from pydantic_core import PydanticSerializationError

from rt_flare.core.durable_io import to_strict_json, write_bytes
from rt_flare.core.round_record import Contribution, ContributionStatus, PagedContributions, RoundRecord, Spread

__all__ = ["PAGE_FOLDER", "ContributionPages", "contributions_of", "read_page", "with_paged_contributions"]

PAGE_FOLDER = "contributions.d"
"""With a dot, because the sites' own folders stand beside it, and no site has one in its name."""
PAGE_SIZE = 5_000
"""Contributions after which a file gets no further round."""
MAX_LISTED = 10
"""Contributions that are not accepted, and reasons of a verdict, that stay in a round's record."""
MAX_METRICS = 256


def with_paged_contributions(rounds: Sequence[RoundRecord]) -> list[RoundRecord]:
    """Return the records of ``rounds`` without their contributions; those that are paged stay as they are.

    A round's file is the one of the round before it, until that holds 5,000 contributions: the same rounds always come
    into the same files.
    """
    paged: list[RoundRecord] = []
    file, held = "", PAGE_SIZE
    for record in rounds:
        if record.paged is not None:
            found = record.paged.file
        else:
            found = file if held < PAGE_SIZE else f"{PAGE_FOLDER}/{record.round:06}.ndjson"
            record = _summarised(record, found)
        held = record.num_sites + (held if found == file else 0)
        file = found
        paged.append(record)
    return paged


class ContributionPages:
    """Writes those files: each whole, again after every round until it is full, and then no more.

    What could not be written is kept, and written the next time.
    """

    def __init__(self) -> None:
        self._open: dict[str, dict[int, bytes]] = {}
        self._changed: list[str] = []
        self._last: Sequence[Contribution] | None = None

    def add(self, folder: Path, file: str, record: RoundRecord) -> None:
        """Put the contributions of ``record`` into ``folder / file``, in the place of the same round's."""
        # A round is closed once more when its model was evaluated, with the same contributions.
        if record.contributions is self._last:
            return
        self._last = record.contributions
        if file not in self._open:
            self._open[file] = _kept_rounds(folder / file)
        self._open[file][record.round] = b"".join(_line(record.round, c) for c in record.contributions)
        if file not in self._changed:
            self._changed.append(file)

    def write(self, folder: Path) -> None:
        """Write what has changed, each file atomically; raises OSError when one cannot be written."""
        while self._changed:
            file = self._changed[0]
            rounds = self._open[file]
            write_bytes(folder / file, b"".join(rounds[number] for number in sorted(rounds)))
            self._changed.pop(0)
            if sum(text.count(b"\n") for text in rounds.values()) >= PAGE_SIZE:
                del self._open[file]


def read_page(path: Path) -> Iterator[tuple[int, Contribution]]:
    """Read a file of contributions: (0-based round, contribution) of each line.

    Raises:
        ValueError: a line is no contribution; the message names file and line. OSError: the file cannot be read.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                fields = orjson.loads(line)
                yield fields.pop("round"), Contribution.model_validate(fields)
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: expected a contribution: {error}") from error


def contributions_of(record: RoundRecord, files: Path) -> list[Contribution]:
    """All contributions of a round: from its record, or from the file in ``files`` that it names.

    Raises:
        ValueError, OSError: as `read_page`.
    """
    if record.paged is None:
        return record.contributions
    return [found for round_number, found in read_page(files / record.paged.file) if round_number == record.round]


def _kept_rounds(path: Path) -> dict[int, bytes]:
    """What a file holds, by round: when a job resumes, it goes on."""
    rounds: dict[int, bytes] = {}
    if path.is_file():
        with path.open("rb") as lines:
            for line in lines:
                number = orjson.loads(line)["round"]
                rounds[number] = rounds.get(number, b"") + line
    return rounds


def _line(round_number: int, contribution: Contribution) -> bytes:
    try:
        text = contribution.model_dump_json().encode()
    except PydanticSerializationError:  # text that is not Unicode
        text = orjson.dumps(to_strict_json(contribution.model_dump() | {"status": contribution.status.value}))
    return b'{"round":%d,%b\n' % (round_number, text[1:])


_counted: tuple[Sequence[Contribution], PagedContributions] | None = None


def _count(contributions: Sequence[Contribution], file: str) -> PagedContributions:
    # Every listener of a job has a ledger, and they all hear of the same contributions, twice.
    global _counted
    last = _counted
    if last is not None and last[0] is contributions and last[1].file == file:
        return last[1]
    counts = Counter(contribution.status.value for contribution in contributions)
    paged = PagedContributions(
        file=file,
        **{status.value: counts[status.value] for status in ContributionStatus},
        seconds=_spread([c.seconds for c in contributions if c.seconds is not None]),
        work_seconds=_spread([c.work_seconds for c in contributions if c.work_seconds is not None]),
        train_metrics=_metric_spreads([c.train_metrics for c in contributions]),
        received_model_metrics=_metric_spreads([c.received_model_metrics for c in contributions]),
    )
    _counted = contributions, paged
    return paged


def _summarised(record: RoundRecord, file: str) -> RoundRecord:
    paged = _count(record.contributions, file)
    others = [c for c in record.contributions if c.status is not ContributionStatus.ACCEPTED][:MAX_LISTED]
    reasons = record.verdict_reasons
    if len(reasons) > MAX_LISTED:
        reasons = [*reasons[:MAX_LISTED], f"and {len(reasons) - MAX_LISTED} more, in {file}"]
    update = {
        "paged": paged,
        "verdict_reasons": reasons,
        "contributions": [_without_traceback(contribution) for contribution in others],
        "train_metrics": {name: value for name, value in record.train_metrics.items() if name in paged.train_metrics},
    }
    return record.model_copy(update=update)


def _without_traceback(contribution: Contribution) -> Contribution:
    if contribution.failure is None:
        return contribution
    failure = contribution.failure.model_copy(update={"traceback": None})
    return contribution.model_copy(update={"failure": failure})


def _metric_spreads(metrics: Sequence[dict[str, float]]) -> dict[str, Spread]:
    names = Counter(name for found in metrics for name in found)
    chosen = sorted(name for name, _ in names.most_common(MAX_METRICS))
    spreads = {name: _spread([found[name] for found in metrics if name in found]) for name in chosen}
    return {name: spread for name, spread in spreads.items() if spread is not None}


def _spread(values: Sequence[float]) -> Spread | None:
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return Spread(low=None, median=None, high=None, num_sites=len(values)) if values else None
    return Spread(low=finite[0], median=statistics.median(finite), high=finite[-1], num_sites=len(values))
