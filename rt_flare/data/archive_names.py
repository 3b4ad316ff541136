"""Which entry names a shard ZIP may hold: the same rule when a shard is built and when it is unpacked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from rt_flare.errors import ShardError

__all__ = ["check_names", "name_problems"]

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_PART_BYTES = 255


def check_names(names: Iterable[str], archive: str) -> None:
    """Refuse entry names that could leave the target folder or hide one another; folders end in ``/``.

    Raises:
        ShardError: the first of `name_problems`; ``archive`` names the shard in it.
    """
    for problem in name_problems(names):
        raise ShardError(f"{archive}: {problem}")


def name_problems(names: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong, each in words of its own.

    Absolute, ``..``, a backslash, control characters, a part that is empty, ``.`` or too long, a duplicate, a name
    that is both file and folder, names that differ only in case or in Unicode form.
    """
    files: set[str] = set()
    folders: set[str] = set()
    spelling: dict[str, str] = {}
    for name in names:
        problem = _problem(name)
        if problem is not None:
            yield f"entry {name!r}: {problem}"
            continue
        parts = name.removesuffix("/").split("/")
        whole = "/".join(parts)
        parents = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        if whole in files and not name.endswith("/"):
            yield f"duplicate entry {name!r}. Give every file a name of its own."
        for prefix in [*parents, whole]:
            first = spelling.setdefault(unicodedata.normalize("NFC", prefix).casefold(), prefix)
            if first != prefix:
                yield (
                    f"case collision: {first!r} and {prefix!r} are the same file on systems that ignore "
                    f"case or Unicode form. Rename one."
                )
        folders.update(parents)
        (folders if name.endswith("/") else files).add(whole)
        clash = next((prefix for prefix in [*parents, whole] if prefix in files and prefix in folders), None)
        if clash is not None:
            yield f"entry {clash!r} is both a file and a folder. Rename one."


def _problem(name: str) -> str | None:
    if "\\" in name:
        return "a backslash in the name. Pack the shard again with '/' between folders."
    if name.startswith("/") or _DRIVE.match(name):
        return "an absolute path. Pack the shard with paths relative to its root."
    if _CONTROL.search(name):
        return "a control character in the name. Rename the file."
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        return "'..' in the path. Pack the shard with paths inside its root."
    if "" in parts or "." in parts:
        return "an empty or '.' part in the path. Pack the shard with plain relative paths."
    if any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        return f"a part longer than {_MAX_PART_BYTES} bytes. Shorten the name."
    return None
