"""A round's updates until all are in: in memory up to a limit, then in temporary files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

__all__ = ["HeldUpdates"]


class HeldUpdates:
    """Keeps state dicts by site.

    Args:
        max_held_bytes: memory for them; what comes after that goes to disk and is mapped from there.
        spill_dir: folder for the files; None takes the system's temporary folder.
    """

    def __init__(self, max_held_bytes: int, spill_dir: Path | None = None) -> None:
        self._max_held_bytes = max_held_bytes
        self._spill_parent = spill_dir
        self._held: dict[str, Mapping[str, torch.Tensor]] = {}
        self._held_bytes = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, site: str, state: Mapping[str, torch.Tensor]) -> None:
        """Keep the update of ``site``; the tensors are not copied while they fit into memory.

        Raises:
            OSError: the disk has no room for it.
        """
        size = sum(tensor.nbytes for tensor in state.values())
        if self._held_bytes + size <= self._max_held_bytes:
            self._held_bytes += size
            self._held[site] = dict(state)
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rt-flare-robust-", dir=self._spill_parent)
        path = Path(self._folder.name) / f"{len(self._held)}.pt"
        torch.save(dict(state), path)
        self._held[site] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)

    def tensors(self, name: str) -> list[torch.Tensor]:
        """Return the entry ``name`` of every update, in the order of the sites' names."""
        return [self._held[site][name] for site in sorted(self._held)]

    def close(self) -> None:
        """Forget the updates and remove the files."""
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
