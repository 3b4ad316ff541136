"""URLs of storages, as configurations and messages may show them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from rt_flare.errors import ConfigError

__all__ = ["check_storage_url", "shown_url"]

_USER_INFO = re.compile(r"//[^/@]*@")


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
