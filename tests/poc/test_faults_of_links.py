"""A site whose link is cut for 20 s, in a real deployment with the standard preset; the site has a network of its own.

No round outlives its deadline, the verdict names the site, the job ends as it should, and the site is back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Verdict
from rt_flare.jobs.poc import PocDeployment

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(280)]

SITES = ["site-1", "site-2", "site-3"]
DEADLINE_SECONDS = 60
CUT_SECONDS = 20


@dataclass(frozen=True)
class Link:
    """A network of its own for a site, and the one cable from it to the rest of this machine.

    Attributes:
        namespace: name of the network.
        device: this machine's end of the cable.
        address: of that end.
    """

    namespace: str
    device: str
    address: str

    def cut(self, *, cut: bool) -> None:
        _ip("link", "set", self.device, "down" if cut else "up")


class Door:
    """Passes connections to ``address`` on to the same port of loopback, where the server listens."""

    def __init__(self, address: str, port: int) -> None:
        self._listener = socket.create_server((address, port))
        self._port = port
        self._start(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._port))
                except ConnectionRefusedError:  # the server does not listen yet
                    near.close()
                    continue
                self._start(self._pump, near, far)
                self._start(self._pump, far, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                sink.sendall(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class DeploymentWithLink(PocDeployment):
    """A deployment whose site 3 reaches the server by the link's address."""

    def __init__(self, folder: Path, link: Link) -> None:
        super().__init__(folder, SITES, run_in={"site-3": ("ip", "netns", "exec", link.namespace)})
        self.link = link
        self.door: Door | None = None

    def start_site(self, site: str) -> None:
        if site == "site-3":
            file = self.kit(site) / "startup" / "fed_client.json"
            config = read_json(file)
            service = config["servers"][0]["service"]
            port = service["target"].rpartition(":")[2]
            service["target"] = f"{self.link.address}:{port}"
            write_json(file, config)
            self.door = Door(self.link.address, int(port))
        super().start_site(site)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self.door is not None:
            self.door.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    """Make a network namespace with a pair of devices; skip where that is not allowed."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need the program ip and root")
    number = os.getpid() % 64 * 4
    made = Link(f"rt-{os.getpid()}", f"rt{os.getpid()}", f"10.213.77.{number + 1}")
    try:
        _ip("netns", "add", made.namespace)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode()}")
    try:
        _ip("link", "add", made.device, "type", "veth", "peer", "name", "far", "netns", made.namespace)
        _ip("addr", "add", f"{made.address}/30", "dev", made.device)
        _ip("link", "set", made.device, "up")
        _ip("-n", made.namespace, "addr", "add", f"10.213.77.{number + 2}/30", "dev", "far")
        for device in ("far", "lo"):
            _ip("-n", made.namespace, "link", "set", device, "up")
        yield made
    finally:
        _ip("netns", "del", made.namespace)


def test_a_link_that_is_cut_for_20_seconds(
    link: Link,
    tmp_path: Path,
    steady_job: Callable[..., Path],
    await_round: Callable[..., None],
    ledger_of: Callable[..., Ledger],
) -> None:
    """X7, J8: its lines of that time arrive when the link is back."""
    with DeploymentWithLink(tmp_path / "poc", link) as poc:
        job_id = poc.submit(steady_job(SITES, num_rounds=8, deadline_seconds=DEADLINE_SECONDS))
        await_round(poc, job_id, 1)
        link.cut(cut=True)
        time.sleep(CUT_SECONDS)
        link.cut(cut=False)
        restored = time.monotonic()
        status = poc.wait_for_job(job_id)
        print(f"\nlink cut for {CUT_SECONDS} s: {status} {time.monotonic() - restored:.1f} s after it was back")
        ledger = ledger_of(poc, job_id)
        [client_log] = (tmp_path / "download").rglob("files_out/client_3.log")
        site_log = (poc.run_dir(job_id, "site-3") / "log.txt").read_text()
    assert (ledger.state, status) == ("FINISHED", "FINISHED:COMPLETED")
    lost = [{c.site for c in record.contributions if c.status.value != "accepted"} for record in ledger.rounds]
    assert {"site-3"} in lost
    assert all(names <= {"site-3"} for names in lost)
    assert lost[-1] == set()
    for record, names in zip(ledger.rounds, lost, strict=True):
        assert (record.verdict is Verdict.OK) == (not names)
        assert all(name in " ".join(record.verdict_reasons) for name in names)
    assert max(record.seconds for record in ledger.rounds) < DEADLINE_SECONDS
    assert site_log.startswith(client_log.read_text())
    assert "trained in round 7" in client_log.read_text()
