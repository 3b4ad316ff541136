"""Split sample indices over sites: every index in exactly one part, the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rt_flare.errors import ConfigError

__all__ = ["split", "split_dirichlet", "split_iid", "split_stratified"]

_Indices = npt.NDArray[np.int64]


def split_iid(n: int, num_parts: int, seed: int) -> list[list[int]]:
    """Deal the indices 0 to ``n - 1`` at random into ``num_parts`` ascending lists whose sizes differ by at most 1.

    Raises:
        ConfigError: ``num_parts`` is below 1 or above ``n``.
    """
    _check(n, num_parts)
    return _deal(_generator(seed).permutation(n), num_parts)


def split_stratified(labels: Sequence[int], num_parts: int, seed: int) -> list[list[int]]:
    """Split like `split_iid`, and so that the parts' counts of each label differ by at most 1 too.

    Raises:
        ConfigError: ``num_parts`` is below 1 or above ``len(labels)``.
    """
    _check(len(labels), num_parts)
    generator = _generator(seed)
    order = np.concatenate([generator.permutation(members) for members in _members(labels)])
    return _deal(order, num_parts)


def split_dirichlet(
    labels: Sequence[int], num_parts: int, alpha: float, seed: int, min_per_part: int = 1
) -> list[list[int]]:
    """Split with label skew: small ``alpha`` gives each part few labels, large ``alpha`` comes close to IID.

    Dirichlet label skew is due to Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification" (2019), arXiv:1909.06335, who draw each site's mix of labels at equal sizes. Here
    each label's samples are shared out by one draw from Dirichlet(alpha, ..., alpha) over the parts, the form that
    most code uses, so that the sizes are skewed as well. A part below ``min_per_part`` then takes random samples
    from whichever part is largest.

    Returns:
        ``num_parts`` ascending lists, each of at least ``min_per_part`` indices.

    Raises:
        ConfigError: ``alpha`` is not finite and positive, ``min_per_part`` is negative, or there are too few samples.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise ConfigError(f"alpha: found {alpha}, expected a finite number above 0")
    if min_per_part < 0:
        raise ConfigError(f"min_per_part: found {min_per_part}, expected 0 or more")
    _check(len(labels), num_parts, max(1, min_per_part))
    generator = _generator(seed)
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    for members in _members(labels):
        shares = generator.dirichlet(np.full(num_parts, alpha))
        cuts = np.minimum(np.cumsum(shares)[:-1] * len(members), len(members)).astype(np.int64)
        for part, taken in zip(parts, np.split(generator.permutation(members), cuts), strict=True):
            part.extend(taken.tolist())
    for part in parts:
        while len(part) < min_per_part:
            largest = max(parts, key=len)
            part.append(largest.pop(int(generator.integers(len(largest)))))
    return [sorted(part) for part in parts]


def split(
    labels: Sequence[Sequence[int]], num_parts: int, *, how: str = "iid", alpha: float = 0.5, seed: int = 0
) -> list[list[int]]:
    """Split samples by name of the method: ``iid``, ``stratified`` or ``dirichlet``, the only one that reads ``alpha``.

    Args:
        labels: the labels of each sample; the last two methods need exactly one.

    Raises:
        ConfigError: no such method, a sample without exactly one label, or as in the method's own function.
    """
    if how == "iid":
        return split_iid(len(labels), num_parts, seed)
    if how not in {"stratified", "dirichlet"}:
        raise ConfigError(f"split: found {how!r}, expected iid, stratified or dirichlet")
    for index, y in enumerate(labels):
        if len(y) != 1:
            raise ConfigError(
                f"split {how}: sample {index} has {len(y)} labels, expected exactly one per sample. Split iid instead."
            )
    single = [y[0] for y in labels]
    if how == "stratified":
        return split_stratified(single, num_parts, seed)
    return split_dirichlet(single, num_parts, alpha, seed)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _check(num_samples: int, num_parts: int, min_per_part: int = 1) -> None:
    if num_parts < 1:
        raise ConfigError(f"num_parts: found {num_parts}, expected 1 or more")
    if num_samples < num_parts * min_per_part:
        raise ConfigError(
            f"num_parts: found {num_parts} parts of at least {min_per_part} for {num_samples} samples. "
            f"Make fewer parts or bring more samples."
        )


def _members(labels: Sequence[int]) -> list[_Indices]:
    """Return the indices of each label, in the order of the labels."""
    values = np.asarray(labels)
    return [np.flatnonzero(values == label) for label in np.unique(values)]


def _deal(order: _Indices, num_parts: int) -> list[list[int]]:
    return [np.sort(order[first::num_parts]).tolist() for first in range(num_parts)]
