"""Which number a site has among all sites of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["number_sites"]


def number_sites(sites: Sequence[str], given: Mapping[str, int]) -> dict[str, int]:
    """Number of each site from 1: the ``given`` one, or the next that is free, in the natural order of the names."""
    numbers = {site: given[site] for site in sites if site in given}
    free = (number for number in range(1, len(sites) + len(given) + 1) if number not in set(given.values()))
    rest = sorted((site for site in sites if site not in given), key=_natural)
    return numbers | dict(zip(rest, free, strict=False))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
