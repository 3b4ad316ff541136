"""Images behind ``https://`` URLs: fetched once into a cache, from public hosts only."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from filelock import FileLock

from rt_flare.core.durable_io import write_bytes
from rt_flare.data.cache_home import cache_home
from rt_flare.data.http_connection import request_path
from rt_flare.data.public_address import connect_public
from rt_flare.data.uris import shown_uri
from rt_flare.errors import DataError

__all__ = ["RemoteImages"]

_CHUNK_BYTES = 1 << 16
_MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_COME_BACK_LATER = {408, 425, 429, 500, 502, 503, 504}
_NUM_LOCKS = 4096
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"


class _TryAgainError(Exception):
    """This try failed; another one may not."""


@dataclass(frozen=True, kw_only=True)
class RemoteImages:
    """Fetches images, each once per machine; can be pickled.

    Hosts with private, loopback, link-local or reserved addresses are refused before anything is connected to, also
    behind a redirect, unless the site allows them (see `ALLOWED_NETWORKS`). Proxies are not used: they resolve names
    themselves.

    Attributes:
        max_bytes: largest image.
        timeout_seconds: for connecting, and for every wait for the next bytes.
        total_seconds: for one try.
        max_tries: tries in all.
        backoff_seconds: pause after the first failed try; doubles.
    """

    max_bytes: int = 64 << 20
    timeout_seconds: float = 20.0
    total_seconds: float = 120.0
    max_tries: int = 4
    backoff_seconds: float = 0.5

    def file(self, url: str) -> Path:
        """Return the file with the image, fetched from its host the first time.

        Raises:
            PrivateAddressError: the host is not public.
            DataError: it cannot be fetched; the message says why, without user and query of the URL.
        """
        place = self.place(url)
        if place.exists():
            return place
        lock = cache_home() / "images" / "locks" / f"{int(place.name[:8], 16) % _NUM_LOCKS:03x}.lock"
        place.parents[1].mkdir(mode=0o700, parents=True, exist_ok=True)  # for this user alone
        lock.parent.mkdir(exist_ok=True)
        with FileLock(lock):
            if not place.exists():
                write_bytes(place, self._fetch(url))
        return place

    def place(self, url: str) -> Path:
        """Return where the image lies once it has been fetched."""
        name = hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()
        return cache_home() / "images" / name[:2] / name

    def _fetch(self, url: str) -> bytes:
        problem: Exception | None = None
        for number in range(self.max_tries):
            if number:
                time.sleep(self.backoff_seconds * 2 ** (number - 1))
            try:
                return self._try(url)
            except (_TryAgainError, OSError, http.client.HTTPException) as error:
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise DataError(
                        f"{shown_uri(url)}: its certificate is not trusted: {error.verify_message}"
                    ) from error
                problem = error
        raise DataError(
            f"{shown_uri(url)}: not fetched in {self.max_tries} tries: {type(problem).__name__.strip('_')}: {problem}"
        ) from problem

    def _try(self, url: str) -> bytes:
        deadline = time.monotonic() + self.total_seconds
        target = url
        for _ in range(_MAX_REDIRECTS + 1):
            host, port, path = _parts(target)
            connection = _PublicConnection(host, port, self.timeout_seconds)
            try:
                connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "rt_flare"})
                response = connection.getresponse()
                if response.status not in _REDIRECTS:
                    return self._receive(url, response, deadline)
                target = _joined(target, response.headers.get("Location", ""))
            finally:
                connection.close()
        raise DataError(f"{shown_uri(url)}: more than {_MAX_REDIRECTS} redirects")

    def _receive(self, url: str, response: http.client.HTTPResponse, deadline: float) -> bytes:
        if response.status in _COME_BACK_LATER:
            raise _TryAgainError(f"HTTP {response.status} {response.reason}")
        if response.status != http.HTTPStatus.OK:
            raise DataError(f"{shown_uri(url)}: the server refuses (HTTP {response.status} {response.reason})")
        expected = response.length
        content = bytearray()
        while chunk := response.read(_CHUNK_BYTES):
            content += chunk
            if max(len(content), expected or 0) > self.max_bytes:
                raise DataError(f"{shown_uri(url)}: larger than {self.max_bytes} bytes, the most for a remote image")
            if time.monotonic() > deadline:
                raise _TryAgainError(f"not all there after {self.total_seconds:g} s")
        if expected is not None and len(content) != expected:
            raise _TryAgainError(f"cut off after {len(content)} of {expected} bytes")
        return bytes(content)


class _PublicConnection(http.client.HTTPSConnection):
    """Connects to the address that was checked; the certificate is checked against the name."""

    def __init__(self, host: str, port: int, timeout_seconds: float) -> None:
        super().__init__(host, port, timeout=timeout_seconds)
        self._seconds = timeout_seconds

    def connect(self) -> None:
        plain = connect_public(self.host, self.port, self._seconds)
        try:
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise DataError(f"{shown_uri(url)}: redirects to what is no URL: {error}") from error


def _parts(url: str) -> tuple[str, int, str]:
    """Host, port and path with query of a URL that may be fetched."""
    try:
        parts = urlsplit(quote(url, safe=_URL_CHARACTERS, errors="surrogatepass"))
        port = parts.port or 443
    except ValueError as error:
        raise DataError(f"{shown_uri(url)}: no URL: {error}") from error
    if parts.scheme != "https" or not parts.hostname:
        raise DataError(f"{shown_uri(url)}: expected https:// and a host; redirects must lead there too")
    if parts.username is not None or parts.password is not None:
        raise DataError(f"{shown_uri(url)}: found a user in the URL, expected none. Sign the URL instead.")
    return parts.hostname, port, request_path(parts)
