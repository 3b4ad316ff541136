"""Connect to hosts of the public Internet only: a name is resolved once, and the address that was checked is used."""

from __future__ import annotations

import ipaddress
import os
import socket

from rt_flare.errors import ConfigError, DataError

__all__ = ["ALLOWED_NETWORKS", "PrivateAddressError", "allowed_networks", "connect_public"]

ALLOWED_NETWORKS = "RT_FLARE_ALLOWED_NETWORKS"
"""Environment variable of a site: networks with commas between that may be connected to though they are not public."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = [ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "192.88.99.0/24", "::/96", "5f00::/16")]


class PrivateAddressError(DataError):
    """A host that must not be connected to: private, loopback, link-local, reserved, multicast or unspecified."""

    code = "private_address"


def allowed_networks() -> tuple[_Network, ...]:
    """Return the networks that the site's environment allows.

    Raises:
        ConfigError: the variable holds something else than networks.
    """
    texts = [text.strip() for text in os.environ.get(ALLOWED_NETWORKS, "").split(",")]
    try:
        return tuple(ipaddress.ip_network(text) for text in texts if text)
    except ValueError as error:
        raise ConfigError(f"{ALLOWED_NETWORKS}: {error}, expected networks such as 10.1.0.0/16, with commas") from error


def connect_public(host: str, port: int, timeout_seconds: float) -> socket.socket:
    """Return a TCP connection to ``host``, of which every address is public or allowed.

    Raises:
        PrivateAddressError: an address of the host is neither; nothing was connected to.
        OSError: the name is unknown, or no address answers.
    """
    allowed = allowed_networks()
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for _, _, _, _, place in found:
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        if not _is_public(address) and not any(address in network for network in allowed):
            raise PrivateAddressError(
                f"host {host!r} is {address}, which is no public address, and was not connected to. A site allows "
                f"networks of its own with {ALLOWED_NETWORKS}."
            )
    problem: OSError | None = None
    for family, kind, protocol, _, place in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout_seconds)
            connection.connect(place)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise problem or OSError(f"host {host!r} has no address")


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not _is_public(inner):
            return False
        if address.ipv4_mapped is not None or address in _NAT64:
            return True
        if address.is_site_local:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
