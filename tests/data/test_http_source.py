"""Reading pieces of a file behind a URL: each failure has its own message, none shows a signature (K5, K9)."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from rt_flare.data.http_source import HttpSource
from rt_flare.data.range_source import ConnectionLostError, ExpiredUrlError, SourceChangedError, SourceError
from rt_flare.errors import ConfigError

CONTENT = bytes(number % 251 for number in range(700_000))
Serve = Callable[..., Any]


def read(source: HttpSource, start: int, stop: int) -> bytes:
    reader = source.reader()
    buffer = bytearray(stop - start)
    try:
        assert sum(reader.read_into(start, memoryview(buffer))) == stop - start
        return bytes(buffer)
    finally:
        reader.close()


@pytest.mark.parametrize("status", [206, 200])
def test_reads_pieces_over_one_connection(serve: Serve, status: int) -> None:
    """K2: also where the server answers 200 to a range, as some do."""
    server = serve(CONTENT, range_status=status)
    source = HttpSource(server.url)
    remote = source.describe()
    assert (remote.size, remote.ranges) == (len(CONTENT), True)
    assert remote.version
    reader = source.reader()
    for start, stop in [(10, 600_000), (0, 5)]:
        buffer = bytearray(stop - start)
        assert sum(reader.read_into(start, memoryview(buffer))) == stop - start
        assert buffer == CONTENT[start:stop]
    reader.close()
    assert server.asked == ["bytes=0-0", "bytes=10-599999", "bytes=0-4"]


def test_reads_over_tls_and_trusts_no_other_certificate(
    serve: Serve, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2"""
    server = serve(CONTENT, tls=tls)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    assert read(HttpSource(f"https://storage.example:{server.port}/a.zip"), 3, 9) == CONTENT[3:9]
    with pytest.raises(SourceError, match="certificate is not trusted"):
        read(HttpSource(f"https://another.example:{server.port}/a.zip"), 3, 9)


def test_a_server_without_ranges_gives_the_file_from_its_start(serve: Serve) -> None:
    """K2"""
    source = HttpSource(serve(CONTENT, ranges=False).url)
    assert not source.describe().ranges
    assert b"".join(bytes(piece) for piece in source.reader().read_whole(len(CONTENT))) == CONTENT
    with pytest.raises(SourceError, match="asked for byte 5 and on, the server sent something else"):
        read(source, 5, 10)


def test_a_cut_connection_may_be_tried_again(serve: Serve) -> None:
    """K8"""
    server = serve(CONTENT, cuts=1, cut_after=100_000)
    with pytest.raises(ConnectionLostError, match="closed the connection 600000 bytes before the end"):
        read(HttpSource(server.url), 0, len(CONTENT))


def test_no_server_may_be_tried_again() -> None:
    """K8"""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(ConnectionLostError, match="ConnectionRefusedError"):
        HttpSource(f"http://127.0.0.1:{port}/a.zip").describe()


