"""Uploading: by hash, gone on with, never half (K8)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rt_flare.data import upload
from rt_flare.data.hash_file import read_hash
from rt_flare.data.storage import StorageError
from rt_flare.data.upload import StoredFile, list_shards, upload_files, upload_shards
from rt_flare.errors import ConfigError, ShardError


@pytest.fixture(params=["memory", "local"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder in a storage."""
    store = fsspec.filesystem("memory").store
    store.clear()
    yield "memory://bucket/jobs/x" if request.param == "memory" else f"file://{tmp_path}/store/x"
    store.clear()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"shard_000{number}.zip").write_bytes(bytes([number]) * 1000)
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_has_its_hash_beside_it(url: str, shards: Path) -> None:
    """K8: in the form of sha256sum."""
    sent = upload_shards(shards, url)
    assert [file.name for file in sent] == ["shard_0001.zip", "shard_0002.zip", "shard_0003.zip"]
    assert all(file.sent for file in sent)
    assert fsspec.open(f"{url}/shard_0002.zip").open().read() == bytes([2]) * 1000
    line = fsspec.open(f"{url}/shard_0002.zip.sha256").open().read()
    assert line.decode() == f"{sha256(shards / 'shard_0002.zip')}  shard_0002.zip\n"
    assert list_shards(url) == [
        StoredFile(name=path.name, size=1000, sha256=sha256(path)) for path in sorted(shards.iterdir())
    ]


def test_what_is_there_is_left_alone_by_hash_never_by_size(url: str, shards: Path) -> None:
    """K8"""
    upload_shards(shards, url)
    (shards / "shard_0002.zip").write_bytes(bytes([9]) * 1000)
    assert [file.sent for file in upload_shards(shards, url)] == [False, True, False]
    assert fsspec.open(f"{url}/shard_0002.zip").open().read() == bytes([9]) * 1000


def test_an_upload_that_is_cut_short_goes_on_where_it_stopped(
    url: str, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K8: the file in the middle has no hash, so it is sent again."""
    real = upload._remote_hash
    calls: list[str] = []

    def fail_at_the_second(file_system: Any, target: str) -> str:
        calls.append(target)
        if len(calls) > 1:
            raise ConnectionResetError("cut")
        return real(file_system, target)

    monkeypatch.setattr(upload, "_remote_hash", fail_at_the_second)
    with pytest.raises(StorageError, match=r"shard_0002\.zip: cannot upload it: ConnectionResetError: cut"):
        upload_shards(shards, url, max_tries=3, backoff_seconds=0.0)
    assert len(calls) == 4
    assert read_hash(f"{url}/shard_0002.zip") is None
    monkeypatch.undo()
    assert [file.sent for file in upload_shards(shards, url)] == [False, True, True]


def test_a_storage_that_holds_something_else_than_was_sent_is_found_out(
    url: str, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K8"""
    monkeypatch.setattr(upload, "_remote_hash", lambda file_system, target: "0" * 64)
    with pytest.raises(StorageError, match=r"what the storage holds has SHA-256 0+, sent was"):
        upload_shards(shards, url, backoff_seconds=0.0)
    assert read_hash(f"{url}/shard_0001.zip") is None
    assert upload_shards(shards, url, read_back=False)[0].sent


def test_progress_is_reported_per_file(url: str, shards: Path) -> None:
    """K8"""
    seen: list[tuple[str, int, int]] = []
    upload_shards(shards, url, on_progress=lambda *args: seen.append(args))
    assert [step for step in seen if step[1] == step[2]][-1] == ("shard_0003.zip", 1000, 1000)


def test_shards_of_an_earlier_and_larger_job_are_refused(url: str, shards: Path) -> None:
    """K1"""
    upload_shards(shards, url)
    (shards / "shard_0003.zip").unlink()
    with pytest.raises(ShardError, match=r"shard_0003\.zip is there, but .* holds 2 shards"):
        upload_shards(shards, url)


def test_names_are_slugged_and_collisions_refused_before_anything_is_sent(url: str, tmp_path: Path) -> None:
    """K8"""
    (tmp_path / "a").write_bytes(b"1")
    upload_files({"files_out/site 1/lösung.txt": tmp_path / "a"}, url)
    assert fsspec.open(f"{url}/files_out/site-1/losung.txt").open().read() == b"1"
    with pytest.raises(ConfigError, match="would both be 'x-y'"):
        upload_files({"x y": tmp_path / "a", "x-y": tmp_path / "a"}, url)
    assert read_hash(f"{url}/x-y") is None


def test_an_empty_file_can_be_uploaded(url: str, tmp_path: Path) -> None:
    """K8"""
    (tmp_path / "a").touch()
    assert upload_files({"a": tmp_path / "a"}, url)[0].sent
    assert not upload_files({"a": tmp_path / "a"}, url)[0].sent


@pytest.mark.parametrize("line", [b"", b"nonsense", b"0" * 64 + b"  other.zip\n", b"0" * 5000])
def test_a_hash_file_that_is_none_is_named(url: str, shards: Path, line: bytes) -> None:
    """K8"""
    upload_shards(shards, url)
    with fsspec.open(f"{url}/shard_0001.zip.sha256", "wb") as file:
        file.write(line)
    with pytest.raises(StorageError, match=r"shard_0001\.zip\.sha256: found no SHA-256 of shard_0001\.zip"):
        list_shards(url)


def test_a_folder_that_is_not_there_holds_nothing(url: str) -> None:
    """K8"""
    assert list_shards(url) == []
