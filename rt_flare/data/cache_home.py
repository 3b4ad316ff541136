"""Where rt_flare keeps what all jobs of a machine share and can fetch again: remote images."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_home"]


def cache_home() -> Path:
    """Return the folder: ``RT_FLARE_CACHE_DIR``, or ``rt_flare`` below ``XDG_CACHE_HOME`` or ``~/.cache``."""
    own = os.environ.get("RT_FLARE_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rt_flare"
