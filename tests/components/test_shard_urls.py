"""The shard URL service: who asks is what the server has verified, and gets only what is its own (K9)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.private.defs import CellMessageHeaderKeys, new_cell_message

from rt_flare.components.shard_urls import ShardUrlService, ask_for_shard
from rt_flare.errors import ConfigError, DataError

SITE_SHARDS = {"site-1": 1, "site-2": 2}


def asked_by(verified: str, claimed: str | None, index: object) -> Any:
    request = Shareable()
    request["rt_shard_index"] = index
    if claimed is not None:
        request.set_peer_props({ReservedKey.IDENTITY_NAME: claimed})
    return new_cell_message({CellMessageHeaderKeys.CLIENT_NAME: verified}, request)


@pytest.fixture
def service(s3_server: Any) -> ShardUrlService:
    folder = s3_server.folder / "jobs" / "x"
    folder.mkdir(parents=True)
    (folder / "shard_0001.zip").write_bytes(b"1")
    (folder / "shard_0001.zip.sha256").write_text("a" * 64 + "  shard_0001.zip\n")
    return ShardUrlService("s3://bucket/jobs/x/", SITE_SHARDS, 60)


class Engine:
    """Passes a site's request to the service, as NVFlare's cells do."""

    def __init__(self, service: ShardUrlService, verified: str, claimed: str) -> None:
        self.service, self.verified, self.claimed = service, verified, claimed
        self.lost = 0

    def send_aux_request(self, *, targets: list[str], request: Shareable, **_: Any) -> dict[str, Shareable]:
        if self.lost:
            self.lost -= 1
            return {targets[0]: make_reply(ReturnCode.TIMEOUT)}
        message = asked_by(self.verified, self.claimed, request["rt_shard_index"])
        return {targets[0]: self.service._receive(message).payload}


def context(engine: Any) -> FLContext:
    fl_ctx = FLContext()
    fl_ctx.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
    return fl_ctx


def test_a_site_gets_a_url_of_its_own_shard_and_its_hash(service: ShardUrlService) -> None:
    """K9, K8"""
    engine = Engine(service, "site-1", "site-1")
    engine.lost = 1  # an answer that was lost is asked for again
    signed = ask_for_shard(1, context(engine))
    assert "/bucket/jobs/x/shard_0001.zip?" in signed.url
    assert "X-Amz-Expires=60&" in signed.url
    assert signed.sha256 == "a" * 64
    assert "X-Amz" not in repr(signed)


def test_a_shard_without_a_hash_is_signed_with_a_warning(
    service: ShardUrlService, caplog: pytest.LogCaptureFixture
) -> None:
    """K8"""
    with caplog.at_level(logging.WARNING):
        assert ask_for_shard(2, context(Engine(service, "site-2", "site-2"))).sha256 is None
    assert "shard_0002.zip has no hash beside it" in caplog.text


@pytest.mark.parametrize(
    ("verified", "claimed", "index", "why"),
    [
        ("site-1", "site-1", 2, "site-1 asked for shard 2, which is not its own"),
        ("site-1", "site-1", True, "site-1 asked for shard True, which is not its own"),
        ("site-1", "site-1", None, "site-1 asked for shard None, which is not its own"),
        ("site-1", "site-2", 2, "site-1 asked in the name of 'site-2'"),
        ("site-2", "site-1", 1, "site-2 asked in the name of 'site-1'"),
        ("site-1", None, 1, "site-1 asked in the name of None"),
        ("None", "None", 1, "no shard is assigned to None"),
        ("site-9", "site-9", 1, "no shard is assigned to site-9"),
    ],
)
def test_others_are_refused_and_logged(
    service: ShardUrlService,
    caplog: pytest.LogCaptureFixture,
    verified: str,
    claimed: str | None,
    index: object,
    why: str,
) -> None:
    """K9"""
    with caplog.at_level(logging.WARNING):
        reply = service._receive(asked_by(verified, claimed, index)).payload
    assert reply["rt_shard_refusal"].startswith(why)
    assert "rt_shard_url" not in reply
    assert f"no shard URL for {verified}: {why}" in caplog.text


def test_a_message_that_is_no_request_is_refused(service: ShardUrlService) -> None:
    """K9"""
    message = new_cell_message({CellMessageHeaderKeys.CLIENT_NAME: "site-1"}, b"x")
    assert "sent something that is no request" in service._receive(message).payload["rt_shard_refusal"]


def test_a_refusal_reaches_the_site_with_its_reason(service: ShardUrlService) -> None:
    """K9"""
    with pytest.raises(DataError, match=r"shard_0002\.zip: the server refuses a URL: site-1 asked for shard 2, which"):
        ask_for_shard(2, context(Engine(service, "site-1", "site-1")))


def test_a_storage_that_cannot_sign_is_named_at_the_site(tmp_path: Path) -> None:
    """K9"""
    engine = Engine(ShardUrlService(f"file://{tmp_path}", SITE_SHARDS), "site-1", "site-1")
    with pytest.raises(DataError, match=r"cannot sign a URL: .* has no signed URLs, expected one like s3://"):
        ask_for_shard(1, context(engine))


@pytest.mark.parametrize("code", [ReturnCode.TOPIC_UNKNOWN, ReturnCode.TIMEOUT, None])
def test_no_answer_is_named_with_what_to_look_for(code: str | None) -> None:
    """K9"""

    class Silent:
        def send_aux_request(self, *, targets: list[str], **_: Any) -> dict[str, Shareable]:
            return {targets[0]: make_reply(code)} if code else {}

    with pytest.raises(DataError, match=r"the server gave no URL: .* Is a ShardUrlService among the job's server"):
        ask_for_shard(1, context(Silent()))


@pytest.mark.parametrize(
    "arguments",
    [{"shards_url": "s3://key:secret@bucket/x"}, {"expires_seconds": 0}, {"expires_seconds": 10**6}],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    """K9, C3"""
    with pytest.raises(ConfigError) as caught:
        ShardUrlService(**arguments)
    assert "secret" not in str(caught.value)
