"""No secret of a user and no signature is in a file, an output, an argument or an environment that is not for it.

Full runs with shards and results in S3, and runs that fail of a wrong key, of an expired URL and of a URL with a
password in it.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from rt_flare import FederationConfig, ResonTech, ResonTechConfig, TrainingConfig
from rt_flare.cli.app import main
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.storage import sign_url
from rt_flare.data.upload import upload_shards
from rt_flare.errors import RtFlareError
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.simulator import run_simulator

pytestmark = [pytest.mark.slow, pytest.mark.simulator, pytest.mark.poc, pytest.mark.timeout(420)]

PASSWORD = "correct-horse-battery"
WRONG_KEY = "notthekeythatitshouldbe"
SIGNATURES = ("X-Amz-Signature", "X-Amz-Credential", "Signature=")
SITES = ["site-1", "site-2"]
MARK = "RT_FLARE_TEST_OF_SECRETS"
MODEL_DEF = """
import os

from torch import nn
from rt_flare import open_dataset

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

def fl_train_model(payload, out_dir, logger=None):
    model = Model()
    model.load_state_dict(payload["initial_weights"])
    dataset = open_dataset(payload)
    brightness = float(sum(image.mean() for image, label in dataset) / len(dataset))
    # What careless code shows.
    logger.info(dict(os.environ))
    print(dict(os.environ))
    return {"weights": model.state_dict(), "samples": len(dataset), "metrics": {"brightness": brightness}}
"""
# Those that open the storage: who submits and copies results, and the server, which signs URLs.
HOLDERS = ("rt_flare.jobs.job_owner", "rt_flare.jobs.simulator_process", "fed.app.server.")


@dataclass
class Watch:
    """Arguments and environments of all processes that carry a mark, sampled while they run."""

    mark: str
    arguments: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.ended.wait(0.03):
            for process in psutil.process_iter():
                try:
                    command, environment = process.cmdline(), process.environ()
                    # A process that begins another program has its parent's environment until it does.
                    is_settled = command == process.cmdline() and environment == process.environ()
                    if environment.get(MARK) == self.mark and process.pid != os.getpid() and is_settled:
                        self.arguments[tuple(command)] = environment
                except (psutil.Error, OSError):
                    continue  # it ended meanwhile, or is somebody else's

    def of(self, part: str) -> list[dict[str, str]]:
        """Environments of the processes whose command has ``part`` in it."""
        return [environment for command, environment in self.arguments.items() if part in " ".join(command)]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Begin to watch."""
    watch = Watch(uuid.uuid4().hex)
    monkeypatch.setenv(MARK, watch.mark)
    thread = threading.Thread(target=watch.run)
    thread.start()
    yield watch
    watch.ended.set()
    thread.join()


@pytest.fixture
def secrets(s3_server: Any) -> list[str]:
    """What nothing may show."""
    return [s3_server.secret, PASSWORD, WRONG_KEY, *SIGNATURES]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    samples = [ShardSample(f"s{n}", picture.getvalue(), f"images/{n}.png", (n % 2,)) for n in range(5)]
    build_shards(samples, [[0, 1], [2, 3, 4]], tmp_path / "shards")
    (tmp_path / "model_def.py").write_text(MODEL_DEF)
    return tmp_path / "shards"


@pytest.fixture
def rt_flare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run ``rt-flare`` in this process and return all that it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["rt-flare", *arguments])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit):
            main()
        signal.signal(signal.SIGTERM, before)
        said = capsys.readouterr()
        assert said.out + said.err
        return said.out + said.err

    return run


def found_in_files(folder: Path, secrets: list[str], *, besides: tuple[str, ...] = ()) -> list[str]:
    """Files below ``folder``, without the storage's own, with a secret in them."""
    own = ("s3", "rclone.log", "rclone.conf", *besides)
    files = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] not in own]
    assert len(files) > 5
    return [f"{path}: {secret}" for path in files for secret in secrets if secret.encode() in path.read_bytes()]


