"""The verdict on a round, and how far the global model moved in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from rt_flare.core.pieces import pieces
from rt_flare.core.round_record import Contribution, ContributionStatus, Verdict

__all__ = ["judge", "weight_change"]


def judge(contributions: Sequence[Contribution], min_clients: int) -> tuple[Verdict, list[str]]:
    """Judge a round by who was expected and who was accepted.

    Args:
        contributions: one per expected site.
        min_clients: accepted updates that the round needs, at least 1.

    Returns:
        The verdict and its reasons: one line per site that was not accepted, and one when there were too few.
    """
    reasons = [_reason(c) for c in contributions if c.status is not ContributionStatus.ACCEPTED]
    num_accepted = len(contributions) - len(reasons)
    if num_accepted < max(min_clients, 1):
        shortage = f"{num_accepted} of {len(contributions)} updates accepted, at least {max(min_clients, 1)} needed"
        return Verdict.FAILED, [shortage, *reasons]
    return (Verdict.DEGRADED if reasons else Verdict.OK), reasons


def weight_change(old: Mapping[str, torch.Tensor], new: Mapping[str, torch.Tensor]) -> float | None:
    """``||new - old|| / ||old||`` in the L2 norm over floating-point entries.

    Differences of float64 and float32 entries are taken in their own precision, of narrower ones in float32; their
    squares are summed in pieces that stay in the processor's cache, and over the pieces in float64.

    None when there is no old model to compare with; infinity when the old one is all zeros and the new one is not.
    """
    if not old or not new:
        return None
    squared_change = squared_norm = 0.0
    for name, tensor in new.items():
        if not tensor.is_floating_point() or name not in old:
            continue
        for after, before in pieces(tensor, old[name]):
            wide = torch.promote_types(before.dtype, torch.float32)
            before = before.to(wide)
            squared_change += _norm(after.to(wide) - before) ** 2
            squared_norm += _norm(before) ** 2
    if squared_norm == 0:
        return math.inf if squared_change else 0.0
    return math.sqrt(squared_change / squared_norm)


def _norm(piece: torch.Tensor) -> float:
    norm = float(torch.linalg.vector_norm(piece))
    # Squares of large or tiny float32 values leave its range.
    return norm if 1e-15 < norm < 1e15 else float(torch.linalg.vector_norm(piece.double()))


def _reason(contribution: Contribution) -> str:
    detail = contribution.failure.describe() if contribution.failure else contribution.reason
    return f"{contribution.site} {contribution.status.value}: {detail or 'no reason given'}"
