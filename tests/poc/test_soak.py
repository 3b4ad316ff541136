"""Hundreds of rounds in a real deployment under a seeded schedule of faults (X1, X2, X7, J10).

The job finishes, every round's verdict is what the schedule says, nothing grows, nothing is left behind. The server's
disk fills up only where a file system can be mounted, as root; all other faults need no rights.

``RT_FLARE_SOAK_ROUNDS`` and ``RT_FLARE_SOAK_SEEDS`` (comma-separated) choose another length and other seeds.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import statistics
import subprocess
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.durable_io import read_json, write_json
from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.core.round_record import Verdict
from rt_flare.jobs.owned_processes import OwnedProcesses
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job
from rt_flare.timeouts.kit_apply import plan_kit
from rt_flare.timeouts.kit_files import write_comm_config
from rt_flare.timeouts.placement import apply_preset

NUM_ROUNDS = int(os.environ.get("RT_FLARE_SOAK_ROUNDS", "300"))
SEEDS = [int(seed) for seed in os.environ.get("RT_FLARE_SOAK_SEEDS", "1,2,3").split(",")]
pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(900)]

SITES = ["site-1", "site-2", "site-3", "site-4"]
MIN_CLIENTS = 2
PRESET = "low_latency"
TRAIN_SECONDS, WAIT_SECONDS = 16, 22
"""Deadline of user code, with the start of its process in it; and how long a round waits for the last sites."""
DISK_BYTES = 256 << 20
SAMPLE_SECONDS = 1.0 if NUM_ROUNDS >= 200 else 0.3
PER_300_ROUNDS = {"kill": 8, "hang": 4, "nan": 4, "poison": 4, "slow": 8, "full": 7, "disk": 3}
EXPECTED = {
    "kill": ("failed", "worker_died"),
    "hang": ("failed", "worker_timeout"),
    "nan": ("failed", "holds NaN or infinite values"),
    "poison": ("rejected", "not_finite"),
    "full": ("failed", "No space left on device"),
    "restart": ("missing", "no answer"),
    "gone": ("missing", "no answer"),
}
"""What a fault makes of the site's contribution: its status, and a word of the reason. A slow site's is accepted."""
FIRST_FAULT, NUM_LAST = 4, 4
"""No faults in the first rounds; and in the last ones, only sites that were restarted: they do not come back."""

POISON = """
from nvflare.apis.dxo import from_shareable
from nvflare.apis.filter import Filter


class Poison(Filter):
    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    def process(self, shareable, fl_ctx):
        place = f"{shareable.get_header('current_round')} {fl_ctx.get_identity_name()}"
        if self.faults.get(place) == "poison":
            dxo = from_shareable(shareable)
            dxo.data["layer.bias"] = dxo.data["layer.bias"] * float("nan")
            dxo.update_shareable(shareable)
        return shareable
"""
"""Makes an update NaN behind rt_flare's executor, which would not let it leave the site."""

MODEL_DEF = """
import os
import time
from pathlib import Path

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    weights = payload["initial_weights"]
    fault = env["faults"].get(f"{env['CURRENT_ROUND']} {env['SITE_NAME']}", "")
    if fault in ("kill", "restart", "disk"):
        said = Path(env["stage"], f"{env['CURRENT_ROUND']} {env['SITE_NAME']} {fault}.part")
        said.write_text(str(os.getpid()))
        said.replace(said.with_suffix(""))
    if fault in ("kill", "restart", "hang"):
        time.sleep(120)
    elif fault == "nan":
        weights["layer.bias"] = torch.full_like(weights["layer.bias"], float("nan"))
    elif fault == "slow":
        time.sleep(1.5)
    elif fault == "full":
        with open("/dev/full", "w") as checkpoint:
            checkpoint.write("x")
    if env["SITE_NAME"] == "site-1":
        Path(env["stage"], "round").write_text(str(env["CURRENT_ROUND"]))
    return {"weights": weights, "samples": 5, "metrics": {"loss": 1.0 / (1 + env["CURRENT_ROUND"])}}
"""


