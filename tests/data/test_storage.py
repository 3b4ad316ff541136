"""Storages that fsspec knows: opened, read in pieces, and quiet about secrets (C3, K8, K9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from rt_flare.data.range_source import ConnectionLostError, SourceError
from rt_flare.data.storage import FsspecSource, StorageError, open_storage, sign_url, storage_errors
from rt_flare.data.storage_url import check_storage_url, shown_text
from rt_flare.errors import ConfigError


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_reads_pieces_of_a_file(tmp_path: Path, kind: str) -> None:
    """K2, K8"""
    url = "memory://reads/a.zip" if kind == "memory" else f"file://{tmp_path}/a.zip"
    content = bytes(range(256)) * 40_000
    with fsspec.open(url, "wb") as file:
        file.write(content)
    source = FsspecSource(url)
    remote = source.describe()
    assert (remote.size, remote.ranges) == (len(content), True)
    reader = source.reader()
    buffer = bytearray(9_000_000 - 5)
    assert sum(reader.read_into(5, memoryview(buffer))) == len(buffer)
    assert buffer == content[5:9_000_000]
    reader.cancel()
    reader.close()


def test_a_missing_file_is_named() -> None:
    """K8"""
    with pytest.raises(SourceError, match=r"memory://nowhere/a\.zip: cannot find it: FileNotFoundError") as caught:
        FsspecSource("memory://nowhere/a.zip").describe()
    assert not isinstance(caught.value, ConnectionLostError)


def test_a_folder_is_no_shard(tmp_path: Path) -> None:
    """K8"""
    with pytest.raises(SourceError, match="found no file, expected a shard ZIP"):
        FsspecSource(str(tmp_path)).describe()


def test_other_failures_may_be_tried_again_and_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """K8, C3"""
    source = FsspecSource("memory://reads/a.zip")

    def fail(*arguments: Any, **options: Any) -> bytes:
        raise RuntimeError("GET http://h/a?X-Amz-Signature=abc123&sig=def and secret_key=ghi failed")

    monkeypatch.setattr(source._file_system, "cat_file", fail)
    with pytest.raises(ConnectionLostError, match="cannot read it: RuntimeError") as caught:
        next(source.read_into(0, memoryview(bytearray(10))))
    for secret in ("abc123", "def", "ghi"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/a", "https://h/a?sig=secret", "s3://bucket/a#secret"])
def test_a_url_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    """K9, C3"""
    with pytest.raises(ConfigError, match="found a user, a query or a fragment") as caught:
        check_storage_url(url)
    assert "secret" not in str(caught.value)


def test_an_unknown_scheme_is_refused_with_a_hint() -> None:
    """K8"""
    with pytest.raises(ConfigError, match="no file system for the scheme 'nosuch'"):
        open_storage("nosuch://a/b")


def test_storages_without_signed_urls_say_so() -> None:
    """K9"""
    with pytest.raises(ConfigError, match="has no signed URLs, expected one like s3://"):
        sign_url("memory://reads/a.zip", 60)


def test_errors_of_a_storage_become_one_kind() -> None:
    """K8: our own pass."""
    with (
        pytest.raises(StorageError, match="memory://a: cannot list it: ValueError: no"),
        storage_errors("memory://a", "list"),
    ):
        raise ValueError("no")
    with pytest.raises(ConfigError), storage_errors("memory://a", "list"):
        raise ConfigError("x")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("s3://ada:geheim@bucket/x: no", "s3://bucket/x: no"),
        ("found 's3:/ada:geheim@bucket/x'", "found 's3:/bucket/x'"),
        ("https://h/a.zip?X-Amz-Date=1&X-Amz-Signature=geheim: expired", "https://h/a.zip expired"),
        ("https://h/a?se=1&sig=geheim' is", "https://h/a' is"),
        ("ada@example.com asks: why?", "ada@example.com asks: why?"),
        ("model_def.py:3: x @ y", "model_def.py:3: x @ y"),
    ],
)
def test_a_message_of_any_origin_loses_what_urls_hide(said: str, shown: str) -> None:
    """C3, K9: and nothing else."""
    assert shown_text(said) == shown
