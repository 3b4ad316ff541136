"""What ``rt-flare`` says with its exit code; all but the last as NVFlare's own command line does."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1
    """The job failed or was cancelled, or a file or process stood in the way."""
    CONNECTION = 2
    """A server does not answer, or refuses the user."""
    TIMEOUT = 3
    """The job has not ended within the time that was given; it goes on."""
    USAGE = 4
    """An argument, the job or the module cannot be used as given."""
    INTERNAL = 5
    """An error of rt_flare's own."""
    INTERRUPTED = 130
    """Ctrl-C, as shells report it."""
