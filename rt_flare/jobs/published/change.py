"""What became of one setting or file of an imported job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Change", "ChangeKind"]


class ChangeKind(StrEnum):
    """What became of it."""

    KEPT = "kept"
    MAPPED = "mapped"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Change:
    """One line of an import's account.

    Attributes:
        kind: what became of it.
        what: where it stood in the imported job: a file, or a setting with its value where that is a plain one.
        became: what stands for it now; "" when it was dropped.
        reason: why, or what is different now; "" for what is the same under its own name.
        needs_attention: without it the job trains something else, or tells more, than it did.
    """

    kind: ChangeKind
    what: str
    became: str = ""
    reason: str = ""
    needs_attention: bool = False
