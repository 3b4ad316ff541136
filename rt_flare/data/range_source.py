"""Where a shard is read from, piece by piece: what every kind of place offers, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from rt_flare.errors import ShardError

__all__ = [
    "ConnectionLostError",
    "ExpiredUrlError",
    "RangeReader",
    "RangeSource",
    "RemoteFile",
    "SourceChangedError",
    "SourceError",
]


class SourceError(ShardError):
    """The place that holds a shard refuses to give it."""

    code = "shard_source"


class ConnectionLostError(SourceError):
    """The connection failed, or the place asks to come back later: the same request may work the next time."""

    code = "shard_connection"


class ExpiredUrlError(SourceError):
    """A signed URL is past its time."""

    code = "shard_url_expired"


class SourceChangedError(SourceError):
    """The shard was replaced while it was read."""

    code = "shard_changed"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """What a place says about a file before it is read.

    Attributes:
        size: bytes.
        version: changes when the file does (an ETag, say); "" where the place tells none.
        ranges: whether pieces can be asked for; otherwise the file comes from its start to its end only.
    """

    size: int
    version: str
    ranges: bool


class RangeReader(Protocol):
    """One connection; used by one thread at a time."""

    def read_into(self, start: int, buffer: memoryview) -> Iterator[int]:
        """Fill ``buffer`` with the bytes from ``start`` on, in order, and yield the size of each piece that came.

        Raises:
            SourceError: of the kind that says whether another try may help.
        """

    def read_whole(self, size: int) -> Iterator[memoryview]:
        """Yield a file of ``size`` bytes from a place without ranges; each piece is valid until the next.

        Raises:
            SourceError: as in `read_into`.
        """

    def close(self) -> None:
        """Give the connection back."""

    def cancel(self) -> None:
        """Make a read that waits in another thread fail soon."""


class RangeSource(Protocol):
    """A file at some place."""

    @property
    def shown(self) -> str:
        """The place, for messages: without credentials."""

    def describe(self) -> RemoteFile:
        """Ask for size and version.

        Raises:
            SourceError: the file is not there, or may not be read.
        """

    def reader(self) -> RangeReader:
        """Return a new connection."""
