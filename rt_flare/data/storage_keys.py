"""Names of objects in a storage: letters, digits, ``.``, ``_`` and ``-``, which every storage and shell takes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from rt_flare.errors import ConfigError

__all__ = ["storage_key", "storage_keys"]

_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")


def storage_key(name: str) -> str:
    """Return the slug of a relative path: accents dropped, each run of other characters one ``-``.

    Raises:
        ConfigError: a part of the path has no letter, digit or ``_`` left, or is ``.`` or ``..``.
    """
    parts = []
    for part in name.split("/"):
        plain = unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode()
        slug = _OTHERS.sub("-", plain).strip("-")
        if not slug.strip("."):
            raise ConfigError(f"{name!r}: no name for a storage is left of {part!r}. Rename the file.")
        parts.append(slug)
    return "/".join(parts)


def storage_keys(names: Iterable[str]) -> dict[str, str]:
    """Return the slug of each name.

    Raises:
        ConfigError: two names have one slug, or slugs that differ only in case.
    """
    keys: dict[str, str] = {}
    first: dict[str, str] = {}
    for name in names:
        key = storage_key(name)
        other = first.setdefault(key.casefold(), name)
        if other != name:
            raise ConfigError(f"{other!r} and {name!r} would both be {key!r} in the storage. Rename one.")
        keys[name] = key
    return keys
