"""What sites run on: written when there is news, kept once for all that are alike (J10)."""

from __future__ import annotations

from pathlib import Path

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from rt_flare.components.site_environments import SiteEnvironments
from rt_flare.components.wire import ENVIRONMENT
from rt_flare.core.environment import own_environment, read_environments


def hear(environments: SiteEnvironments, site: str, cpus: int) -> None:
    """An answer of a site with so many processors."""
    reply, fl_ctx, peer = Shareable(), FLContext(), FLContext()
    reply.set_header(ENVIRONMENT, own_environment().model_dump() | {"cpus": cpus})
    fl_ctx.set_prop(FLContextKey.TASK_RESULT, reply, private=True, sticky=False)
    peer.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
    fl_ctx.set_peer_context(peer)
    environments.handle_event(EventType.AFTER_PROCESS_SUBMISSION, fl_ctx)


def test_it_is_written_when_a_site_says_something_new(tmp_path: Path) -> None:
    """J10: not after every round of every site."""
    environments, path = SiteEnvironments(), tmp_path / "environment.json"
    for site in ("b", "a"):
        hear(environments, site, 4)
    environments.write(tmp_path, "j")
    assert [(e.site, e.cpus) for e in read_environments(path).sites] == [("a", 4), ("b", 4)]
    path.unlink()
    hear(environments, "a", 4)
    environments.write(tmp_path, "j")
    assert not path.exists()
    hear(environments, "a", 8)
    environments.write(tmp_path, "j")
    assert [(e.site, e.cpus) for e in read_environments(path).sites] == [("a", 8), ("b", 4)]


def test_what_could_not_be_written_is_written_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J10: a disk that is full for a moment."""
    environments = SiteEnvironments()
    hear(environments, "a", 4)

    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("rt_flare.core.environment.write_json", refuse)
        with pytest.raises(OSError, match="No space left"):
            environments.write(tmp_path, "j")
    environments.write(tmp_path, "j")
    assert len(read_environments(tmp_path / "environment.json").sites) == 1


def test_sites_that_are_alike_share_what_is_kept(tmp_path: Path) -> None:
    """J10: ten thousand sites cost a reference each."""
    environments = SiteEnvironments()
    for number in range(50):
        hear(environments, f"site-{number}", 4)
    assert len({id(environment) for environment in environments._found.values()}) == 1
