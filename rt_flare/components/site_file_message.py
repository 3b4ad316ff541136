"""What a message about a site's log or files is made of; sender and receiver agree here."""

from __future__ import annotations

__all__ = [
    "ALIVE",
    "CLOSED",
    "DATA",
    "INTERVAL",
    "KEEP_ALIVE_SECONDS",
    "KIND",
    "LAST",
    "OFFSET",
    "PARTS",
    "PIECE",
    "REFUSAL",
    "ROUND",
    "SESSION",
    "SIZE",
    "TOPIC",
]

TOPIC = "rt_flare.site_file"

KIND, SESSION, ROUND, PARTS, OFFSET, DATA, SIZE = (
    f"rt_{name}" for name in ("kind", "session", "round", "parts", "offset", "data", "size")
)
"""Keys of a message; all but the first two stand in a `PIECE` only (see `Outbox`)."""

PIECE, ALIVE, LAST, CLOSED = "piece", "alive", "last", "closed"
"""Kinds: a part of the log or a file; nothing new; all is sent; the site sends nothing."""

REFUSAL, INTERVAL = "rt_refusal", "rt_interval_seconds"
"""Keys of the answer: why a piece is refused for good, or None; how often the server wants to hear of a log."""

KEEP_ALIVE_SECONDS = 10.0
"""A site that sends nothing says so this often."""
