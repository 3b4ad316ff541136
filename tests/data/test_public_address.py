"""Which hosts may be connected to, decided at the resolver (K5)."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data import public_address
from rt_flare.data.public_address import ALLOWED_NETWORKS, PrivateAddressError, allowed_networks, connect_public
from rt_flare.errors import ConfigError

REFUSED = [
    "127.0.0.1",
    "127.255.0.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.5.5",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.170",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:db8::1",
    "fc00::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::808:808", "2002:808:808::1"]


class Sockets:
    """Stands in for the network: notes what is connected to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.connected: list[Any] = []
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)
        monkeypatch.setattr(socket.socket, "connect", lambda sock, place: self.connected.append(place[0]))

    def resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in self.answers.pop(0)
        ]


@pytest.mark.parametrize("address", REFUSED)
def test_no_connection_is_opened_to_what_is_not_public(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """K5: tested where names become addresses."""
    sockets = Sockets(monkeypatch, [address])
    with pytest.raises(PrivateAddressError, match="which is no public address, and was not connected to"):
        connect_public("images.example", 443, 1.0)
    assert sockets.connected == []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_hosts_are_connected_to_at_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """K5"""
    sockets = Sockets(monkeypatch, [address])
    connect_public("images.example", 443, 1.0).close()
    assert sockets.connected == [address]


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """K5"""
    sockets = Sockets(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(PrivateAddressError):
        connect_public("images.example", 443, 1.0)
    assert sockets.connected == []


def test_a_name_is_asked_for_once_so_that_it_cannot_change_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """K5: DNS rebinding."""
    sockets = Sockets(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    connect_public("images.example", 443, 1.0).close()
    assert sockets.connected == ["8.8.8.8"]
    assert sockets.answers == [["127.0.0.1"]]


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]".strip("[]")])
def test_other_spellings_of_this_machine_are_refused(host: str) -> None:
    """K5: by the system's own resolver."""
    with pytest.raises((PrivateAddressError, socket.gaierror)):
        connect_public(host, 1, 0.1)


def test_a_site_allows_networks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """K5"""
    monkeypatch.setenv(ALLOWED_NETWORKS, "10.0.0.0/8, fd00::/8")
    sockets = Sockets(monkeypatch, ["10.1.2.3"], ["fd00::1"], ["192.168.0.1"])
    connect_public("a", 443, 1.0).close()
    connect_public("a", 443, 1.0).close()
    with pytest.raises(PrivateAddressError):
        connect_public("a", 443, 1.0)
    assert sockets.connected == ["10.1.2.3", "fd00::1"]
    monkeypatch.setenv(ALLOWED_NETWORKS, "10.0.0.1/8")
    with pytest.raises(ConfigError, match="RT_FLARE_ALLOWED_NETWORKS"):
        allowed_networks()


def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """K5"""
    sockets = Sockets(monkeypatch, ["8.8.8.8", "8.8.4.4"], ["8.8.8.8"], [])

    def connect(sock: socket.socket, place: Any) -> None:
        sockets.connected.append(place[0])
        if place[0] == "8.8.8.8":
            raise ConnectionRefusedError("no")

    monkeypatch.setattr(socket.socket, "connect", connect)
    connect_public("a", 443, 1.0).close()
    assert sockets.connected == ["8.8.8.8", "8.8.4.4"]
    with pytest.raises(ConnectionRefusedError):
        connect_public("a", 443, 1.0)
    with pytest.raises(OSError, match="has no address"):
        connect_public("a", 443, 1.0)


@given(st.ip_addresses())
def test_every_address_is_decided(address: Any) -> None:
    """K5: and what Python itself calls private or local is never public."""
    public = public_address._is_public(address)
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not public or (address.version == 6 and address.ipv4_mapped is not None)
