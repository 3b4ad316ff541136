"""Where a site's data comes from: its own word first, then the job's (K2, K9, K10)."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply

from rt_flare.components.executor import PayloadExecutor
from rt_flare.components.site_data import SiteData
from rt_flare.data.storage import sign_url
from rt_flare.data.upload import upload_shards
from rt_flare.errors import ConfigError, DataError, DownloadAbortedError


class Engine:
    """A site's engine: its folders, and a server that answers with these URLs, one after the other."""

    def __init__(self, root: Path, urls: list[str] | None = None, sha256: str | None = None) -> None:
        self.local = root / "local"
        self.local.mkdir(exist_ok=True)
        self.urls, self.sha256 = urls or [], sha256

    def get_workspace(self) -> Any:
        return SimpleNamespace(get_site_config_dir=lambda: str(self.local))

    def send_aux_request(self, *, targets: list[str], **_: Any) -> dict[str, Shareable]:
        reply = make_reply(ReturnCode.OK)
        reply["rt_shard_url"], reply["rt_shard_sha256"] = self.urls.pop(0), self.sha256
        return {targets[0]: reply}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in (1, 2):
        with zipfile.ZipFile(folder / f"shard_000{number}.zip", "w") as archive:
            archive.writestr("manifest.ndjson", '{"id":"a","uri":"a.png","y":[0]}\n' * number)
            archive.writestr("number", str(number))
    return folder


def prepared(engine: Engine, tmp_path: Path, aborted: bool = False, **arguments: Any) -> dict[str, Any]:
    fl_ctx = FLContext()
    fl_ctx.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
    fl_ctx.set_prop(ReservedKey.IDENTITY_NAME, "site-2", private=False, sticky=False)
    data = SiteData(PayloadExecutor(data_dir=str(tmp_path / "data"), **arguments))
    try:
        return data.prepare(fl_ctx, lambda: aborted)
    finally:
        data.close()


def number_at(dataset: dict[str, Any]) -> str:
    return (Path(dataset["data_root"]) / "number").read_text()


def test_the_jobs_shard_is_unpacked_where_the_guide_says(tmp_path: Path, shards: Path) -> None:
    """K2"""
    dataset = prepared(Engine(tmp_path), tmp_path, shards_dir=str(shards), site_shards={"site-2": 2})
    assert dataset["data_root"] == str(tmp_path / "data" / "2")
    assert number_at(dataset) == "2"


def test_the_sites_own_shard_and_folder_go_before_the_jobs(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2"""
    engine = Engine(tmp_path)
    job = {"shards_dir": str(shards), "site_shards": {"site-2": 2}}
    (engine.local / "rt_flare_data.json").write_text(json.dumps({"shard": str(shards / "shard_0001.zip")}))
    assert number_at(prepared(engine, tmp_path, **job)) == "1"
    monkeypatch.setenv("RT_FLARE_DATA_ROOT", str(shards))
    assert prepared(engine, tmp_path, **job)["data_root"] == str(shards)
    monkeypatch.setenv("RT_FLARE_DATA_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="data_root: found no folder"):
        prepared(engine, tmp_path, **job)


def test_a_site_fetches_its_own_shard_with_its_own_credentials(
    tmp_path: Path, shards: Path, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: s3:// with credentials from its environment, https:// with a URL that it was given."""
    upload_shards(shards, f"{s3_server.url}/own")
    url = f"{s3_server.url}/own/shard_0001.zip"
    monkeypatch.setenv("RT_FLARE_SHARD", url)
    assert number_at(prepared(Engine(tmp_path), tmp_path)) == "1"
    monkeypatch.setenv("RT_FLARE_SHARD", sign_url(url, 60))
    assert number_at(prepared(Engine(tmp_path), tmp_path / "again")) == "1"
    monkeypatch.setenv("RT_FLARE_SHARD_SHA256", "0" * 64)
    with pytest.raises(DataError, match="the hash is wrong"):
        prepared(Engine(tmp_path), tmp_path / "third")


def test_a_url_of_the_server_that_has_expired_is_asked_for_again_once(
    tmp_path: Path, shards: Path, s3_server: Any
) -> None:
    """K9"""
    (sent, _) = upload_shards(shards, f"{s3_server.url}/x")
    url = f"{s3_server.url}/x/shard_0001.zip"
    expired = sign_url(url, 1)
    time.sleep(2.1)
    engine = Engine(tmp_path, [expired, sign_url(url, 60)], sent.sha256)
    job = {"shards_from_server": True, "site_shards": {"site-2": 1}}
    assert number_at(prepared(engine, tmp_path, **job)) == "1"
    assert engine.urls == []
    with pytest.raises(DataError, match="so has a fresh one"):
        prepared(Engine(tmp_path, [expired, expired]), tmp_path / "again", **job)


def test_an_aborted_task_ends_the_fetch(tmp_path: Path, shards: Path, s3_server: Any) -> None:
    """X7"""
    upload_shards(shards, f"{s3_server.url}/x")
    engine = Engine(tmp_path, [sign_url(f"{s3_server.url}/x/shard_0001.zip", 60)])
    s3_server.wire.cut_after, s3_server.wire.cuts = 0, 1000
    with pytest.raises(DownloadAbortedError):
        prepared(engine, tmp_path, aborted=True, shards_from_server=True, site_shards={"site-2": 1})


@pytest.mark.parametrize(
    "job", [{}, {"shards_dir": "/x"}, {"shards_from_server": True, "site_shards": {"site-1": 1}}], ids=str
)
def test_a_site_without_a_shard_is_told_what_to_set(tmp_path: Path, job: dict[str, Any]) -> None:
    """K9"""
    with pytest.raises(ConfigError, match="neither data_root nor a shard is configured for site-2"):
        prepared(Engine(tmp_path), tmp_path, **job)


def test_a_missing_shard_is_named(tmp_path: Path, shards: Path) -> None:
    """K1"""
    with pytest.raises(DataError, match=r"found no shard shard_0003\.zip for site-2"):
        prepared(Engine(tmp_path), tmp_path, shards_dir=str(shards), site_shards={"site-2": 3})
