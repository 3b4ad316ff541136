"""What a check of shards found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["MAX_COUNTED_LABELS", "ShardFindings", "ShardProblem", "VerifyReport"]

MAX_PROBLEMS = 1000
MAX_COUNTED_LABELS = 10_000


@dataclass(frozen=True, kw_only=True)
class ShardProblem:
    """One thing that must be put right.

    Attributes:
        shard: name of the ZIP; "" for what is wrong with all of them together.
        line: line of the manifest, where there is one.
        what: what was found and what was expected.
        kind: ``shard-row``, ``shard-count``, ``shard-structure``, ``manifest-missing``, ``manifest-line``, ``uri``,
            ``file-missing``, ``image`` or ``label``.
    """

    shard: str
    line: int | None
    what: str
    kind: str = "shard-structure"

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        return f"{self.shard}{line}: {self.what}" if self.shard else self.what


@dataclass(kw_only=True)
class ShardFindings:
    """What one shard holds.

    Attributes:
        name: of the ZIP.
        num_files: files in it.
        num_bytes: their size.
        num_samples: entries of its manifest.
        num_remote: those that lie elsewhere.
        num_unlisted: files that the manifest does not name.
        label_counts: samples with each label, of those below 10,000.
        max_label: the largest label, -1 without one, with the ``max_label_line`` and ``max_label_id`` of a sample.
        odd_line: a line whose number of labels is not 1; None if every entry has one label.
    """

    name: str
    num_files: int = 0
    num_bytes: int = 0
    num_samples: int = 0
    num_remote: int = 0
    num_unlisted: int = 0
    label_counts: dict[int, int] = field(default_factory=dict)
    max_label: int = -1
    max_label_line: int = 0
    max_label_id: str = ""
    odd_line: int | None = None


@dataclass(kw_only=True)
class VerifyReport:
    """What a check found.

    Attributes:
        shards: each shard's findings, by index.
        problems: the first 1000 per shard.
        num_problems: how many there are.
        num_classes: largest label of all shards plus one.
        notes: what may be meant so, and is worth a look.
    """

    shards: list[ShardFindings] = field(default_factory=list)
    problems: list[ShardProblem] = field(default_factory=list)
    num_problems: int = 0
    num_classes: int = 0
    notes: list[str] = field(default_factory=list)
    _kept: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.num_problems == 0

    def add(self, shard: str, what: str, line: int | None = None, *, kind: str = "shard-structure") -> None:
        """Note a problem of a kind (see `ShardProblem`)."""
        self.num_problems += 1
        self._kept[shard] += 1
        if self._kept[shard] <= MAX_PROBLEMS:
            self.problems.append(ShardProblem(shard=shard, line=line, what=what, kind=kind))
