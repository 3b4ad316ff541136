"""What ``rt-flare`` says with its exit code; the first four as NVFlare's own command line does."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1
    """The job failed or was cancelled, or a file or process stood in the way."""
    USAGE = 4
    """An argument, the job or the module cannot be used as given."""
    INTERNAL = 5
    """An error of rt_flare's own."""
    INTERRUPTED = 130
    """Ctrl-C, as shells report it."""