def test_a_silent_server_is_given_up_after_the_timeout() -> None:
    """K5"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip"
        with pytest.raises(ConnectionLostError, match="timed out"):
            HttpSource(url, timeout_seconds=0.1).describe()


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, SourceError, r"no such file \(HTTP 404"),
        (403, SourceError, r"the server refuses \(HTTP 403 Forbidden, SignatureDoesNotMatch\)"),
        (503, ConnectionLostError, r"cannot answer now \(HTTP 503"),
        (429, ConnectionLostError, "cannot answer now"),
    ],
)
def test_each_refusal_has_its_own_message(serve: Serve, status: int, error: type[Exception], message: str) -> None:
    """K9"""
    server = serve(CONTENT, answers=[(status, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", {})])
    with pytest.raises(error, match=message) as caught:
        HttpSource(server.url + "?sig=secret").describe()
    assert "secret" not in str(caught.value)


def test_an_expired_url_says_so(serve: Serve) -> None:
    """K9"""
    server = serve(CONTENT, expired={"old"})
    with pytest.raises(ExpiredUrlError, match=r"the signed URL has expired\. Get a fresh one") as caught:
        HttpSource(server.url + "?sig=old").describe()
    assert "sig=" not in str(caught.value)


NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
SIGNED = (NOW - datetime.timedelta(hours=2)).strftime("%Y%m%dT%H%M%SZ")


@pytest.mark.parametrize(
    "query",
    [
        f"X-Amz-Date={SIGNED}&X-Amz-Expires=3600&X-Amz-Signature=secret",
        f"X-Goog-Date={SIGNED}&X-Goog-Expires=3600&X-Goog-Signature=secret",
        f"AWSAccessKeyId=k&Signature=secret&Expires={int(NOW.timestamp()) - 1}",
        f"se={(NOW - datetime.timedelta(hours=2)).strftime('%Y-%m-%dT%H:%M:%SZ')}&sig=secret",
    ],
    ids=["amazon", "google", "amazon, old", "azure"],
)
def test_a_refusal_after_the_urls_own_time_is_an_expiry(serve: Serve, query: str) -> None:
    """K9: whatever words the storage has for it."""
    server = serve(CONTENT, answers=[(400, b"<Error><Code>AccessDenied</Code></Error>", {})])
    with pytest.raises(ExpiredUrlError) as caught:
        HttpSource(f"{server.url}?{query}").describe()
    assert "secret" not in str(caught.value)


def test_a_refusal_before_the_urls_own_time_is_none(serve: Serve) -> None:
    """K9"""
    signed = NOW.strftime("%Y%m%dT%H%M%SZ")
    server = serve(CONTENT, answers=[(403, b"", {})])
    with pytest.raises(SourceError, match="the server refuses") as caught:
        HttpSource(f"{server.url}?X-Amz-Date={signed}&X-Amz-Expires=3600").describe()
    assert not isinstance(caught.value, ExpiredUrlError)


def test_an_expired_url_is_signed_again_once(serve: Serve) -> None:
    """K9"""
    server = serve(CONTENT, expired={"old"})
    fresh = [f"{server.url}?sig=new"]
    source = HttpSource(server.url + "?sig=old", resign=fresh.pop)
    assert source.describe().size == len(CONTENT)
    assert read(source, 0, 100) == CONTENT[:100]
    assert fresh == []


def test_a_fresh_url_that_has_expired_too_ends_it(serve: Serve) -> None:
    """K9"""
    server = serve(CONTENT, expired={"old", "new"})
    fresh = [server.url + "?sig=new"]
    with pytest.raises(ExpiredUrlError, match=r"so has a fresh one .* Compare the clocks"):
        HttpSource(server.url + "?sig=old", resign=fresh.pop).describe()


def test_a_long_fetch_may_outlive_several_urls(serve: Serve) -> None:
    """K9: once means once without success in between."""
    server = serve(CONTENT)
    fresh = [f"{server.url}?sig=c", f"{server.url}?sig=b"]
    source = HttpSource(server.url + "?sig=a", resign=fresh.pop)
    for expired in ({"a"}, {"a", "b"}):
        assert read(source, 0, 10) == CONTENT[:10]
        server.expired = expired
    assert read(source, 0, 10) == CONTENT[:10]


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(serve: Serve) -> None:
    """K8"""
    server = serve(CONTENT)
    source = HttpSource(server.url)
    source.describe()
    server.tag = "another"
    with pytest.raises(SourceChangedError, match="was replaced while it was read"):
        read(source, 0, 10)


def test_redirects_are_followed_up_to_a_limit(serve: Serve) -> None:
    """K5"""
    server = serve(CONTENT)
    there = (307, b"", {"Location": "/elsewhere.zip"})
    server.answers = [there]
    assert read(HttpSource(server.url), 3, 9) == CONTENT[3:9]
    assert server.paths[-1] == "/elsewhere.zip"
    server.answers = [there] * 10
    with pytest.raises(SourceError, match="more than 5 redirects"):
        read(HttpSource(server.url), 3, 9)


@pytest.mark.parametrize("location", ["", "https://[::1/x", "ftp://h/a", "http://h:99999/x"])
def test_redirects_to_what_is_no_url_are_refused(serve: Serve, location: str) -> None:
    """K5"""
    server = serve(CONTENT, answers=[(307, b"", {"Location": location})] * 10)
    with pytest.raises(SourceError, match=r"no URL|more than 5 redirects"):
        read(HttpSource(server.url), 3, 9)


@pytest.mark.parametrize("url", ["ftp://h/a", "http:///a", "a.zip", "http://h/a b?sig=secret", "http://h/\nx"])
def test_what_is_no_url_is_refused(url: str) -> None:
    """K5"""
    with pytest.raises(ConfigError, match="expected an http:// or https:// URL") as caught:
        HttpSource(url)
    assert "secret" not in str(caught.value)


def test_user_and_query_stay_out_of_messages() -> None:
    """K9, C3"""
    assert HttpSource("https://user:pw@host/a.zip?sig=secret#x").shown == "https://host/a.zip"


def test_plain_http_goes_through_the_proxy_of_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """K2: and a proxy of another kind is refused with a hint."""
    server = serve(CONTENT)
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/shards/shard_0001.zip"))
    assert read(HttpSource("http://storage.example/a.zip?sig=1"), 3, 9) == CONTENT[3:9]
    assert server.paths == ["http://storage.example/a.zip?sig=1"]
    monkeypatch.setenv("http_proxy", "socks5://user:pw@localhost:1080")
    with pytest.raises(ConfigError, match="http_proxy: expected http://host:port") as caught:
        HttpSource("http://storage.example/a.zip").describe()
    assert "pw" not in str(caught.value)