def schedule_of(seed: int, num_rounds: int, *, fills_disk: bool) -> dict[tuple[int, str], str]:
    """The fault of each round and site, at most two sites a round and none with a ``disk`` beside another one."""
    chance = random.Random(seed)
    rounds = list(range(FIRST_FAULT, num_rounds - NUM_LAST))
    faults: dict[tuple[int, str], str] = {}
    for kind, per_300 in PER_300_ROUNDS.items():
        for _ in range(max(1, round(per_300 * num_rounds / 300)) if kind != "disk" or fills_disk else 0):
            faulty = Counter(number for number, _ in faults)
            busy = {number for (number, _), other in faults.items() if other == "disk"}
            allowed = [n for n in rounds if not faulty[n]] if kind == "disk" else [n for n in rounds if faulty[n] < 2]
            number = chance.choice([n for n in allowed if n not in busy])
            site = "site-1" if kind == "disk" else chance.choice([s for s in SITES if (number, s) not in faults])
            faults[number, site] = kind
    first, second = chance.sample(SITES[1:], 2)
    faults[num_rounds - NUM_LAST, first] = "restart"
    faults[num_rounds - NUM_LAST // 2, second] = "restart"
    return faults


@dataclass
class Samples:
    """Of one process: (round, bytes that only it has, open descriptors)."""

    values: list[tuple[int, int, int]] = field(default_factory=list)

    def memory_growth(self, first: range, last: range) -> float:
        """How much more the median of the last rounds is than that of the first ones, as a part of it."""
        before, after = (statistics.median(v[1] for v in self.values if v[0] in span) for span in (first, last))
        return after / before - 1

    def descriptor_growth(self, first: range, last: range) -> float:
        """The same of the largest number: two or four files are open, as updates of user code come and go."""
        before, after = (max(v[2] for v in self.values if v[0] in span) for span in (first, last))
        return after / before - 1


class SmallDisk(PocDeployment):
    """A deployment with the preset's settings of kits, and whose server has a small file system for itself."""

    disk: Path | None = None

    def __init__(self, folder: Path, mark: str) -> None:
        super().__init__(folder, SITES, mark=mark)
        self.mark = mark

    def start_site(self, site: str) -> None:
        kit = self.kit(site)
        plan = plan_kit(kit, apply_preset(PRESET, num_sites=len(SITES)))
        write_comm_config(plan.kit, plan.content)
        if site == "server" and self.disk is None and os.geteuid() == 0:
            copy = kit.with_name("server-copy")
            shutil.copytree(kit, copy, symlinks=True)
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(kit)],
                capture_output=True,
                check=False,
            )
            if mounted.returncode == 0:
                self.disk = kit
                shutil.copytree(copy, kit, symlinks=True, dirs_exist_ok=True)
        super().start_site(site)

    def fill_disk(self, seconds: float) -> None:
        """Leave not one byte on the server's disk, for a while."""
        assert self.disk is not None
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file:
            started = time.monotonic()
            while time.monotonic() - started < seconds:
                try:
                    file.write(bytes(1 << 16))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    with suppress(OSError):
                        file.write(bytes(1 << 9))
                    time.sleep(0.02)
        filler.unlink()

    def unmount(self) -> None:
        """After the deployment has ended."""
        if self.disk is not None:
            subprocess.run(["umount", str(self.disk)], check=True)


@dataclass
class Soak:
    """A soak that has ended."""

    num_rounds: int
    faults: dict[tuple[int, str], str]
    status: str
    seconds: float
    ledger: Ledger
    metrics: dict[str, Any]
    samples: dict[str, Samples]
    left: list[str]
    """Processes that were there still: of the job after its end, of the deployment after its own."""


