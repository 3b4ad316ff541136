"""Signed URLs for shards, made when a site asks, for that site only: both ends of the conversation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import ReturnCode, SiteType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.defs import ReturnCode as CellReturnCode
from nvflare.private.defs import CellChannel, CellMessageHeaderKeys, new_cell_message

from rt_flare.data.shard_names import shard_name
from rt_flare.data.storage_url import check_storage_url
from rt_flare.errors import ConfigError, DataError, RtFlareError

__all__ = ["ShardUrlService", "SignedShard", "ask_for_shard"]

TOPIC = "rt_flare.shard_url"
_INDEX, _URL, _SHA256, _REFUSAL = "rt_shard_index", "rt_shard_url", "rt_shard_sha256", "rt_shard_refusal"
_MAX_SECONDS = 7 * 24 * 3600
_TRIES = 3
_TRY_AGAIN = {ReturnCode.TIMEOUT, ReturnCode.COMMUNICATION_ERROR, ReturnCode.SERVICE_UNAVAILABLE, ReturnCode.ERROR}


@dataclass(frozen=True)
class SignedShard:
    """What the server lets a site read.

    Attributes:
        url: signed; whoever has it can read the shard until it expires.
        sha256: hash of the ZIP, or None where the storage holds none.
    """

    url: str = field(repr=False)
    sha256: str | None


class ShardUrlService(FLComponent):
    """Answers sites that ask for their shard with a URL that expires.

    Who asks is told by the authentication headers of the message, which NVFlare's server has verified; the name in
    the message's own peer context must be the same. Credentials come from the server's environment, never from the
    job (see `open_storage`).

    Args:
        shards_url: folder with the shards in a storage with signed URLs, like ``s3://bucket/jobs/digits/shards``;
            "" to answer nobody.
        site_shards: 1-based shard index of each site.
        expires_seconds: how long a URL lasts.

    Raises:
        ConfigError: an argument is invalid, or ``shards_url`` holds a secret.
    """

    def __init__(
        self, shards_url: str = "", site_shards: dict[str, int] | None = None, expires_seconds: int = 3600
    ) -> None:
        super().__init__()
        self.shards_url = shards_url
        self.site_shards = site_shards
        self.expires_seconds = expires_seconds
        check_storage_url(shards_url)
        if type(expires_seconds) is not int or not 1 <= expires_seconds <= _MAX_SECONDS:
            raise ConfigError(
                f"ShardUrlService: expires_seconds must be an int from 1 to {_MAX_SECONDS}, found {expires_seconds!r}"
            )

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Begin to listen when the job starts."""
        if event_type == EventType.START_RUN and self.shards_url:
            # Where NVFlare's own handler of aux messages listens. That one hands on what a site says of itself, this
            # one sees what the server has verified.
            cell = fl_ctx.get_engine().server.command_agent.cell
            cell.register_request_cb(channel=CellChannel.AUX_COMMUNICATION, topic=TOPIC, cb=self._receive)

    def answer(self, site: str, index: Any) -> Shareable:
        """Return the reply to ``site``, which asks for shard ``index``."""
        # Here, because jobs without shards in a storage start faster without.
        from rt_flare.data.hash_file import read_hash
        from rt_flare.data.storage import sign_url

        own = (self.site_shards or {}).get(site)
        if own is None:
            return self._refuse(site, f"no shard is assigned to {site}: name it in site_shards")
        if type(index) is not int or index != own:
            return self._refuse(site, f"{site} asked for shard {index!r}, which is not its own")
        url = f"{self.shards_url.rstrip('/')}/{shard_name(own)}"
        try:
            sha256 = read_hash(url)
            signed = sign_url(url, self.expires_seconds)
        except RtFlareError as error:
            return self._refuse(site, f"cannot sign a URL: {error}")
        self.logger.info(f"signed a URL for {site}: {shard_name(own)}, {self.expires_seconds} s")
        if sha256 is None:
            self.logger.warning(f"{shard_name(own)} has no hash beside it: upload shards with `rt-flare shards upload`")
        reply = make_reply(ReturnCode.OK)
        reply[_URL], reply[_SHA256] = signed, sha256
        return reply

    def _receive(self, request: Any) -> Any:
        site = str(request.get_header(CellMessageHeaderKeys.CLIENT_NAME))
        body = request.payload
        if not isinstance(body, Shareable):
            reply = self._refuse(site, f"{site} sent something that is no request")
        elif (claimed := _claimed_name(body)) != site:
            reply = self._refuse(site, f"{site} asked in the name of {claimed!r}")
        else:
            reply = self.answer(site, body.get(_INDEX))
        return new_cell_message({MessageHeaderKey.RETURN_CODE: CellReturnCode.OK}, reply)

    def _refuse(self, site: str, why: str) -> Shareable:
        self.logger.warning(f"no shard URL for {site}: {why}")
        reply = make_reply(ReturnCode.BAD_REQUEST_DATA)
        reply[_REFUSAL] = why
        return reply


def ask_for_shard(index: int, fl_ctx: FLContext, timeout_seconds: float = 60.0) -> SignedShard:
    """Ask the server of the running job for a URL of this site's shard ``index``.

    Raises:
        DataError: the server refuses, or does not answer; the message says why.
    """
    request = Shareable()
    request[_INDEX] = index
    code, reply = ReturnCode.ERROR, Shareable()
    for _ in range(_TRIES):
        replies = fl_ctx.get_engine().send_aux_request(
            targets=[SiteType.SERVER], topic=TOPIC, request=request, timeout=timeout_seconds, fl_ctx=fl_ctx
        )
        reply = (replies or {}).get(SiteType.SERVER) or make_reply(ReturnCode.COMMUNICATION_ERROR)
        code = reply.get_return_code()
        if code not in _TRY_AGAIN:
            break
    if code == ReturnCode.OK and isinstance(reply.get(_URL), str):
        return SignedShard(url=reply[_URL], sha256=reply.get(_SHA256))
    if _REFUSAL in reply:
        raise DataError(f"{shard_name(index)}: the server refuses a URL: {reply[_REFUSAL]}")
    raise DataError(
        f"{shard_name(index)}: the server gave no URL: {code}. Is a ShardUrlService among the job's server components, "
        f"with a shards_url?"
    )


def _claimed_name(request: Shareable) -> str | None:
    props = request.get_peer_props()
    if not isinstance(props, dict):
        return None
    peer = FLContext()
    peer.set_public_props(props)
    return str(peer.get_identity_name())