def found_in_processes(watch: Watch, secrets: list[str]) -> list[str]:
    found = [f"argument: {command}" for command in watch.arguments if any(s in " ".join(command) for s in secrets)]
    for command, environment in watch.arguments.items():
        if not any(holder in " ".join(command) for holder in HOLDERS):
            shown = json.dumps(environment)
            found += [f"environment: {command}: {secret}" for secret in secrets if secret in shown]
    return found


def refusal(action: Callable[[], object]) -> str:
    """The whole of an error, with what it was caused by."""
    with pytest.raises((RtFlareError, ValueError)) as caught:
        action()
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value)


@pytest.mark.parametrize("where", ["simulator", "poc"])
def test_a_full_run_with_s3_and_a_password_shows_neither(
    where: str,
    s3_server: Any,
    shards: Path,
    tmp_path: Path,
    watch: Watch,
    secrets: list[str],
    rt_flare: Callable[..., str],
) -> None:
    """C3, J7, J8, K9: job, results, logs, status, reports, outputs, arguments and environments."""
    with pytest.warns(UserWarning, match="password: not used") as warned:
        config = ResonTechConfig(storage=f"{s3_server.url}/home", email="ada@example.com", password=PASSWORD)
    job = ResonTech(config).rt_submit(
        model=tmp_path / "model_def.py",
        name="digits",
        shards_dir=shards,
        training=TrainingConfig(img_size=4),
        federation=FederationConfig(num_rounds=2, min_clients=2, round_timeout_seconds=120, num_threads=1),
        where=where,
        data_dir=tmp_path / "data",
    )
    assert job.wait(timeout_seconds=300) is JobState.FINISHED, job.error
    watch.ended.set()
    printed = [repr(config), str(config), *(str(warning.message) for warning in warned), repr(job), str(job.status)]
    for arguments in (
        ["status", "digits"],
        ["status", "digits", "--format", "json"],
        ["logs", "digits"],
        ["logs", "digits", "--site", "site-2"],
        ["results", "digits", "--format", "json"],
        ["report", "jobs/digits"],
        ["report", "jobs/digits", "--format", "md"],
        ["report", "jobs/digits", "--format", "json"],
        ["doctor", "jobs/digits"],
        ["doctor", "jobs/digits", "--format", "json"],
    ):
        printed.append(rt_flare(*arguments))
    stored = {path.name for path in s3_server.folder.rglob("*") if path.is_file()}
    assert {"fl_round_complete.json", "client_2.log", "global_model.pt", "shard_0002.zip"} <= stored
    assert "signed a URL for site-2" in rt_flare("logs", "digits")
    assert "RT_FLARE_TEST_OF_SECRETS" in rt_flare("logs", "digits", "--site", "site-1")

    assert found_in_files(tmp_path, secrets) == []
    assert found_in_files(s3_server.folder, secrets) == []
    assert [secret for secret in secrets for text in printed if secret in text] == []
    assert found_in_processes(watch, secrets) == []
    assert len(watch.of("rt_flare.core.worker_process")) >= 2
    assert watch.of("fed.app.simulator.simulator_worker" if where == "simulator" else "fed.app.client.client_train")
    assert any(s3_server.secret in environment.values() for environment in watch.of("rt_flare.jobs.job_owner"))


