"""An S3 server at the end of a wire that fails: each fault has its own message, the second try completes (K8, K9)."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rt_flare.data import ranged_download
from rt_flare.data.http_source import HttpSource
from rt_flare.data.range_source import ConnectionLostError, ExpiredUrlError, RangeSource, SourceError
from rt_flare.data.shard_fetch import fetch_shard
from rt_flare.data.site_cache import SiteCache
from rt_flare.data.storage import FsspecSource, StorageError, sign_url
from rt_flare.data.upload import list_shards, upload_shards
from rt_flare.errors import ShardError

FILES = {f"images/{n}.jpg": os.urandom(40_000) for n in range(40)} | {"manifest.ndjson": b"{}\n"}
URL = "s3://bucket/jobs/x/shards"
SHARD_URL = f"{URL}/shard_0001.zip"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    with zipfile.ZipFile(folder / "shard_0001.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return folder


@pytest.fixture
def uploaded(s3_server: Any, shards: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hash of a shard in the bucket."""
    monkeypatch.setattr(ranged_download, "_SEGMENT_BYTES", 200_000)
    upload_shards(shards, URL)
    return hashlib.sha256((shards / "shard_0001.zip").read_bytes()).hexdigest()


def fetch(source: RangeSource, data: Path, sha256: str | None, **options: Any) -> dict[str, bytes]:
    cache = SiteCache(data)
    try:
        folder = fetch_shard(source, cache, 1, sha256=sha256, backoff_seconds=0.01, max_tries=3, **options)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    finally:
        cache.close()


def signed(seconds: int = 600) -> HttpSource:
    return HttpSource(sign_url(SHARD_URL, seconds))


def test_what_was_uploaded_is_fetched_by_signed_url_and_by_own_credentials(uploaded: str, tmp_path: Path) -> None:
    """K8, K9"""
    assert fetch(signed(), tmp_path / "a", uploaded) == FILES
    assert fetch(FsspecSource(SHARD_URL), tmp_path / "b", None) == FILES
    assert [(file.name, file.sha256) for file in list_shards(URL)] == [("shard_0001.zip", uploaded)]


def test_a_cut_connection_is_ridden_out_and_a_cut_link_resumed(s3_server: Any, uploaded: str, tmp_path: Path) -> None:
    """K8"""
    source = signed()
    source.describe()
    s3_server.wire.cut_after, s3_server.wire.cuts = 100_000, 4
    assert fetch(source, tmp_path / "a", uploaded) == FILES
    assert s3_server.wire.cuts == 0

    def cut(done: int, total: int) -> None:
        if done > total // 2:
            s3_server.wire.cut_after, s3_server.wire.cuts = 0, 1000

    with pytest.raises(
        ConnectionLostError, match=r"Gave up after 3 tries .* bytes are there, and the next try goes on"
    ):
        fetch(signed(), tmp_path / "b", uploaded, on_progress=cut, connections=1)
    assert SiteCache(tmp_path / "b").find(uploaded) is None
    s3_server.wire.cuts = 0
    fetched: list[int] = []
    assert fetch(signed(), tmp_path / "b", uploaded, on_progress=lambda done, _: fetched.append(done)) == FILES
    assert len(fetched) < 5  # of nine segments


def test_a_byte_damaged_on_the_way_is_found_and_the_second_try_completes(
    s3_server: Any, uploaded: str, tmp_path: Path
) -> None:
    """K3, K8"""
    source = signed()
    s3_server.wire.flip_at, s3_server.wire.flips = 100_000, 1
    with pytest.raises(ShardError, match=r"the hash is wrong|truncated or corrupt ZIP"):
        fetch(source, tmp_path, uploaded, connections=1)
    assert s3_server.wire.flips == 0
    assert not (tmp_path / "1").exists()
    assert fetch(signed(), tmp_path, uploaded) == FILES


def test_an_expired_url_says_so_and_is_signed_again_once(uploaded: str, tmp_path: Path) -> None:
    """K9"""
    url = sign_url(SHARD_URL, 1)
    time.sleep(2.1)
    with pytest.raises(ExpiredUrlError, match="the signed URL has expired") as caught:
        fetch(HttpSource(url), tmp_path, uploaded)
    assert "X-Amz" not in str(caught.value)
    asked: list[int] = []

    def resign() -> str:
        asked.append(1)
        return sign_url(SHARD_URL, 600)

    assert fetch(HttpSource(url, resign=resign), tmp_path, uploaded) == FILES
    assert asked == [1]


def test_a_wrong_signature_is_no_expiry(uploaded: str, tmp_path: Path) -> None:
    """K9"""
    with pytest.raises(SourceError, match="the server refuses") as caught:
        fetch(HttpSource(sign_url(SHARD_URL, 600) + "0"), tmp_path, uploaded)
    assert not isinstance(caught.value, ExpiredUrlError)


def test_wrong_credentials_are_named_without_being_shown(
    s3_server: Any, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K8, C3"""
    monkeypatch.setitem(fsspec.config.conf["s3"], "secret", "a-wrong-secret")
    with pytest.raises(StorageError, match="s3://bucket/jobs/x/shards") as caught:
        upload_shards(shards, URL, max_tries=1)
    assert "a-wrong-secret" not in str(caught.value)
    assert s3_server.secret not in str(caught.value)


def test_an_upload_over_a_wire_that_is_cut_completes_the_second_time(
    s3_server: Any, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K8"""
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setitem(fsspec.config.conf["s3"], "config_kwargs", {"retries": {"total_max_attempts": 1}})
    second = shards / "shard_0002.zip"
    second.write_bytes(os.urandom(300_000))

    def cut(name: str, done: int, total: int) -> None:
        if name == "shard_0002.zip":
            s3_server.wire.cut_after, s3_server.wire.cuts = 0, 10**6

    with pytest.raises(StorageError, match=r"shard_0002\.zip: cannot \w+"):
        upload_shards(shards, URL, max_tries=1, on_progress=cut)
    s3_server.wire.cuts = 0
    assert [file.sent for file in upload_shards(shards, URL)] == [False, True]
    assert [file.sha256 for file in list_shards(URL)] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(shards.iterdir())
    ]
