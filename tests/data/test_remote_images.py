"""Remote images: fetched once, whole or not at all, from where they may come (K5)."""

from __future__ import annotations

import io
import json
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.data.public_address import ALLOWED_NETWORKS, PrivateAddressError
from rt_flare.data.remote_images import RemoteImages
from rt_flare.errors import DataError

CONTENT = bytes(range(256)) * 2000
HOST = "images.example"
FAST = RemoteImages(backoff_seconds=0.01, timeout_seconds=2.0)


@pytest.fixture
def host(
    serve: Callable[..., Any], tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Start an https server that HOST resolves to; this machine is allowed."""
    monkeypatch.setenv("RT_FLARE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv(ALLOWED_NETWORKS, "127.0.0.0/8")
    real = socket.getaddrinfo

    def resolve(name: str, *arguments: Any, **options: Any) -> Any:
        return real({HOST: "127.0.0.1", "inside.example": "10.0.0.1"}.get(name, name), *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    def start(content: bytes = CONTENT, **options: Any) -> Any:
        server = serve(content, tls=tls, **options)
        server.url = f"https://{HOST}:{server.port}/a.png?sig=secret"
        return server

    return start


def test_an_image_is_fetched_once(host: Callable[..., Any], tmp_path: Path) -> None:
    """K5: by threads at the same time, too, and by the next process."""
    server = host(pause_seconds=0.02)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(FAST.file(server.url).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert pickle.loads(pickle.dumps(FAST)).file(server.url).read_bytes() == CONTENT
    assert len(server.paths) == 1
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path.read_bytes() for path in kept] == [CONTENT]


def test_failures_that_may_pass_are_tried_again(host: Callable[..., Any]) -> None:
    """K5: an overloaded server, a cut connection."""
    server = host(answers=[(503, b"", {}), (429, b"", {})], cuts=1, cut_after=1000)
    assert FAST.file(server.url).read_bytes() == CONTENT
    assert len(server.paths) == 4


def test_a_server_that_stays_down_is_named_without_a_secret(host: Callable[..., Any], tmp_path: Path) -> None:
    """K5, C3: and nothing is kept."""
    server = host(answers=[(503, b"", {})] * 4)
    with pytest.raises(
        DataError, match=r"https://images\.example:\d+/a\.png': not fetched in 4 tries: .*HTTP 503"
    ) as caught:
        FAST.file(server.url)
    assert "secret" not in str(caught.value)
    assert FAST.file(server.url).read_bytes() == CONTENT


def test_a_refusal_is_final(host: Callable[..., Any]) -> None:
    """K5"""
    server = host(answers=[(404, b"", {})])
    with pytest.raises(DataError, match=r"the server refuses .HTTP 404"):
        FAST.file(server.url)
    assert len(server.paths) == 1


def test_an_image_over_the_limit_is_refused_before_it_is_there(host: Callable[..., Any]) -> None:
    """K5"""
    server = host()
    with pytest.raises(DataError, match="larger than 1000 bytes"):
        RemoteImages(max_bytes=1000).file(server.url)
    assert RemoteImages(max_bytes=len(CONTENT)).file(server.url).read_bytes() == CONTENT


def test_a_host_that_drips_is_given_up(host: Callable[..., Any]) -> None:
    """K5: though each wait is short."""
    server = host(pause_seconds=0.05)
    with pytest.raises(DataError, match=r"not all there after 0\.1 s"):
        RemoteImages(total_seconds=0.1, max_tries=1).file(server.url)


def test_a_silent_host_is_given_up(host: Callable[..., Any]) -> None:
    """K5"""
    server = host(pause_seconds=1.0)
    with pytest.raises(DataError, match="not fetched in 2 tries: TimeoutError"):
        RemoteImages(timeout_seconds=0.2, max_tries=2, backoff_seconds=0.0).file(server.url)


def test_redirects_to_public_https_are_followed(host: Callable[..., Any]) -> None:
    """K5"""
    server = host()
    server.answers = [(302, b"", {"Location": f"https://{HOST}:{server.port}/b.png"})]
    assert FAST.file(server.url).read_bytes() == CONTENT
    assert server.paths[-1] == "/b.png"
    server.answers = [(302, b"", {"Location": "/"})] * 10
    with pytest.raises(DataError, match="more than 5 redirects"):
        FAST.file(server.url + "&other")


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("https://inside.example/x", PrivateAddressError, "host 'inside.example' is 10.0.0.1"),
        ("https://169.254.169.254/latest/meta-data", PrivateAddressError, "is 169.254.169.254"),
        ("https://[::1]/x", PrivateAddressError, "is ::1"),
        ("http://images.example/x", DataError, "expected https://"),
        ("file:///etc/passwd", DataError, "expected https://"),
        ("https://user:secret@images.example/x", DataError, "found a user in the URL"),
        ("https://[::1/x", DataError, "no URL"),
        ("https://images.example:99999/x", DataError, "no URL"),
    ],
)
def test_redirects_to_anything_else_are_refused(
    host: Callable[..., Any], location: str, error: type[Exception], message: str
) -> None:
    """K5: nothing is connected to there."""
    server = host(answers=[(302, b"", {"Location": location})])
    with pytest.raises(error, match=message) as caught:
        FAST.file(server.url)
    assert "secret" not in str(caught.value)
    assert len(server.paths) == 1


def test_a_certificate_of_another_name_is_refused_at_once(host: Callable[..., Any]) -> None:
    """K5"""
    server = host()
    with pytest.raises(DataError, match="its certificate is not trusted"):
        FAST.file(f"https://localhost:{server.port}/a.png")
    assert server.paths == []


def test_this_machine_is_refused_unless_it_is_allowed(
    host: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """K5"""
    server = host()
    monkeypatch.delenv(ALLOWED_NETWORKS)
    with pytest.raises(PrivateAddressError, match=r"is 127\.0\.0\.1, which is no public address"):
        FAST.file(server.url)
    assert server.paths == []


def test_names_beyond_ascii_are_encoded(host: Callable[..., Any]) -> None:
    """K5"""
    server = host()
    FAST.file(f"https://{HOST}:{server.port}/bilder/ü b.png")
    assert server.paths == ["/bilder/%C3%BC%20b.png"]


def test_the_adapter_reads_remote_images(host: Callable[..., Any], tmp_path: Path) -> None:
    """K5, X9: keeps them decoded, and names sample and line where one is none."""
    picture = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(picture, "PNG")
    server = host(picture.getvalue())
    line = json.dumps({"id": "a", "uri": server.url, "y": [0]})
    (tmp_path / "manifest.ndjson").write_text(line + "\n")
    dataset = ManifestImageAdapter().open(
        tmp_path, manifest_file="manifest.ndjson", env={"img_size": 2, "num_classes": 1}
    )
    assert dataset[0][0][0].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    time.sleep(0.05)  # a file is trusted once the clock has ticked
    assert dataset[0][0][0].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert dataset.is_warm()
    (tmp_path / "cache" / "images").rename(tmp_path / "old")
    server.content = b"no image"
    with pytest.raises(DataError, match=r"manifest\.ndjson:1: sample 'a'.*not an image") as caught:
        dataset[0]
    assert "secret" not in str(caught.value)
