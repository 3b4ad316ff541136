"""What concerns all tests: their order, a cache of their own, an S3 server and a wire to it that can be cut."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("rt_flare", deadline=None)
hypothesis.settings.load_profile("rt_flare")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with tests of NVFlare's own processes before the others, each file whole.

    So that two workers end at about the same time.
    """
    slow_files = {item.path for item in items if {"simulator", "poc"} & {mark.name for mark in item.iter_markers()}}
    items.sort(key=lambda item: item.path not in slow_files)


class CuttableWire:
    """A TCP proxy on loopback: forwards to ``port``, and can cut or damage what the server sends.

    ``cut_after`` is the number of bytes that a connection lets through before it breaks, for the next ``cuts``
    connections that get so far. ``flip_at`` damages one byte after as many, once.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_after, self.cuts = 0, 0
        self.flip_at, self.flips = 0, 0
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._start(self._pump, near, far, False)
            self._start(self._pump, far, near, True)

    def _pump(self, source: socket.socket, sink: socket.socket, downstream: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if downstream and self.cuts and passed + len(chunk) > self.cut_after:
                    self.cuts -= 1
                    break
                if downstream and self.flips and passed <= self.flip_at < passed + len(chunk):
                    self.flips -= 1
                    place = self.flip_at - passed
                    chunk = chunk[:place] + bytes([chunk[place] ^ 1]) + chunk[place + 1 :]
                passed += len(chunk)
                sink.sendall(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class S3Server:
    """A running S3 server with one bucket.

    Attributes:
        folder: where the bucket's objects lie as files.
        url: of the bucket.
        wire: all traffic goes through it.
        secret: the secret key, which nothing may show.
    """

    folder: Path
    url: str
    wire: CuttableWire
    secret: str
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RT_FLARE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Run ``rclone serve s3`` on loopback, with fsspec's environment set to reach it."""
    root = tmp_path / "s3"
    (root / "bucket").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    key, secret = "TESTKEY", "notasecretbutkeptlikeone"
    rclone = Path(sysconfig.get_path("scripts")) / "rclone"
    command = [str(rclone), "serve", "s3", "--auth-key", f"{key},{secret}", "--addr", f"127.0.0.1:{port}", str(root)]
    environment = {**os.environ, "RCLONE_CONFIG": str(tmp_path / "rclone.conf")}
    with (tmp_path / "rclone.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        wire = CuttableWire(port)
        settings = {
            "FSSPEC_S3_KEY": key,
            "FSSPEC_S3_SECRET": secret,
            "FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{wire.port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        _read_fsspec_environment(monkeypatch)
        yield S3Server(root / "bucket", "s3://bucket", wire, secret, settings)
        wire.close()
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("rclone does not listen")


def _read_fsspec_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # fsspec reads the environment once, when it is imported.
    import fsspec

    settings: dict[str, dict[str, Any]] = {}
    fsspec.config.set_conf_env(settings)
    monkeypatch.setattr(fsspec.config, "conf", settings)
