"""The clocks of machines against each other: by the tasks that the server gave out and the sites got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from rt_flare.jobs.doctor.process_story import ProcessStory

__all__ = ["CLOCK_TOLERANCE_SECONDS", "clock_offsets"]

CLOCK_TOLERANCE_SECONDS = 5.0
"""Within this, the logs of two machines do not say which error came first, unless their clocks can be compared."""
_SAME_CLOCK_SECONDS = 1.0


def clock_offsets(stories: Sequence[ProcessStory]) -> Mapping[str, float]:
    """What to add to each site's times to get the server's, for the sites whose clock can be compared.

    A task is in the server's log when it is given out, and in the site's when it is there: the median difference is
    that of the clocks, zones included, plus the way of a task. Below one second it counts as none. The server's own
    is 0.
    """
    given: dict[str, float] = {}
    for story in stories:
        if story.is_server:
            given |= story.tasks
    offsets = {story.process: 0.0 for story in stories if story.is_server}
    for story in stories:
        differences = [given[task] - time for task, time in story.tasks.items() if task in given]
        if story.is_server or not differences:
            continue
        offset = median(differences)
        offsets[story.process] = offset if abs(offset) >= _SAME_CLOCK_SECONDS else 0.0
    return offsets
