"""Places that fsspec knows (s3, gs, sftp, memory, local and others): opened without a secret in any message."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import fsspec

from rt_flare.data.range_source import ConnectionLostError, RemoteFile, SourceError
from rt_flare.data.storage_url import check_storage_url, shown_url
from rt_flare.errors import ConfigError, RtFlareError, ShardError

__all__ = [
    "FsspecSource",
    "StorageError",
    "describe_error",
    "open_storage",
    "sign_url",
    "storage_errors",
]

_CHUNK_BYTES = 4 << 20
_S3_SETTINGS = {
    # Version 2, botocore's choice for own endpoints, is refused by most of them.
    "signature_version": "s3v4",
    # Other stores than Amazon's get these wrong, for ranges above all; our own SHA-256 goes over the whole file.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_SECRET = re.compile(r"(?i)(signature|sig|token|secret|password|credential)[^\s=&]*=[^\s&'\"]+")


class StorageError(ShardError):
    """A storage cannot be reached, or refuses."""

    code = "storage"


def open_storage(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of ``url``, and the path in it, without a slash at its end.

    Credentials, endpoints and other options come from where fsspec reads them: the environment (``FSSPEC_S3_KEY``,
    ``FSSPEC_S3_SECRET``, ``FSSPEC_S3_ENDPOINT_URL``, ``AWS_...``) and files below ``~/.config/fsspec``.

    Raises:
        ConfigError: see `check_storage_url`; or nothing installed knows the URL's scheme.
    """
    check_storage_url(url)
    scheme = url.partition("://")[0] if "://" in url else "file"
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in {"s3", "s3a"}:
        options["config_kwargs"] = {**_S3_SETTINGS, **_configured("config_kwargs", scheme)}
    try:
        file_system, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        hint = "pip install 'rt-flare[s3]'" if scheme in {"s3", "s3a"} else "install fsspec's package for it"
        raise ConfigError(f"{shown_url(url)}: no file system for the scheme {scheme!r}: {error}. {hint}") from error
    return file_system, str(path).rstrip("/")


@contextlib.contextmanager
def storage_errors(url: str, action: str) -> Iterator[None]:
    """Turn whatever a storage raises into a `StorageError` that says that ``action`` failed for ``url``."""
    try:
        yield
    except RtFlareError:
        raise
    except Exception as error:  # noqa: BLE001 - every storage has errors of its own
        raise StorageError(describe_error(url, action, error)) from None


def sign_url(url: str, expires_seconds: int) -> str:
    """Return a URL that lets whoever has it read the file ``url`` for ``expires_seconds``.

    Raises:
        ConfigError: as in `open_storage`; or this kind of storage has no signed URLs.
        StorageError: the storage refuses, or there are no credentials.
    """
    file_system, path = open_storage(url)
    with storage_errors(url, "sign a URL for"):
        try:
            return str(file_system.sign(path, expiration=expires_seconds))
        except NotImplementedError as error:
            raise ConfigError(
                f"{shown_url(url)}: this kind of storage has no signed URLs, expected one like s3://. Let the sites "
                f"read it themselves."
            ) from error


class FsspecSource:
    """A file in a storage that the site reaches with its own credentials.

    Raises:
        ConfigError: as in `open_storage`.
    """

    def __init__(self, url: str) -> None:
        self.shown = shown_url(url)
        self._file_system, self._path = open_storage(url)

    def describe(self) -> RemoteFile:
        """Ask the storage.

        Raises:
            SourceError: no such file, or no permission.
        """
        info = self._call("find", self._file_system.info, self._path)
        if info.get("type") != "file" or info.get("size") is None:
            raise SourceError(f"{self.shown}: found no file, expected a shard ZIP")
        version = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
        return RemoteFile(size=int(info["size"]), version=str(version), ranges=True)

    def reader(self) -> FsspecSource:
        """Return itself: fsspec shares its connections."""
        return self

    def read_into(self, start: int, buffer: memoryview) -> Iterator[int]:
        """Fill ``buffer`` with the bytes from ``start`` on, and yield the size of each piece.

        Raises:
            SourceError: the storage refuses; `ConnectionLostError` where another try may help.
        """
        for done in range(0, len(buffer), _CHUNK_BYTES):
            piece = buffer[done : done + _CHUNK_BYTES]
            first = start + done
            content = self._call("read", self._file_system.cat_file, self._path, start=first, end=first + len(piece))
            if len(content) != len(piece):
                raise ConnectionLostError(f"{self.shown}: asked for {len(piece)} bytes at {first}, got {len(content)}")
            piece[:] = content
            yield len(piece)

    def read_whole(self, size: int) -> Iterator[memoryview]:
        """Not needed: every storage gives pieces."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing: the connections are fsspec's."""

    def cancel(self) -> None:
        """Do nothing: what is read at once is at most 4 MiB."""

    def _call(self, action: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError) as error:
            raise SourceError(describe_error(self.shown, action, error)) from None
        except Exception as error:  # noqa: BLE001 - every storage has errors of its own
            raise ConnectionLostError(describe_error(self.shown, action, error)) from None


def describe_error(url: str, action: str, error: Exception) -> str:
    """Say in one line what failed, without what looks like a secret."""
    # Not chained to its cause: a storage's own errors may quote requests with their signatures.
    text = _SECRET.sub(r"\1=...", str(error))[:300]
    return f"{shown_url(url)}: cannot {action} it: {type(error).__name__}: {text}"


def _configured(option: str, scheme: str) -> dict[str, Any]:
    return dict(fsspec.config.conf.get(scheme, {}).get(option, {}))
