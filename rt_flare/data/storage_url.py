"""URLs of storages, as configurations and messages may show them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from rt_flare.errors import ConfigError

__all__ = ["check_storage_url", "shown_text", "shown_url"]

_USER_INFO = re.compile(r"//[^/@]*@")
_USER_IN_TEXT = re.compile(r"(\w:/{1,2})[^/@\s]*@")
_SIGNATURE_IN_TEXT = re.compile(r"\?[^\s'\"]*(?:signature|sig|token)=[^\s'\"]*", re.IGNORECASE)


def check_storage_url(url: str) -> None:
    """Refuse a URL that could not stand in a configuration.

    Raises:
        ConfigError: ``url`` holds a user, a password or a query.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"{shown_url(url)}: found a user, a query or a fragment in the URL, expected the place only. Credentials "
            f"go to the environment (FSSPEC_S3_KEY and so on) or to fsspec's own configuration file."
        )


def shown_url(url: str) -> str:
    """Return ``url`` for a message: without user and password, without the query, which holds a signature."""
    return _USER_INFO.sub("//", url.partition("?")[0].partition("#")[0])


def shown_text(text: str) -> str:
    """Return a message of any origin without users, passwords and signatures of the URLs in it."""
    return _SIGNATURE_IN_TEXT.sub("", _USER_IN_TEXT.sub(r"\1", text))
