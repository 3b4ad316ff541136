"""A site's unpacked shards, each once, under the SHA-256 of its ZIP; the least recently used make room."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.data.archive import DiskError, flush_file_system
from rt_flare.data.use_locks import UseLocks
from rt_flare.errors import ShardError

__all__ = ["SiteCache"]

_logger = logging.getLogger(__name__)
_EVICTED, _STAGING = ".evicted.", ".staging."


class SiteCache:
    """The folder ``data_dir`` of a site, shared by all jobs there, at the same time too.

    ``shards/{sha256}/`` with ``shards/{sha256}.json`` beside it is a complete shard. The JSON file says how large it
    is, and its date is that of the last use. ``{index}`` is a link to the shard that got this index last.
    What an instance handed out is in use, and stays, until `close` or the end of the process. Other users of the
    machine see none of it.

    Args:
        data_dir: the folder, made if missing.
        max_bytes: disk space of all shards together; shards that no job uses are removed when a new one would exceed
            it, least recently used first. 0 sets no limit.
        lock_timeout_seconds: how long to wait for another process that prepares the same shard.
    """

    def __init__(self, data_dir: Path, *, max_bytes: int = 0, lock_timeout_seconds: float = 1800.0) -> None:
        self.data_dir = data_dir
        self.max_bytes = max_bytes
        self.lock_timeout_seconds = lock_timeout_seconds
        self._shards = data_dir / "shards"
        self._incoming = data_dir / "incoming"
        for folder in (self._shards, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._uses = UseLocks(self._shards)
        self._flushes: list[threading.Thread] = []

    def close(self) -> None:
        """Let other jobs evict what was handed out; all of it is on disk then."""
        while self._flushes:
            self._flushes.pop().join()
        self._uses.release_all()

    @contextlib.contextmanager
    def preparing(self, key: str) -> Iterator[Path]:
        """Take the turn to prepare ``key`` and yield the file ``{key}.part`` that a download may use meanwhile.

        Raises:
            ShardError: another process held the turn for ``lock_timeout_seconds``.
        """
        with self._turn(self._incoming / f"{key}.lock"):
            yield self._incoming / f"{key}.part"

    def find(self, sha256: str) -> Path | None:
        """Return the folder of a shard, in use from now on, or None if it is not here."""
        self._uses.hold(sha256)
        record = self._read_marker(sha256)
        if record is None:
            self._uses.release(sha256)
            return None
        os.utime(self._marker(sha256))
        if record["unflushed_since_boot"]:
            self._flush_later(sha256, record)
        return self._shards / sha256

    def find_version(self, place: str, version: str) -> Path | None:
        """Return the folder of the shard that was fetched from ``place`` when that had ``version``, or None."""
        for sha256 in self._names() if version else []:
            record = self._read_marker(sha256)
            if record is not None and record.get("place") == place and record.get("version") == version:
                return self.find(sha256)
        return None

    @contextlib.contextmanager
    def staging(self, name: str, *, num_bytes: int, download_bytes: int = 0) -> Iterator[Path]:
        """Yield a new folder to unpack a shard of ``num_bytes`` into; removed at the end unless it was adopted.

        Raises:
            DiskError: as in `make_room`, which is asked for ``num_bytes``, on disk for ``download_bytes`` more.
        """
        staged = UseLocks(self._shards)
        with self._turn(self._shards / ".room.lock"):
            self._make_room(name, num_bytes, num_bytes + download_bytes)
            folder = Path(tempfile.mkdtemp(dir=self._shards, prefix=f"{_STAGING}{num_bytes}."))
            staged.hold(folder.name)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            (self._shards / f"{folder.name}.lock").unlink(missing_ok=True)
            staged.release_all()

    def adopt(self, staging: Path, sha256: str, *, num_bytes: int, place: str = "", version: str = "") -> Path:
        """Make the complete folder ``staging`` the one of ``sha256``, in use from now on, and return it.

        ``place`` and ``version`` say what it was read from, for `find_version`.
        """
        target = self._shards / sha256
        with self._turn(self._shards / ".adopt.lock"):
            if self.find(sha256) is not None:
                return target
            self._uses.hold(sha256)
            if target.exists():
                shutil.rmtree(target)  # left by a process that was killed between the two steps below
            staging.rename(target)
            record = {
                "archive_sha256": sha256,
                "num_bytes": num_bytes,
                "place": place,
                "version": version,
                "unflushed_since_boot": _boot_id(),
            }
            # Not flushed: that would wait for the files.
            fresh = self._shards / f".{sha256}.fresh"
            fresh.write_text(json.dumps(record))
            fresh.replace(self._marker(sha256))
        self._flush_later(sha256, record)
        return target

    def link(self, index: int, folder: Path) -> Path:
        """Point ``{data_dir}/{index}`` at ``folder`` and return that path.

        Where another job at work has another shard under this index, its link stays, and ``folder`` is returned.

        Raises:
            ShardError: something that is no such link is in the way.
        """
        place = self.data_dir / str(index)
        with self._turn(self.data_dir / f"{index}.lock"):
            if place.is_symlink():
                present = place.readlink()
                if present.parent != Path("shards"):
                    raise self._in_the_way(place)
                if present.name == folder.name:
                    return place
                with self._uses.alone(present.name) as unused:
                    if not unused:
                        return folder
            elif place.exists():
                raise self._in_the_way(place)
            fresh = self.data_dir / f".{index}.link"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(f"shards/{folder.name}")
            fresh.replace(place)
        return place

    def make_room(self, name: str, *, disk_bytes: int) -> None:
        """Evict what no job uses, least recently used first, until the disk has ``disk_bytes`` free.

        Raises:
            DiskError: it has not, whatever is evicted; ``name`` names the shard in it.
        """
        with self._turn(self._shards / ".room.lock"):
            self._make_room(name, 0, disk_bytes)

    def _make_room(self, name: str, num_bytes: int, disk_bytes: int) -> None:
        self._sweep()
        if self.max_bytes and num_bytes > self.max_bytes:
            raise DiskError(
                f"{name}: the shard needs {num_bytes} bytes, the site's cache may hold {self.max_bytes}. Raise its "
                f"size cap, or make smaller shards."
            )
        for sha256 in self._names():
            if self._over_cap(num_bytes) <= 0 and self._free() >= disk_bytes:
                return
            self._evict(sha256)
        over = self._over_cap(num_bytes)
        if num_bytes and over > 0:
            raise DiskError(
                f"{name}: the shard needs {num_bytes} bytes, {over} more than the {self.max_bytes} of the site's cache "
                f"leave beside what jobs at work use. Wait for them, or raise the cap."
            )
        if self._free() < disk_bytes:
            self._drop_downloads()
        free = self._free()
        if free < disk_bytes:
            raise DiskError(
                f"{name}: too little disk: {self.data_dir} has {free} bytes free, the shard needs {disk_bytes}. "
                f"Free some."
            )

    def _over_cap(self, num_bytes: int) -> int:
        if not self.max_bytes:
            return 0
        records = (self._read_marker(sha256) for sha256 in self._names())
        present = sum(int(record["num_bytes"]) for record in records if record is not None)
        coming = sum(int(folder.name.split(".")[2]) for folder in self._staged())
        return present + coming + num_bytes - self.max_bytes

    def _free(self) -> int:
        return shutil.disk_usage(self.data_dir).free

    def _names(self) -> list[str]:
        """The shards, least recently used first."""
        markers = sorted(self._shards.glob("*.json"), key=lambda marker: marker.stat().st_mtime_ns)
        return [marker.stem for marker in markers]

    def _staged(self) -> list[Path]:
        return [path for path in self._shards.glob(f"{_STAGING}*") if path.suffix != ".lock"]

    def _marker(self, sha256: str) -> Path:
        return self._shards / f"{sha256}.json"

    def _read_marker(self, sha256: str) -> dict[str, Any] | None:
        marker = self._marker(sha256)
        try:
            record = read_json(marker)
            usable = isinstance(record, dict) and type(record["num_bytes"]) is int
        except FileNotFoundError:
            return None
        except (ValueError, KeyError):
            usable = False
        if not usable:
            _logger.warning("%s: no record of a shard, as a power cut may leave it: the shard is made again", marker)
            return None
        # Files that were not on disk when the machine went down may be empty now.
        lost = record.get("unflushed_since_boot") not in {"", _boot_id()}
        return record if not lost and (self._shards / sha256).is_dir() else None

    def _flush_later(self, sha256: str, record: dict[str, Any]) -> None:
        """Flush a shard while the job goes on, and only then note that a power cut cannot harm it any more."""

        def flush() -> None:
            try:
                flush_file_system(self._shards / sha256)
                write_json(self._marker(sha256), {**record, "unflushed_since_boot": ""})
            except (DiskError, OSError) as error:
                # The files are good until the machine goes down, and the marker says no more than that.
                _logger.warning("%s: not flushed to disk: %s", self._shards / sha256, error)

        thread = threading.Thread(target=flush, name="shard flush")
        self._flushes.append(thread)
        thread.start()

    def _evict(self, sha256: str) -> None:
        with self._uses.alone(sha256) as unused:
            if unused:
                # Without its marker the folder is nothing, and the rename lets the next sweep end what is cut short.
                self._marker(sha256).unlink(missing_ok=True)
                grave = self._shards / f"{_EVICTED}{sha256}"
                if (self._shards / sha256).exists():
                    (self._shards / sha256).rename(grave)
                    shutil.rmtree(grave)

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        for grave in self._shards.glob(f"{_EVICTED}*"):
            shutil.rmtree(grave)
        for folder in self._staged():
            with self._uses.alone(folder.name) as unused:
                if unused:
                    shutil.rmtree(folder)
                    (self._shards / f"{folder.name}.lock").unlink(missing_ok=True)

    def _drop_downloads(self) -> None:
        for part in self._incoming.glob("*.part"):
            with contextlib.suppress(Timeout), FileLock(part.with_suffix(".lock"), timeout=0):
                part.unlink(missing_ok=True)
                part.with_name(f"{part.name}.map").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _turn(self, lock: Path) -> Iterator[None]:
        try:
            with FileLock(lock, timeout=self.lock_timeout_seconds):
                yield
        except Timeout as error:
            raise ShardError(
                f"{lock}: another process held the lock for {self.lock_timeout_seconds:g} s. Wait for it, or end it "
                f"if it hangs."
            ) from error

    def _in_the_way(self, place: Path) -> ShardError:
        return ShardError(
            f"{place} was not made from a shard and will not be replaced. Move it away, choose another data_dir, or "
            f"point the site's data_root at it."
        )


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
