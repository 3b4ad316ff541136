"""A mean whose bytes do not depend on who answered first: updates are added in site-name order."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from rt_flare.core.state_dict import StateDict
from rt_flare.core.weighted_mean import WeightedMean
from rt_flare.core.wire_dtype import RestoredState
from rt_flare.errors import UpdateError

__all__ = ["OrderedMean"]


class OrderedMean(WeightedMean):
    """A `WeightedMean` that adds in site-name order, whatever the order of arrival.

    An update is added at once when every expected site before it has answered or is known not to; an early one
    waits, in memory up to ``max_held_bytes`` and in a temporary file beyond that. When updates arrive in order, no
    more memory is used than by a `WeightedMean`.

    Args:
        expected: names of the sites that were asked.
        max_held_bytes: memory for early updates; the excess goes to disk.
        spill_dir: folder for the excess; None takes the system's temporary folder.
    """

    def __init__(
        self, expected: Iterable[str], *, max_held_bytes: int = 1 << 30, spill_dir: Path | None = None
    ) -> None:
        super().__init__()
        self._due = deque(sorted(set(expected)))
        self._ranks = {site: rank for rank, site in enumerate(self._due)}
        self._settled: set[str] = set()
        self._held: dict[str, tuple[Mapping[str, torch.Tensor] | Path, int]] = {}
        self._held_bytes = 0
        self._max_held_bytes = max_held_bytes
        self._spill_parent = spill_dir
        self._spill_dir: tempfile.TemporaryDirectory[str] | None = None

    def add(self, site: str, state: Mapping[str, torch.Tensor], num_samples: int) -> None:
        """Add one site's checked update in its turn. ``state`` is kept, unchanged, until then.

        Raises:
            UpdateError: ``site`` is not expected, or has answered or been skipped before (reason ``not_awaited``).
        """
        if site not in self._ranks or site in self._settled:
            raise UpdateError("not_awaited", f"{site} is not among the sites whose update is awaited")
        if self._due[0] == site:
            super().add(site, state, num_samples)
        else:
            self._held[site] = (self._hold(site, state), num_samples)
        self._settle(site)

    def skip(self, site: str) -> None:
        """Note that no update of ``site`` will come, so that later names need not wait for it."""
        self._settle(site)

    def result(self) -> StateDict:
        """Add what still waits, in name order, and return the mean (see `WeightedMean.result`)."""
        try:
            for site in sorted(self._held):
                self._release(site)
            return super().result()
        finally:
            if self._spill_dir is not None:
                self._spill_dir.cleanup()

    def _settle(self, site: str) -> None:
        self._settled.add(site)
        while self._due and self._due[0] in self._settled:
            due = self._due.popleft()
            if due in self._held:
                self._release(due)

    def _release(self, site: str) -> None:
        held, num_samples = self._held.pop(site)
        if isinstance(held, Path):
            state: Mapping[str, torch.Tensor] = torch.load(held, map_location="cpu", weights_only=True)
            held.unlink()
        else:
            state = held
            self._held_bytes -= _num_bytes(state)
        super().add(site, state, num_samples)

    def _hold(self, site: str, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor] | Path:
        if not isinstance(state, RestoredState):
            state = dict(state)
        size = _num_bytes(state)
        if self._held_bytes + size <= self._max_held_bytes:
            self._held_bytes += size
            return state
        if self._spill_dir is None:
            self._spill_dir = tempfile.TemporaryDirectory(prefix="rt-flare-early-updates-", dir=self._spill_parent)
        path = Path(self._spill_dir.name) / f"{self._ranks[site]}.pt"
        torch.save(dict(state), path)
        return path


def _num_bytes(state: Mapping[str, torch.Tensor]) -> int:
    return state.nbytes if isinstance(state, RestoredState) else sum(tensor.nbytes for tensor in state.values())
