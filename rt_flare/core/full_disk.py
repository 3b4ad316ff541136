"""A disk that is full for a moment: what has to be written waits until there is room again."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable

__all__ = ["PATIENCE_SECONDS", "outlast_full_disk"]

PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
_FULL = {errno.ENOSPC, errno.EDQUOT}
_logger = logging.getLogger(__name__)


def outlast_full_disk(write: Callable[[], None], *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Call ``write``, again every half second while it finds the disk full.

    Args:
        write: writes whole files anew, so that it can be called again.
        patience_seconds: how long to go on.

    Raises:
        OSError: the disk is still full after that time, or ``write`` failed otherwise; and whatever else it raises.
    """
    deadline = time.monotonic() + patience_seconds
    warned = False
    while True:
        try:
            write()
        except OSError as error:
            if error.errno not in _FULL or time.monotonic() >= deadline:
                raise
            if not warned:
                _logger.warning(f"the disk is full, waiting up to {patience_seconds:g} s for room: {error}")
                warned = True
        else:
            return
        time.sleep(_PAUSE_SECONDS)
