"""Python's tracebacks and faulthandler's stacks in the lines of a log: exceptions, and the user's line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ExceptionBlock", "choose_block", "dumped_place", "error_blocks", "shown_file"]

_FRAME = re.compile(r'\s*File "([^"\n]+)", line (\d{1,9})(?:,| in |$)')
_HEADING = "Traceback (most recent call last):"
_LINK = re.compile(
    r"(?:During handling of the above exception, another exception occurred|"
    r"The above exception was the direct cause of the following exception):$"
)
_OURS = "rt_flare.errors."
_OWN_ERROR = re.compile(r"(?:rt_flare(?:\.\w+)*\.)(\w+(?:Error|Exception)\b.*)", re.DOTALL)


@dataclass(frozen=True)
class ExceptionBlock:
    """One exception of a chain.

    Attributes:
        error: its last line: the type and the message's first line.
        frames: (file, 1-based line), from the outermost to the innermost.
        text: the whole block.
    """

    error: str
    frames: tuple[tuple[str, int], ...]
    text: str

    @property
    def user_frame(self) -> tuple[str, int] | None:
        """The innermost frame in a job's own code."""
        return next((frame for frame in reversed(self.frames) if _is_users(frame[0])), None)

    @property
    def is_ours(self) -> bool:
        """Whether the exception is one of rt_flare's: it says what to do."""
        return self.error.startswith(_OURS) or _OWN_ERROR.match(self.error) is not None

    @property
    def message(self) -> str:
        """The error without the package of rt_flare's own exceptions."""
        own = _OWN_ERROR.match(self.error)
        return own[1] if own else self.error


def error_blocks(lines: Sequence[str]) -> list[ExceptionBlock]:
    """The exceptions of the first traceback in ``lines``, the one that came first at the beginning.

    The traceback may be indented, as a whole. One that is cut off gives what is there of it.
    """
    blocks: list[ExceptionBlock] = []
    start = next((i for i, line in enumerate(lines) if _HEADING in line), None)
    indent = ""
    if start is not None:
        own = lines[start]
        indent = own[: len(own) - len(own.lstrip())]
    while start is not None:
        end = start + 1
        # Frames, source lines and markers are indented; the exception itself is the first line that is not.
        while end < len(lines) and _is_inside(lines[end], indent):
            end += 1
        if end >= len(lines):
            break
        frames = tuple((m[1], int(m[2])) for m in map(_FRAME.match, lines[start + 1 : end]) if m)
        text = "\n".join(line.removeprefix(indent) for line in lines[start : end + 1])
        blocks.append(ExceptionBlock(lines[end].strip(), frames, text))
        link = next((i for i in range(end + 1, len(lines)) if _LINK.match(lines[i].strip())), None)
        start = next((i for i in range(link, len(lines)) if _HEADING in lines[i]), None) if link is not None else None
    return blocks


def choose_block(blocks: Sequence[ExceptionBlock]) -> tuple[ExceptionBlock, tuple[str, int] | None]:
    """The exception of a chain to show, and the place in the user's code to show with it."""
    place = next((block.user_frame for block in blocks if block.user_frame), None)
    return next((block for block in blocks if block.is_ours), blocks[0]), place


def dumped_place(lines: Sequence[str]) -> tuple[str, int] | None:
    """The innermost frame of the user's code in a stack of faulthandler's, which begins with the innermost."""
    frames = ((m[1], int(m[2])) for m in map(_FRAME.match, lines) if m)
    return next((frame for frame in frames if _is_users(frame[0])), None)


def shown_file(file: str) -> str:
    """A file of a job's code, relative to the folder of that code."""
    return file.rpartition("/custom/")[2]


def _is_inside(line: str, indent: str) -> bool:
    inner = line.removeprefix(indent)
    return not inner.strip() or inner[0] in " \t"


def _is_users(file: str) -> bool:
    # A job's own code is deployed into a folder "custom" below the run folder; in a site's report it is relative.
    if "-packages/" in file or file.startswith(("<", "lib/python3", "rt_flare/")):
        return False
    return "/custom/" in file or not file.startswith(("/", "\\"))
