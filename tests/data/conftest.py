"""A small server for files, that misbehaves on request, with or without TLS."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class FileServer:
    """Serves ``content`` at ``url`` for any path.

    Attributes:
        ranges: answer ranges with these; otherwise with the whole file.
        range_status: 206, or the 200 that some servers use.
        tag: ETag; by default the content's hash.
        cuts: how many more answers break off after ``cut_after`` bytes.
        answers: status and body of the next answers, in place of the file.
        expired: signatures that count as expired: the values of the query's ``sig``.
        pause_seconds: wait before every 64 KiB.
        asked: the Range headers seen.
        paths: the request targets seen.
    """

    content: bytes
    ranges: bool = True
    range_status: int = 206
    tag: str = ""
    cuts: int = 0
    cut_after: int = 0
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    pause_seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                with server.lock:
                    server.paths.append(self.path)
                    server.asked.append(self.headers.get("Range", ""))
                    answer = server.answers.pop(0) if server.answers else None
                signature = re.search(r"sig=(\w+)", self.path)
                if answer is None and signature and signature[1] in server.expired:
                    answer = (
                        403,
                        b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                        {},
                    )
                if answer is not None:
                    self.reply(answer[0], answer[1], answer[2])
                    return
                start, stop, headers = 0, len(server.content), {}
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                if asked and server.ranges:
                    start, stop = int(asked[1]), min(int(asked[2]) + 1, stop)
                    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(server.content)}"
                tag = server.tag or hashlib.md5(server.content).hexdigest()
                headers["ETag"] = f'"{tag}"'
                self.reply(
                    server.range_status if headers.get("Content-Range") else 200, server.content[start:stop], headers
                )

            def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with server.lock:
                    cut = server.cuts > 0 and len(body) > server.cut_after
                    server.cuts -= cut
                for place in range(0, server.cut_after if cut else len(body), 1 << 16):
                    time.sleep(server.pause_seconds)
                    self.wfile.write(body[place : min(place + (1 << 16), server.cut_after if cut else len(body))])
                if cut:
                    self.close_connection = True

        return Handler


class _QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up are what the tests are about


@pytest.fixture
def serve() -> Iterator[Callable[..., FileServer]]:
    """Start servers: ``serve(content, ranges=False, ...)``, with ``tls`` for an ``https`` one."""
    running: list[_QuietServer] = []

    def start(content: bytes, tls: ssl.SSLContext | None = None, **options: object) -> FileServer:
        server = FileServer(content, **options)  # type: ignore[arg-type]
        listener = _QuietServer(("127.0.0.1", 0), server.handler())
        if tls is not None:
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        running.append(listener)
        server.port = listener.server_port
        server.url = f"http://127.0.0.1:{listener.server_port}/shards/shard_0001.zip"
        return server

    yield start
    for listener in running:
        listener.shutdown()
        listener.server_close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of images.example and storage.example in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "images.example")])
    names = [x509.DNSName("images.example"), x509.DNSName("storage.example")]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(names),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """For servers of images.example and storage.example, whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
