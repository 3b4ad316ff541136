"""Entries of a state dict that are worked on together: hundreds of small ones cost more in calls than in bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

__all__ = ["gather", "group_entries", "scatter"]

_SMALL = 1 << 16
_GROUP = 1 << 18
"""Values of a group at most: a few MB beside a model of any size."""


def group_entries(entries: Iterable[tuple[str, tuple[int, ...], torch.dtype]]) -> list[list[str]]:
    """Put small entries of one dtype together, up to 262,144 values a group; an entry of 65,536 values stands alone.

    Args:
        entries: name, shape and dtype of each.

    Returns:
        The names of each group; every name is in one.
    """
    groups: list[list[str]] = []
    open_groups: dict[torch.dtype, tuple[list[str], int]] = {}
    for name, shape, dtype in entries:
        size = math.prod(shape)
        if size >= _SMALL:
            groups.append([name])
            continue
        group, used = open_groups.get(dtype, ([], _GROUP + 1))
        if used + size > _GROUP:
            group, used = [], 0
            groups.append(group)
        group.append(name)
        open_groups[dtype] = (group, used + size)
    return groups


def gather(state: Mapping[str, torch.Tensor], group: list[str]) -> torch.Tensor:
    """The values of a group in one flat tensor: a view of the only entry, a copy of several."""
    if len(group) == 1:
        return state[group[0]].flatten()
    return torch.cat([state[name].flatten() for name in group])


def scatter(flat: torch.Tensor, group: list[str], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The entries of a group from its flat tensor: the only one as a view, several as tensors of their own."""
    if len(group) == 1:
        return {group[0]: flat.view(shapes[group[0]])}
    parts = torch.split(flat, [math.prod(shapes[name]) for name in group])
    return {name: part.clone().view(shapes[name]) for name, part in zip(group, parts, strict=True)}
