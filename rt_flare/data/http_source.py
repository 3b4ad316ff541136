"""A shard behind an ``http(s)`` URL, signed ones included: an expired one is signed again, once."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urljoin, urlsplit

from rt_flare.data.http_connection import connect, request_target
from rt_flare.data.range_source import (
    ConnectionLostError,
    ExpiredUrlError,
    RemoteFile,
    SourceChangedError,
    SourceError,
)
from rt_flare.data.storage_url import shown_url
from rt_flare.errors import ConfigError

__all__ = ["HttpReader", "HttpSource"]

_CHUNK_BYTES = 1 << 20
_MAX_REDIRECTS = 5
_MAX_BODY_BYTES = 1 << 16
_REDIRECTS = {301, 302, 303, 307, 308}
_COME_BACK_LATER = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_SAYS_EXPIRED = re.compile(rb"expired|not valid in the specified time", re.IGNORECASE)


class HttpSource:
    """A file behind a URL.

    Args:
        url: ``http://`` or ``https://``; its query stays out of every message.
        resign: returns a fresh URL for the same file; asked when the current one has expired, and not again before
            the fresh one has given something. None: an expired URL is an error at once.
        timeout_seconds: for connecting, and for every wait for the next bytes.

    Raises:
        ConfigError: no such URL.
    """

    def __init__(self, url: str, *, resign: Callable[[], str] | None = None, timeout_seconds: float = 60.0) -> None:
        _check_url(url)
        self.timeout_seconds = timeout_seconds
        self._url = url
        self._resign = resign
        self._fresh = False
        self._lock = threading.Lock()
        self._version: str | None = None

    @property
    def shown(self) -> str:
        """The URL without its query."""
        return shown_url(self._url)

    def describe(self) -> RemoteFile:
        """Ask for one byte: a signed URL allows no HEAD.

        Raises:
            SourceError: see `HttpReader.read_into`.
        """
        reader = HttpReader(self)
        try:
            response = reader.request(0, 1)
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            size = found[3] if found else response.headers.get("Content-Length", "")
            if not size.isdecimal():
                raise SourceError(f"{self.shown}: the server does not say how large the file is, expected a file")
            self._version = _version(response)
            return RemoteFile(size=int(size), version=self._version, ranges=found is not None)
        finally:
            reader.close()

    def reader(self) -> HttpReader:
        """Return a new connection, opened when first used."""
        return HttpReader(self)

    def url(self) -> str:
        """Return the URL to ask now."""
        with self._lock:
            return self._url

    def renew(self, expired_url: str) -> None:
        """Take a fresh URL in place of ``expired_url``, unless another connection has done so.

        Raises:
            ExpiredUrlError: there is no way to, or the fresh URL has expired as well.
        """
        with self._lock:
            if self._url != expired_url:
                return
            if self._resign is None:
                raise ExpiredUrlError(
                    f"{self.shown}: the signed URL has expired. Get a fresh one: a URL lasts as long as was asked for "
                    f"when it was signed, at most an hour for those of the server."
                )
            if self._fresh:
                raise ExpiredUrlError(
                    f"{self.shown}: the signed URL has expired, and so has a fresh one that was signed just now. "
                    f"Compare the clocks of the machine that signs and of the storage."
                )
            url = self._resign()
            _check_url(url)
            self._url, self._fresh = url, True

    def worked(self, response: http.client.HTTPResponse) -> None:
        """Note that the current URL gave an answer, and check that it is about the same file.

        Raises:
            SourceChangedError: it is not.
        """
        version = _version(response)
        with self._lock:
            self._fresh = False
        if self._version and version != self._version:
            raise SourceChangedError(
                f"{self.shown}: the file was replaced while it was read: version {self._version}, now {version!r}. "
                f"Fetch it again."
            )


class HttpReader:
    """One connection to the server of an `HttpSource`, kept open between pieces."""

    def __init__(self, source: HttpSource) -> None:
        self._source = source
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._origin: tuple[str, str] | None = None

    def read_into(self, start: int, buffer: memoryview) -> Iterator[int]:
        """Fill ``buffer`` with the bytes from ``start`` on, and yield the size of each piece.

        Raises:
            ConnectionLostError: no connection, a cut one, silence for the timeout, or the server is overloaded.
            ExpiredUrlError: the URL has expired and no fresh one helps.
            SourceChangedError: the file is another one now.
            SourceError: the server refuses, or answers with something else than was asked for.
        """
        response = self._requested(start, start + len(buffer))
        done = 0
        while done < len(buffer):
            count = self._receive(response, buffer[done : done + _CHUNK_BYTES], len(buffer) - done)
            done += count
            yield count
        if not response.isclosed():
            self.close()

    def read_whole(self, size: int) -> Iterator[memoryview]:
        """Yield the file of ``size`` bytes from its start; each piece is valid until the next is asked for.

        Raises:
            SourceError: as in `read_into`.
        """
        response = self._requested(0, size)
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        while size:
            count = self._receive(response, buffer[:size], size)
            size -= count
            yield buffer[:count]

    def _requested(self, start: int, stop: int) -> http.client.HTTPResponse:
        response = self.request(start, stop)
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        # Some servers answer 200 to a range and still send just that range, so the header decides.
        if start > 0 and (not found or int(found[1]) != start):
            raise SourceError(f"{self._source.shown}: asked for byte {start} and on, the server sent something else")
        return response

    def _receive(self, response: http.client.HTTPResponse, buffer: memoryview, missing: int) -> int:
        try:
            count = response.readinto(buffer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._lost(error) from error
        if not count:
            raise self._lost(f"the server closed the connection {missing} bytes before the end")
        return count

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def cancel(self) -> None:
        """Make a read that waits in another thread fail soon."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the connection may be over
                self._socket.shutdown(socket.SHUT_RDWR)

    def request(self, start: int, stop: int) -> http.client.HTTPResponse:
        """Ask for a piece and return the answer, with its body yet to be read.

        Raises:
            SourceError: as in `read_into`.
        """
        while True:
            url = self._source.url()
            response = self._follow(url, start, stop)
            if 200 <= response.status < 300:
                self._source.worked(response)
                return response
            body = self._body(response)
            self.close()
            if _has_expired(url, response, body):
                self._source.renew(url)
                continue
            raise self._refused(response, body)

    def _follow(self, url: str, start: int, stop: int) -> http.client.HTTPResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(url, start, stop)
            if response.status not in _REDIRECTS:
                return response
            try:
                target = urljoin(url, response.headers.get("Location", ""))
                _check_url(target)
            except (ValueError, ConfigError) as error:
                raise SourceError(f"{self._source.shown}: the server redirects to what is no URL: {error}") from error
            self._body(response)
            self.close()
            if url.startswith("https:") and not target.startswith("https:"):
                raise SourceError(f"{self._source.shown}: the server redirects from https to {shown_url(target)}")
            url = target
        raise SourceError(f"{self._source.shown}: more than {_MAX_REDIRECTS} redirects")

    def _send(self, url: str, start: int, stop: int) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        if self._connection is None or self._origin != (parts.scheme, parts.netloc):
            self.close()
            self._origin = (parts.scheme, parts.netloc)
            self._connection = connect(parts, self._source.timeout_seconds)
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity", "User-Agent": "rt_flare"}
        try:
            self._connection.request("GET", request_target(parts), headers=headers)
            self._socket = self._connection.sock
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read(_MAX_BODY_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception | str) -> SourceError:
        self.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            return SourceError(f"{self._source.shown}: the server's certificate is not trusted: {error.verify_message}")
        why = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        return ConnectionLostError(f"{self._source.shown}: the connection failed: {why}")

    def _refused(self, response: http.client.HTTPResponse, body: bytes) -> SourceError:
        found = re.search(rb"<Code>([A-Za-z]{1,60})</Code>", body)
        says = f"HTTP {response.status} {response.reason}" + (f", {found[1].decode()}" if found else "")
        if response.status in _COME_BACK_LATER:
            return ConnectionLostError(f"{self._source.shown}: the server cannot answer now ({says})")
        if response.status in {404, 410}:
            return SourceError(f"{self._source.shown}: no such file ({says}). Upload the shard, or correct the URL.")
        return SourceError(f"{self._source.shown}: the server refuses ({says}). Check the URL and what it may read.")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not _PRINTABLE.fullmatch(url):
        raise ConfigError(f"{shown_url(url)!r}: expected an http:// or https:// URL with a host, percent-encoded")


