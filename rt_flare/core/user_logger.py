"""The logger that user code receives: callable with text or a dict, or used like Python's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rt_flare.core.durable_io import as_utf8

__all__ = ["UserLogger"]

_MAX_TEXT = 4_000
_LEVELS = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "err": "error",
    "error": "error",
}


class UserLogger:
    """Takes ``logger("text")``, ``logger({"type": "warn", "msg": "..."})`` and ``logger.info("...")``.

    Args:
        sink: receives the level (``debug``, ``info``, ``warning`` or ``error``) and the text, cut at 4,000
            characters.
    """

    def __init__(self, sink: Callable[[str, str], None]) -> None:
        self._sink = sink

    def __call__(self, event: Any) -> None:
        """Log text, or a mapping with ``type`` (level) and ``msg`` (text); further keys are shown as they are."""
        if not isinstance(event, Mapping):
            self._log("info", event)
            return
        level = _LEVELS.get(str(event.get("type", "info")).lower(), "info")
        rest = {key: value for key, value in event.items() if key not in ("type", "msg")}
        text = str(event.get("msg", ""))
        self._log(level, f"{text} {rest}".strip() if rest else text)

    def debug(self, message: Any, *args: Any) -> None:
        """Log details."""
        self._log("debug", message, *args)

    def info(self, message: Any, *args: Any) -> None:
        """Log progress."""
        self._log("info", message, *args)

    def warning(self, message: Any, *args: Any) -> None:
        """Log what is odd but no failure."""
        self._log("warning", message, *args)

    warn = warning

    def error(self, message: Any, *args: Any) -> None:
        """Log a failure."""
        self._log("error", message, *args)

    def _log(self, level: str, message: Any, *args: Any) -> None:
        text = as_utf8(str(message) % args if args else str(message))
        self._sink(level, text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}... ({len(text)} characters)")
