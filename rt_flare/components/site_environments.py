"""What the sites run on, gathered from their answers."""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from rt_flare.components.sender import sender
from rt_flare.components.wire import read_environment
from rt_flare.core.environment import Environment, Environments, SiteEnvironment, own_environment

__all__ = ["SiteEnvironments"]

_MAX_KINDS = 1_000


class SiteEnvironments:
    """Hears the sites' answers, whichever of NVFlare's controllers takes them, and keeps the newest of each site."""

    def __init__(self) -> None:
        self._found: dict[str, Environment] = {}
        self._kinds: dict[Environment, Environment] = {}
        self._changes, self._written = 0, -1

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Note what an answer says of its site."""
        if event_type != EventType.AFTER_PROCESS_SUBMISSION:
            return
        reply = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        environment = read_environment(reply) if isinstance(reply, Shareable) else None
        if environment is None:
            return
        # Most sites are like others: they share one object.
        if len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        environment = self._kinds.setdefault(environment, environment)
        site = sender(reply, fl_ctx)
        if self._found.get(site) is not environment:
            self._found[site] = environment
            self._changes += 1

    def write(self, folder: Path, job_id: str) -> None:
        """Replace ``environment.json`` in ``folder``, atomically, when there is news since it was written."""
        changes = self._changes
        if changes == self._written:
            return
        found = dict(self._found)
        sites = [SiteEnvironment(site=site, **found[site].model_dump()) for site in sorted(found)]
        Environments(job_id=job_id, server=own_environment(), sites=sites).write(folder)
        self._written = changes