@pytest.mark.parametrize("fault", ["wrong key", "expired URL", "URL with a password"])
def test_a_run_that_fails_shows_no_secret_either(
    fault: str,
    s3_server: Any,
    shards: Path,
    tmp_path: Path,
    watch: Watch,
    secrets: list[str],
    rt_flare: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C3, K9, J5: the cause is told, in the error, the logs, the report and by the doctor."""
    url = f"{s3_server.url}/home/jobs/digits/shards"
    upload_shards(shards, url)
    local = tmp_path / "run" / "simulator" / "local"
    local.mkdir(parents=True)
    if fault == "wrong key":
        monkeypatch.setenv("FSSPEC_S3_SECRET", WRONG_KEY)
    elif fault == "expired URL":
        signed = sign_url(f"{url}/shard_0001.zip", 1)
        (local / "rt_flare_data.json").write_text(json.dumps({"shard": signed}))
        time.sleep(2.5)
    else:
        (local / "rt_flare_data.json").write_text(json.dumps({"shard": f"s3://ada:{PASSWORD}@bucket/shard_0001.zip"}))
    job = ResonTech(ResonTechConfig(storage=f"{s3_server.url}/home")).build(
        out=tmp_path / "job",
        model=tmp_path / "model_def.py",
        name="digits",
        shards_dir=url,
        training=TrainingConfig(img_size=4),
        federation=FederationConfig(num_rounds=1, min_clients=2, round_timeout_seconds=60, num_threads=1),
        sites=SITES,
        data_dir=tmp_path / "data",
    )
    outcome = run_simulator(job, tmp_path / "run", SITES)
    watch.ended.set()
    assert outcome.state is JobState.FAILED
    collect_results(outcome, tmp_path / "out")
    told = {
        "wrong key": "request signature .* does not match|SignatureDoesNotMatch|Forbidden|Access",
        "expired URL": "the signed URL has expired",
        "URL with a password": "expected the place only",
    }
    assert outcome.error is not None
    assert re.search(told[fault], outcome.error.message), outcome.error.message
    printed = [outcome.error.log_text(), repr(outcome)]
    for arguments in (["report", "out"], ["report", "out", "--format", "md"], ["doctor", "run"], ["doctor", "out"]):
        printed.append(rt_flare(*arguments))
    for own in tmp_path.rglob("rt_flare_data.json"):  # the administrator's own file, which the simulator copies
        own.unlink()
    assert found_in_files(tmp_path, secrets) == []
    assert [secret for secret in secrets for text in printed if secret in text] == []
    # A site whose administrator names a place in a storage keeps the key to it.
    told_to_sites = [PASSWORD] if fault == "URL with a password" else secrets
    assert found_in_processes(watch, told_to_sites) == []
    assert watch.of("rt_flare.core.worker_process")


def test_what_refuses_a_secret_does_not_repeat_it(
    s3_server: Any, shards: Path, rt_flare: Callable[..., str], secrets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3, K8: in every place where a user may put one."""
    with_password = f"s3://ada:{PASSWORD}@bucket/home"
    sdk = ResonTech(ResonTechConfig())
    printed = [
        refusal(lambda: ResonTech(ResonTechConfig(storage=with_password))),
        repr(ResonTechConfig(storage="s3://bucket/home")),
        refusal(lambda: ResonTechConfig(pasword=PASSWORD)),  # type: ignore[call-arg]
        refusal(lambda: ResonTechConfig(password=[PASSWORD])),  # type: ignore[arg-type]
        refusal(lambda: sdk.build(model="model_def.py", shards_dir=with_password, sites=["a"])),
        refusal(lambda: upload_shards(shards, with_password)),
        refusal(lambda: sign_url(f"{with_password}/x", 60)),
        rt_flare("shards", "upload", "shards", with_password),
        rt_flare("shards", "upload", "shards", f"s3://bucket/x?{SIGNATURES[0]}={PASSWORD}"),
        rt_flare("shards", "verify", with_password),
        rt_flare("check", with_password),
        rt_flare("report", with_password, "--format", "json"),
        rt_flare("submit", with_password),
    ]
    monkeypatch.setenv("FSSPEC_S3_SECRET", WRONG_KEY)
    import fsspec

    settings: dict[str, dict[str, Any]] = {}
    fsspec.config.set_conf_env(settings)
    monkeypatch.setattr(fsspec.config, "conf", settings)
    fsspec.filesystem("s3").clear_instance_cache()
    printed += [
        refusal(lambda: upload_shards(shards, f"{s3_server.url}/jobs/x/shards")),
        rt_flare("shards", "upload", "shards", f"{s3_server.url}/jobs/x/shards"),
        rt_flare("shards", "upload", "shards", f"{s3_server.url}/jobs/x/shards", "--format", "json"),
    ]
    assert [f"{secret}: {text}" for secret in secrets for text in printed if secret in text] == []
