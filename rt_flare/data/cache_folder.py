"""Where decoded data lies on a site, and how much of the disk it may take."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from rt_flare.errors import ConfigError, DataError

__all__ = ["CACHE_BYTES_VARIABLE", "CACHE_DIR_VARIABLE", "CACHE_NAME", "CacheFullError", "cache_folder", "folder_turn"]
__all__ += ["make_room"]

CACHE_DIR_VARIABLE = "RT_FLARE_DECODED_CACHE_DIR"
CACHE_BYTES_VARIABLE = "RT_FLARE_DECODED_CACHE_BYTES"
CACHE_NAME = "decoded_cache"

_LOCK_SECONDS = 60.0
_LEFTOVER_SECONDS = 3600.0
_logger = logging.getLogger(__name__)


class CacheFullError(DataError):
    """Decoded data does not fit into its share of the disk."""

    code = "cache_full"


def cache_folder(data_root: Path, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder for what is derived from ``data_root``, made if missing, or None if none can be written.

    It is ``decoded_cache`` beside ``data_root``, or the folder that the variable ``RT_FLARE_DECODED_CACHE_DIR``
    names. Where it is made here, no other user of the machine sees into it.

    Raises:
        ConfigError: the variable names a folder inside ``data_root``, which is read only.
    """
    named = environment.get(CACHE_DIR_VARIABLE)
    folder = Path(named).absolute() if named else data_root.absolute().parent / CACHE_NAME
    if folder.resolve().is_relative_to(data_root.resolve()):
        raise ConfigError(f"{CACHE_DIR_VARIABLE}: found {folder}, expected a folder outside of the data {data_root}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        _logger.warning(
            "%s cannot be written: images are decoded anew in every epoch, and the manifest is read anew by every "
            "process. Set %s to a folder that can.",
            folder,
            CACHE_DIR_VARIABLE,
        )
        return None
    return folder


@contextlib.contextmanager
def folder_turn(folder: Path) -> Iterator[None]:
    """Take turns with other processes that add files to ``folder`` or remove them.

    Raises:
        TimeoutError: another process has had its turn for a minute.
    """
    try:
        with FileLock(folder / ".turn.lock", timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise TimeoutError(f"{folder}: another process held the lock for {_LOCK_SECONDS:g} s") from error


def make_room(folder: Path, needed: int, pattern: str, environment: Mapping[str, str] = os.environ) -> None:
    """Remove files ``pattern`` of ``folder``, least recently used first, until ``needed`` bytes fit into the budget.

    The budget is the number of bytes in the variable ``RT_FLARE_DECODED_CACHE_BYTES`` (0: no cache), by default half
    of what the disk has free without these files; every file counts in full, written or not. Files that a process
    holds open under a shared flock stay. To be called in the folder's turn.

    Raises:
        CacheFullError: they do not fit.
        ConfigError: the variable holds no number.
    """
    _remove_leftovers(folder)
    found = {path: path.stat() for path in folder.glob(pattern)}
    budget = _budget(folder, sum(status.st_blocks * 512 for status in found.values()), environment)
    total = sum(status.st_size for status in found.values())
    if needed <= budget:
        for path, status in sorted(found.items(), key=lambda item: item[1].st_mtime_ns):
            if total + needed <= budget:
                return
            if _remove_unused(path):
                total -= status.st_size
        if total + needed <= budget:
            return
    in_use = f", of which running jobs use {total}" if needed <= budget else ""
    raise CacheFullError(
        f"the decoded images need {needed} bytes, the budget in {folder} is {budget} bytes{in_use}. Free disk space, "
        f"or set {CACHE_BYTES_VARIABLE} or {CACHE_DIR_VARIABLE}."
    )


def _budget(folder: Path, allocated: int, environment: Mapping[str, str]) -> int:
    text = environment.get(CACHE_BYTES_VARIABLE)
    if text is None:
        return (shutil.disk_usage(folder).free + allocated) // 2
    if not text.isdecimal():
        raise ConfigError(f"{CACHE_BYTES_VARIABLE}: found {text!r}, expected a number of bytes, 0 for no cache")
    return int(text)


def _remove_unused(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
        path.with_suffix(".lock").unlink(missing_ok=True)
        _logger.info("%s: removed, to make room", path)
        return True


def _remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of writers that were killed."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()
