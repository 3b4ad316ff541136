"""Runs to report on, and a real browser to open their reports in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rt_flare.core.durable_io import write_json
from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, RoundRecord, Verdict

HOSTILE_SITE = "<img src=x onerror=hacked()>"
HOSTILE_METRIC = "</script><script>hacked()</script>"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SECONDS = 30


def _contribution(site: str, number: int, metrics: dict[str, float], **changes: Any) -> Contribution:
    values: dict[str, Any] = {
        "status": ContributionStatus.ACCEPTED,
        "num_samples": 100,
        "train_metrics": metrics,
        "received_model_metrics": {name: value / 2 for name, value in metrics.items()},
        "seconds": 1.0 + number / 10,
        "work_seconds": 0.8,
    }
    return Contribution(site=site, **(values | changes))


@pytest.fixture(scope="session")
def make_record() -> Callable[..., RoundRecord]:
    """A round in which every site gave the same metrics; ``changes`` are fields of some sites' contributions."""

    def make(
        number: int,
        sites: list[str],
        metrics: dict[str, float] | None = None,
        changes: dict[str, dict[str, Any]] | None = None,
        **fields: Any,
    ) -> RoundRecord:
        given = {"loss": 1 / (number + 1), "accuracy": 1 - 1 / (number + 2)} if metrics is None else metrics
        parts = [_contribution(s, n % 7, given, **(changes or {}).get(s, {})) for n, s in enumerate(sites)]
        values: dict[str, Any] = {
            "verdict": Verdict.OK,
            "started_at": f"2024-05-01T10:{number // 60 % 60:02}:{number % 60:02}.000+00:00",
            "seconds": 2.5,
            "collect_seconds": 2.0,
            "aggregate_seconds": 0.3,
            "save_seconds": 0.1,
            "num_samples": 100 * len(sites),
            "weight_change": 0.25,
            "train_metrics": given,
            "global_metrics": given,
            "contributions": parts,
        }
        return RoundRecord(round=number, **(values | fields))

    return make


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """A folder of results as a run leaves it."""

    def make(folder: Path, rounds: list[RoundRecord], **fields: Any) -> Path:
        values: dict[str, Any] = {"job_id": "4711", "num_rounds": len(rounds), "state": "FINISHED"}
        ledger = Ledger(**(values | fields), rounds=rounds)
        ledger.write_round_summary(folder / "files_out")
        ledger.write_metrics(folder / "files_out")
        (folder / "files_out" / "server.log").write_text("the server's log")
        write_json(folder / "job" / "meta.json", {"name": "scans", "min_clients": 2})
        write_json(
            folder / "job" / "app" / "config" / "config_fed_server.json", {"NUM_ROUNDS": 4, "API_TOKEN": "s3cret"}
        )
        model = {
            "schema": "rt_flare.model/1",
            "file": "global_model.pt",
            "sha256": "ab" * 32,
            "size_bytes": 4321,
            "round": len(rounds) - 1,
            "model_path": "model_def.Model",
            "model_args": {},
            "contributors": ["site-1"],
            "num_samples": 300,
            "metrics": {},
            "versions": {"python": "3.11.9", "torch": "2.9"},
        }
        write_json(folder / "model_out" / "global_model.json", model)
        return folder

    return make


@pytest.fixture(scope="session")
def troubled_run(
    tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path], make_record: Callable[..., RoundRecord]
) -> Path:
    """Four rounds, three sites, one of them hostile in everything it may say, NaN, a failure, a rejection."""
    sites = ["site-1", "site-2", HOSTILE_SITE]
    failure = Failure(kind="exception", message="<b>boom</b>", site=HOSTILE_SITE, round=1, traceback="Traceback </pre>")
    odd = {"loss": 0.5, "accuracy": 0.5, HOSTILE_METRIC: 3.0}
    failed = {"status": ContributionStatus.FAILED, "failure": failure, "num_samples": None, "work_seconds": None}
    missing = {"status": ContributionStatus.MISSING, "reason": "no answer", "seconds": None, "work_seconds": None}
    records = [
        make_record(0, sites, odd, {HOSTILE_SITE: {"warnings": ["<i>odd</i>"]}}),
        make_record(1, sites, None, {HOSTILE_SITE: failed}, verdict=Verdict.DEGRADED, verdict_reasons=["<u>why</u>"]),
        make_record(2, sites, {"loss": float("nan"), "accuracy": 0.7}, {"site-2": missing}, verdict=Verdict.DEGRADED),
        make_record(3, sites),
    ]
    return make_run(tmp_path_factory.mktemp("troubled"), records, error=failure, state="FAILED")


class Browser:
    """Headless Chromium, driven by the DevTools protocol through two pipes."""

    def __init__(self, program: str, profile: Path) -> None:
        (from_us, to_it), (from_it, to_us) = os.pipe(), os.pipe()
        options = [
            "--headless",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--disable-gpu",
            "--no-first-run",
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")
        shell = f'exec "$0" "$@" 3<&{from_us} 4>&{to_us}'
        self._log = (profile / "log").open("wb")
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, *options, "about:blank"],
            pass_fds=(from_us, to_us),
            stdout=self._log,
            stderr=self._log,
        )
        os.close(from_us)
        os.close(to_us)
        self._to, self._from = os.fdopen(to_it, "wb", 0), os.fdopen(from_it, "rb")
        self._waiting: deque[dict[str, Any]] = deque()
        self._number = 0
        self._session = ""
        self.complaints: list[Any] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer; what happens in between is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._note(answer)

    def open(self, path: Path, *, width: int = 1200, height: int = 900) -> None:
        """Load a file in a window of this size."""
        self.complaints, self.requests = [], []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.as_uri())
        self._loaded = False
        while not self._loaded:
            self._note(self._read())

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key and release it."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Move the mouse, or press or release its button."""
        button = "none" if kind == "mouseMoved" else "left"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=int(button == "left"))

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        self.call("Browser.close")
        self._process.wait(SECONDS)
        for pipe in (self._to, self._from, self._log):
            pipe.close()

    def _read(self) -> dict[str, Any]:
        letters = bytearray()
        while (letter := self._from.read(1)) != b"\0":
            assert letter, "the browser has ended"
            letters += letter
        return dict(json.loads(letters))

    def _note(self, event: dict[str, Any]) -> None:
        details = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(details)
            case "Log.entryAdded":
                self.complaints.append(details["entry"])
            case "Network.requestWillBeSent":
                self.requests.append(details["request"]["url"])


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium; without one on the path the tests say how to install it."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path; apt-get install {BROWSERS[0]}")
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()
