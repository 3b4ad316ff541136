"""A path that survives NVFlare's command lines, which it builds and splits again without quoting."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rt_flare.errors import DeploymentError

__all__ = ["is_plain", "plain_path"]

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def is_plain(path: Path | str) -> bool:
    """Whether a shell would take ``path`` for one word, as it stands."""
    return _PLAIN.fullmatch(str(path)) is not None


@contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Give an absolute path to ``folder``, which exists, without spaces or characters that a shell interprets.

    That is the path itself where it is plain, otherwise a link to it in a temporary folder, removed at the end:
    what is written through the link stands in ``folder`` at once.

    Raises:
        DeploymentError: the system's temporary folder has such a path itself.
    """
    folder = folder.resolve()
    if is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="rt-flare-") as temporary:
        if not is_plain(temporary):
            raise DeploymentError(
                f"NVFlare cannot run in {str(folder)!r}, nor in the temporary folder {temporary!r}: both have spaces "
                "or characters that a shell interprets; set TMPDIR to a folder without them"
            )
        link = Path(temporary) / "w"
        link.symlink_to(folder, target_is_directory=True)
        yield link