def _version(response: http.client.HTTPResponse) -> str:
    tag = response.headers.get("ETag", "")
    # A weak tag stays when bytes change.
    return response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _has_expired(url: str, response: http.client.HTTPResponse, body: bytes) -> bool:
    if response.status not in {400, 401, 403}:
        return False
    expiry = _expiry(url)
    # The storage's own clock counts; ours may be wrong.
    told = email.utils.parsedate_to_datetime(response.headers["Date"]) if "Date" in response.headers else None
    now = told.timestamp() if told else time.time()
    return bool(_SAYS_EXPIRED.search(body)) or (expiry is not None and expiry <= now)


def _expiry(url: str) -> float | None:
    """When a signed URL says that it expires, in seconds since the epoch: S3 in both versions, Google, Azure."""
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    try:
        for vendor in ("amz", "goog"):
            if f"x-{vendor}-expires" in query:
                signed = datetime.datetime.strptime(query[f"x-{vendor}-date"], "%Y%m%dT%H%M%S%z")
                return signed.timestamp() + float(query[f"x-{vendor}-expires"])
        if "expires" in query:
            return float(query["expires"])
        if "se" in query:
            return datetime.datetime.fromisoformat(query["se"]).timestamp()
    except (ValueError, KeyError):
        return None  # no signature that we know: the server's words decide
    return None
