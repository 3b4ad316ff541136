"""Who sent a reply."""

from __future__ import annotations

from nvflare.apis.client import Client
from nvflare.apis.fl_constant import ServerCommandKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

__all__ = ["sender"]


def sender(reply: Shareable, fl_ctx: FLContext) -> str:
    """Return the name of the site that sent ``reply``, as NVFlare's server knows it by the site's token.

    The server writes it over whatever the site wrote there. What the peer context says is the site's own word; it
    counts only where the server wrote nothing, as when a filter has put an error in the reply's place.
    """
    client = reply.get_header(ServerCommandKey.FL_CLIENT)
    return str(client.name if isinstance(client, Client) else fl_ctx.get_peer_context().get_identity_name())
