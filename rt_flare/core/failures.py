"""From an exception to a `Failure`: what happened, of which kind, and at which line of the user's code."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import torch

import rt_flare
from rt_flare.core.durable_io import as_utf8
from rt_flare.core.round_record import Failure
from rt_flare.errors import (
    ContractError,
    DataError,
    ModelError,
    ResultError,
    RtFlareError,
    WorkerDiedError,
    WorkerTimeoutError,
)

__all__ = ["describe_exception", "relative_paths"]

_MAX_MESSAGE = 2_000
_MAX_TRACEBACK = 8_000
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate")
_OWN_ROOT = f"{Path(rt_flare.__file__).parents[1]}/"
_INSTALLED = re.compile(r'(?<=File ")/[^"\n]*/(?=(?:site|dist)-packages/|lib/python3\.\d+/)')
_ELSEWHERE = re.compile(r'(?<=File ")/[^"\n]*/(?=[^"/\n]+")')
_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (WorkerTimeoutError, "worker_timeout"),
    (WorkerDiedError, "worker_died"),
    (ResultError, "result"),
    (ContractError, "contract"),
    (ModelError, "model"),
    (DataError, "data"),
    (FileNotFoundError, "data"),
    (ImportError, "import"),
    (NameError, "import"),
    (SyntaxError, "import"),
)


def describe_exception(
    error: BaseException,
    *,
    code_dir: Path | None = None,
    site: str | None = None,
    round_number: int | None = None,
) -> Failure:
    """Describe ``error`` for people who did not see it happen.

    Args:
        error: the exception.
        code_dir: folder of the job's code: the deepest frame in it is the one that the user can act on, and paths
            in it are shown relative to it. Without such a frame, the deepest frame outside of libraries is shown.
        site: the site where it happened; None for the server.
        round_number: 0-based round.
    """
    file, line = _place(error, code_dir)
    text = _user_traceback(error, code_dir)
    message = f"{type(error).__name__}: {error}".strip()
    text = relative_paths(text, code_dir)
    if code_dir is not None:
        message = message.replace(f"{code_dir}/", "")
    return Failure(
        kind=_kind(error),
        message=as_utf8(message[:_MAX_MESSAGE]),
        site=site,
        round=round_number,
        file=file,
        line=line,
        traceback=as_utf8(text[-_MAX_TRACEBACK:]) or None,
    )


def relative_paths(text: str, code_dir: Path | None) -> str:
    """A traceback, or a stack of faulthandler's, without the folders of the machine that it comes from.

    Files of the job's code are shown relative to ``code_dir``, installed ones from ``site-packages`` or
    ``lib/python3.x`` on, rt_flare's own from ``rt_flare`` on, others by name.
    """
    if code_dir is not None:
        text = text.replace(f"{code_dir}/", "")
    text = _INSTALLED.sub("", text).replace(f'File "{_OWN_ROOT}', 'File "')
    return _ELSEWHERE.sub("", text)


def _kind(error: BaseException) -> str:
    text = str(error).lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "out_of_memory"
    if isinstance(error, RuntimeError | OSError) and any(sign in text for sign in _OUT_OF_MEMORY):
        return "out_of_memory"
    return next((kind for type_, kind in _KINDS if isinstance(error, type_)), "exception")


def _user_traceback(error: BaseException, code_dir: Path | None) -> str:
    """The traceback from the first frame of user code on; whole without such a frame; none for our own errors."""
    start = error.__traceback__
    while start is not None and not _is_in(start.tb_frame.f_code.co_filename, code_dir):
        start = start.tb_next
    if start is None and isinstance(error, RtFlareError):
        return ""
    return "".join(traceback.format_exception(type(error), error, start or error.__traceback__))


def _is_in(file: str, code_dir: Path | None) -> bool:
    return code_dir is not None and Path(file).is_relative_to(code_dir)


def _place(error: BaseException, code_dir: Path | None) -> tuple[str | None, int | None]:
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        return _shown(error.filename, code_dir), error.lineno
    if isinstance(error, ContractError) and error.source is not None:
        return _shown(error.source[0], code_dir), error.source[1]
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f for f in frames if _is_in(f[0], code_dir)]
    theirs = [f for f in frames if "site-packages" not in f[0] and not f[0].startswith("<")]
    for file, line in [*reversed(own), *reversed(theirs)]:
        return _shown(file, code_dir), line
    return None, None


def _shown(file: str, code_dir: Path | None) -> str:
    path = Path(file)
    if code_dir is not None and path.is_relative_to(code_dir):
        return str(path.relative_to(code_dir))
    return path.name