@pytest.fixture(scope="module", params=SEEDS)
def soak(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    folder = tmp_path_factory.mktemp("soak")
    deployment = SmallDisk(folder / "poc", uuid.uuid4().hex)
    try:
        yield run_soak(folder, deployment, request.param)
    finally:
        deployment.unmount()


def run_soak(folder: Path, deployment: SmallDisk, seed: int) -> Soak:
    stage = folder / "stage"
    stage.mkdir()
    samples: dict[str, Samples] = {}
    with deployment as poc:
        faults = schedule_of(seed, NUM_ROUNDS, fills_disk=deployment.disk is not None)
        print(f"\nseed {seed}, {NUM_ROUNDS} rounds, {dict(Counter(faults.values()))}")
        started = time.monotonic()
        job_id = poc.submit(render(folder, stage, faults))
        play(poc, job_id, stage, faults, samples)
        status = poc.wait_for_job(job_id)
        seconds = time.monotonic() - started
        parents = [poc.site_processes(site)[0].pid for site in ("server", *SITES)]
        left = still_there(deployment, parents)
        downloaded = poc.download(job_id, folder / "download")
    left += still_there(deployment, [])
    write_json(folder / "samples.json", {site: found.values for site, found in samples.items()})
    [summary] = downloaded.rglob("fl_round_complete.json")
    metrics = read_json(summary.with_name("metrics.json"))
    ledger = read_ledger(summary)
    times = sorted(record.seconds for record in ledger.rounds)
    print(
        f"{status} after {seconds:.0f} s; a round: median {statistics.median(times):.2f} s, longest {times[-1]:.1f} s"
    )
    return Soak(NUM_ROUNDS, faults, status, seconds, ledger, metrics, samples, left)


def render(folder: Path, stage: Path, faults: dict[tuple[int, str], str]) -> Path:
    (folder / "model_def.py").write_text(MODEL_DEF)
    (folder / "poison.py").write_text(POISON)
    (folder / "data").mkdir()
    by_name = {f"{number} {site}": kind for (number, site), kind in faults.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer than all sites are enough, on purpose
        job = render_job(
            out=folder / "job",
            model_def=folder / "model_def.py",
            training=TrainingConfig(extra={"faults": by_name, "stage": str(stage)}),
            federation=FederationConfig(
                num_rounds=NUM_ROUNDS,
                min_clients=MIN_CLIENTS,
                wait_time_after_min_received=WAIT_SECONDS,
                round_timeout_seconds=90,
                num_threads=1,
                keep_last=5,
                timeouts=PRESET,
            ),
            sites=SITES,
            data_root=folder / "data",
            client_variables={"TRAIN_TIMEOUT_SECONDS": TRAIN_SECONDS},
            extra_files=[folder / "poison.py"],
        )
    config = job / "app" / "config" / "config_fed_client.json"
    document = read_json(config)
    poison = {"path": "poison.Poison", "args": {"faults": by_name}}
    document["task_result_filters"] = [{"tasks": ["train"], "filters": [poison]}]
    write_json(config, document)
    return job


def play(
    poc: SmallDisk, job_id: str, stage: Path, faults: dict[tuple[int, str], str], samples: dict[str, Samples]
) -> None:
    """Do what user code cannot do to itself, when it says that it is there; and sample until the last round."""
    waiting = {
        f"{number} {site} {kind}" for (number, site), kind in faults.items() if kind in ("kill", "restart", "disk")
    }
    next_sample, seen = 0.0, time.monotonic()
    while waiting:
        assert time.monotonic() < seen + 60, f"the job has ended, or was not started; still to come: {sorted(waiting)}"
        for name in [name for name in waiting if (stage / name).exists()]:
            waiting.remove(name)
            _, site, kind = name.split(" ")
            if kind == "kill":
                os.kill(int((stage / name).read_text()), signal.SIGKILL)
            elif kind == "disk":
                poc.fill_disk(1.5)
            else:
                poc.kill_site(site)
                time.sleep(1)
                poc.start_site(site)
        if time.monotonic() >= next_sample:
            next_sample = time.monotonic() + SAMPLE_SECONDS
            if take_samples(poc, job_id, stage, samples):
                seen = time.monotonic()
        time.sleep(0.05)


def take_samples(poc: PocDeployment, job_id: str, stage: Path, samples: dict[str, Samples]) -> bool:
    """Look at NVFlare's processes of the job, of server and sites; False when there are none."""
    said = stage / "round"
    number = int(said.read_text() or 0) if said.exists() else 0
    found = False
    for site in ("server", *SITES):
        for process in poc.site_processes(site)[1:]:
            with suppress(psutil.NoSuchProcess):
                if job_id in process.cmdline():
                    found = True
                    values = (number, process.memory_full_info().uss, process.num_fds())
                    samples.setdefault(site, Samples()).values.append(values)
    return found


def still_there(deployment: SmallDisk, but: list[int]) -> list[str]:
    """What the deployment or anything that it started has started, and what has not ended within 10 s."""
    deadline = time.monotonic() + 10
    while True:
        found = [process for process in OwnedProcesses(deployment.mark).living() if process.pid not in but]
        if not found or time.monotonic() > deadline:
            return [str(process) for process in found]
        time.sleep(0.2)


def test_the_job_finishes(soak: Soak) -> None:
    """X1, J4: whatever was done to its sites."""
    assert (soak.ledger.state, soak.status) == ("FINISHED", "FINISHED:COMPLETED")


def test_no_entry_of_the_ledger_is_lost_or_doubled(soak: Soak) -> None:
    """J10: every round once, in it every site once; both files say the same."""
    rounds = soak.ledger.rounds
    assert [record.round for record in rounds] == list(range(soak.num_rounds))
    assert all([c.site for c in record.contributions] == SITES for record in rounds)
    assert [entry["round"] for entry in soak.metrics["rounds"]] == list(range(soak.num_rounds))
    for record, entry in zip(rounds, soak.metrics["rounds"], strict=True):
        assert entry["train_metrics"] == record.train_metrics
        assert [site["status"] for site in entry["sites"]] == [c.status.value for c in record.contributions]


def test_every_verdict_is_what_the_schedule_says(soak: Soak) -> None:
    """X1, X2, X7: per round and site, status and cause; and the verdict follows from them."""
    faults = dict(soak.faults)
    for (number, site), kind in soak.faults.items():
        if kind == "restart":
            faults |= {(later, site): "gone" for later in range(number + 1, soak.num_rounds)}
    wrong = []
    for record in soak.ledger.rounds:
        expected_verdict = Verdict.OK
        for c in record.contributions:
            fault = faults.get((record.round, c.site), "")
            status, word = EXPECTED.get(fault, ("accepted", ""))
            said = f"{c.reason} {c.failure.kind} {c.failure.message}" if c.failure else f"{c.reason}"
            if c.status.value != status or word not in said:
                wrong.append(f"round {record.round}, {c.site}, {fault or 'no fault'}: {c.status.value}, {said}")
            if status != "accepted":
                expected_verdict = Verdict.DEGRADED
        if record.verdict is not expected_verdict:
            wrong.append(f"round {record.round}: {record.verdict}, {record.verdict_reasons}")
    assert not wrong, "\n".join(wrong)


def test_no_process_is_left(soak: Soak) -> None:
    """J4: neither of the job after its end nor of the deployment."""
    assert not soak.left


def test_nothing_grows(soak: Soak) -> None:
    """Memory and descriptors of the job's processes: at most 2 % more at the end than after warm-up."""
    tail = soak.num_rounds - NUM_LAST
    first, last = range(tail // 4, tail * 5 // 8), range(tail * 5 // 8, tail)
    growth = {}
    for name in ("server", *SITES):
        found = soak.samples[name]
        growth[name] = found.memory_growth(first, last), found.descriptor_growth(first, last)
        before = statistics.median(v[1] for v in found.values if v[0] in first) / 1e6
        print(f"{name}: {before:.1f} MB, memory {growth[name][0]:+.2%}, descriptors {growth[name][1]:+.2%}")
    assert max(max(pair) for pair in growth.values()) <= 0.02, growth
