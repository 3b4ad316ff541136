"""The table of known failures: how each shows in a log, its likely cause, and what to do about it."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.durable_io import read_json

__all__ = ["FailureRow", "FailureTable", "RowWeight", "Source", "load_failure_table"]

TABLE_FILE = Path(__file__).with_name("failure_rows.json")


class RowWeight(StrEnum):
    """Whether a row is a reason, or something that did not come in time."""

    CAUSE = "cause"
    """It explains itself."""
    SYMPTOM = "symptom"
    """It may follow from a cause in another process, and gives way to one."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Strict):
    """Who writes the text that a row is known by.

    Attributes:
        origin: ``nvflare``, ``rt_flare``, ``python`` or ``other``.
        file: path in the package for the first two; else the name of what writes it.
        text: the literal in that file; None where there is no file of ours to look at.
    """

    origin: str = Field(pattern="^(nvflare|rt_flare|python|other)$")
    file: str
    text: str | None = None

    def describe(self) -> str:
        """The source for people."""
        return {"nvflare": "NVFlare, ", "rt_flare": "rt_flare, "}.get(self.origin, "") + self.file


class FailureRow(_Strict):
    """One known failure.

    Attributes:
        id: stable name.
        title: its name for people.
        weight: see `RowWeight`.
        kind: the kind of a `Failure` of this row.
        patterns: regular expressions; one that is found in an error or a warning tells the row. The groups ``site``
            tell whom it concerns.
        info_patterns: the same, for lines of level INFO as well.
        refines: id of a row whose place this one takes when only the server has it.
        cause: the likely cause.
        fix: what to do.
        source: who writes the texts.
    """

    id: str = Field(pattern="^[a-z0-9_]+$")
    title: str
    weight: RowWeight
    kind: str
    patterns: tuple[str, ...] = ()
    info_patterns: tuple[str, ...] = ()
    refines: str | None = None
    cause: str
    fix: str
    source: tuple[Source, ...] = Field(min_length=1)


class FailureTable(_Strict):
    """All rows, in the order in which they are tried, and what is no failure of its own.

    Attributes:
        rows: the rows.
        consequences: what a failure brings about elsewhere: shown only where nothing else is found.
        noise: what says nothing.
    """

    rows: tuple[FailureRow, ...]
    consequences: tuple[str, ...]
    noise: tuple[str, ...]

    def row(self, row_id: str) -> FailureRow:
        """The row of this id."""
        return next(row for row in self.rows if row.id == row_id)

    def classify(self, text: str, *, info: bool = False) -> tuple[FailureRow | None, str | None]:
        """The first row that ``text`` shows, and the site that the text names.

        Args:
            text: one error, or one line of a log.
            info: ``text`` is no more than a remark: only the rows' ``info_patterns`` count.
        """
        for row, patterns, info_patterns in self._compiled:
            for pattern in info_patterns if info else (*patterns, *info_patterns):
                if match := pattern.search(text):
                    return row, match.groupdict().get("site")
        return None, None

    def is_consequence(self, text: str) -> bool:
        """Whether ``text`` tells of what another failure brought about."""
        return self._consequence.search(text) is not None

    def is_noise(self, text: str) -> bool:
        """Whether ``text`` tells of nothing."""
        return self._noise.search(text) is not None

    @cached_property
    def _compiled(self) -> list[tuple[FailureRow, list[re.Pattern[str]], list[re.Pattern[str]]]]:
        return [
            (row, [re.compile(p) for p in row.patterns], [re.compile(p) for p in row.info_patterns])
            for row in self.rows
        ]

    @cached_property
    def _consequence(self) -> re.Pattern[str]:
        return re.compile("|".join(self.consequences))

    @cached_property
    def _noise(self) -> re.Pattern[str]:
        return re.compile("|".join(self.noise))


@lru_cache(maxsize=1)
def load_failure_table() -> FailureTable:
    """Read the table that rt_flare ships."""
    return FailureTable.model_validate(read_json(TABLE_FILE))
