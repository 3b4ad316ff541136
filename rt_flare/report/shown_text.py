"""Text of sites and users as a report may show it: every character visible, no secret of a URL."""

from __future__ import annotations

import math
import re
from itertools import pairwise

__all__ = ["HIDDEN", "is_secret_name", "shown", "shown_number"]

HIDDEN = "(hidden)"
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@\"'<>]*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s?\"'<>]*)\?[^\s\"'<>]*")
_ASSIGNMENT = re.compile(
    r"(?i)([\w-]*(?:password|passwd|secret|token|signature|credential)[\w-]*=)(?!\(hidden\))[^\s&,;\"')]+"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_SECRET_WORDS = {
    *("password", "passwords", "passwd", "passphrase", "secret", "secrets", "token", "credential", "credentials"),
    *("signature", "authorization", "apikey"),
}
_KEY_KINDS = {"api", "access", "private", "secret", "ssh", "sftp", "signing", "encryption"}
# Controls, and what changes the direction of text or has no width: a name could pass for another one.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def shown(text: str) -> str:
    """Return ``text`` with a name for every invisible character, and without what in a URL may be a secret."""
    text = _QUERY.sub(r"\1?...", _USER_INFO.sub(r"\1", text))
    return _INVISIBLE.sub(_named, _ASSIGNMENT.sub(rf"\1{HIDDEN}", text))


def is_secret_name(name: str) -> bool:
    """Whether a configuration value of this name is a secret: judged by its words, so that ``tokenizer`` is none."""
    words = [word.lower() for word in _WORD.findall(name)]
    if _SECRET_WORDS & set(words):
        return True
    return any(kind in _KEY_KINDS and key in {"key", "keys"} for kind, key in pairwise(words))


def shown_number(value: float | None, digits: int = 4) -> str:
    """Return ``value`` with ``digits`` significant digits; an empty text for None, a name for what is not finite."""
    if value is None:
        return ""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return f"{value:.{digits}g}"


def _named(found: re.Match[str]) -> str:
    return f"<U+{ord(found[0]):04X}>"
