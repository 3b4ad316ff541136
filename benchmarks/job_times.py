"""When things happened in a job, by one rule for every controller: NVFlare's own log and its record of the job."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from rt_flare.jobs.poc import PocDeployment

_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 600.0
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}(?= - )")
_ROUND_STARTED = re.compile(r"Round (?P<round>\d+) started\.")
_RESULT_TAKEN = "finished processing client result by"


@dataclass(frozen=True)
class JobTimes:
    """Seconds of a job; a round lasts from its "Round N started." to the next one's.

    Attributes:
        rounds: seconds of every round but the last.
        until_first_round: from submission (the simulator: from the start of its process) to round 0.
        until_second_round: to round 1, when every site has started and answered once.
        after_last_result: from the last result that the server took to the job's final state (the simulator: to the
            end of its process).
    """

    rounds: tuple[float, ...]
    until_first_round: float
    until_second_round: float
    after_last_result: float

    @property
    def median_round(self) -> float:
        """Median seconds of a round."""
        return median(self.rounds)


def read_times(log: str, *, submitted: float, ended: float, num_rounds: int) -> JobTimes:
    """Read a server's log.

    Args:
        log: its content.
        submitted: when the job was submitted, in seconds since 1970.
        ended: when it had ended.
        num_rounds: rounds that the job must have run.

    Raises:
        ValueError: the log tells of another number of rounds: the job did not run as it should.
    """
    starts: dict[int, float] = {}
    moment = last_result = 0.0
    for line in log.splitlines():
        # A message may go on over several lines. The times are local ones.
        if stamp := _TIME.match(line):
            moment = datetime.strptime(stamp[0], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
        if started := _ROUND_STARTED.search(line):
            starts.setdefault(int(started["round"]), moment)
        if _RESULT_TAKEN in line:
            last_result = moment
    if sorted(starts) != list(range(num_rounds)) or not last_result:
        raise ValueError(f"found the rounds {sorted(starts)}, expected 0 to {num_rounds - 1}, in:\n{log[-4000:]}")
    moments = [starts[number] for number in range(num_rounds)]
    rounds = tuple(after - before for before, after in itertools.pairwise(moments))
    return JobTimes(rounds, starts[0] - submitted, starts[1] - submitted, ended - last_result)


def run_in_simulator(job: Path, workspace: Path, *, num_rounds: int, num_sites: int) -> JobTimes:
    """Run a job with ``nvflare simulator``, one thread per site.

    Raises:
        ValueError: it did not run all rounds.
    """
    workspace.mkdir(parents=True)
    command = [sys.executable, "-m", "nvflare.cli", "simulator", str(job)]
    command += ["-w", str(workspace / "run"), "-n", str(num_sites), "-t", str(num_sites)]
    with (workspace / "console.log").open("wb") as console:
        submitted = time.time()
        subprocess.run(command, cwd=workspace, stdout=console, stderr=subprocess.STDOUT, check=False)
        ended = time.time()
    log = (workspace / "run" / "server" / "log.txt").read_text()
    return read_times(log, submitted=submitted, ended=ended, num_rounds=num_rounds)


def run_in_deployment(job: Path, deployment: PocDeployment, *, num_rounds: int) -> JobTimes:
    """Submit a job to a deployment and wait for it.

    Raises:
        ValueError: it did not complete, or did not run all rounds.
    """
    job_id = deployment.submit(job)
    stored = deployment.folder / "storage" / "jobs" / job_id
    meta = _wait_for_end(stored / "meta")
    if meta["status"] != "FINISHED:COMPLETED":
        raise ValueError(f"{job}: ended as {meta['status']}")
    with zipfile.ZipFile(stored / "workspace") as archive:
        log = archive.read("log.txt").decode()
    started = datetime.fromisoformat(str(meta["start_time"])).timestamp()
    hours, minutes, seconds = str(meta["duration"]).split(":")
    ended = started + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return read_times(log, submitted=float(str(meta["submit_time"])), ended=ended, num_rounds=num_rounds)


def _wait_for_end(path: Path) -> Mapping[str, object]:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            meta: Mapping[str, object] = json.loads(path.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):  # NVFlare replaces the file in place
            meta = {}
        if str(meta.get("status")).startswith("FINISHED:"):
            return meta
        time.sleep(_POLL_SECONDS)
    raise ValueError(f"{path}: the job did not end within {_TIMEOUT_SECONDS:g} s")
