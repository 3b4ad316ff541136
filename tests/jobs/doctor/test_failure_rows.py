"""The table of known failures: every row is told by its log, and not by one that looks like it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from rt_flare.jobs.doctor import diagnose, load_failure_table

TABLE = load_failure_table()
FAILED = "task train failed: site-1, round 1: "


@dataclass(frozen=True)
class Line:
    """One line of a log: whose, who logs it, how loud; ``rest`` are the lines behind it."""

    text: str
    level: str = "ERROR"
    logger: str = "PayloadExecutor"
    site: str = "site-1"
    rest: str = ""


def server(text: str, level: str = "ERROR", logger: str = "WFCommServer", rest: str = "") -> Line:
    return Line(text, level, logger, "", rest)


def user_error(error: str) -> Line:
    """An exception in user code as NVFlare logs it for an executor that is not ours."""
    frame = '  File "/w/site-1/simulate_job/app_site-1/custom/model_def.py", line 12, in fl_train_model\n    work()\n'
    return Line("Traceback (most recent call last):", logger="ClientRunner", rest=f"{frame}{error}\n")


POSITIVE: dict[str, Line] = {
    "manifest_missing": Line(
        FAILED + "MissingManifestError: FileNotFoundError: manifest.ndjson: the shard has no manifest.ndjson at its "
        "root /var/tmp/nvflare/data/1. One lies in the subdirectory 'shard'."
    ),
    "legacy_sftp": Line("WorkspaceError: SFTP connection failed"),
    "url_expired": Line(
        FAILED + "ExpiredUrlError: http://storage:9000/bucket/shard_0001.zip: the signed URL has expired. Get a fresh "
        "one: a URL lasts as long as was asked for when it was signed"
    ),
    "disk_full": user_error("OSError: [Errno 28] No space left on device: '/data/out/model.pt'"),
    "nccl_error": Line(
        FAILED + "the training worker was ended by SIGABRT in user code",
        rest="  [rank0]: ProcessGroupNCCL.cpp:607 [Rank 0] Watchdog caught collective operation timeout\n",
    ),
    "out_of_memory": user_error(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
    ),
    "process_killed": Line(
        FAILED + "the training worker was ended by SIGKILL (killed from outside, perhaps for using too much memory) in "
        "user code"
    ),
    "worker_crashed": Line(FAILED + "the training worker exited with code 139 in user code"),
    "component_not_allowed": Line(
        "FL client execution exception: ComponentNotAuthorized: Error processing ['config_fed_client.json'] in JSON "
        "element: class 'rt_flare.components.executor.PayloadExecutor' is not allowed",
        logger="worker_process",
    ),
    "name_not_defined": user_error("NameError: name 'torch' is not defined"),
    "import_missing_on_server": server(
        "Exception in model controller run: ModuleNotFoundError: No module named 'timm'", logger="RtFedAvg"
    ),
    "import_missing": user_error("ModuleNotFoundError: No module named 'timm'"),
    "missing_file": user_error("FileNotFoundError: [Errno 2] No such file or directory: '/home/me/vocab.txt'"),
    "update_refused": server(
        "refused (not_finite): site-1: layer.weight holds NaN", "WARNING", "SampleWeightedAggregator"
    ),
    "pre_init_timeout": Line(
        "RuntimeError: trainer did not complete the HELLO handshake within launch_timeout=300.0s",
        logger="ClientAPIExecutor",
    ),
    "cross_site_evaluation_timeout": server("task validate exit with status TaskCompletionStatus.TIMEOUT", "INFO"),
    "training_task_timeout": server("task train exit with status TaskCompletionStatus.TIMEOUT", "INFO"),
    "p2p_timeout": Line(
        "giving up result submission to site-2 for round 1 after 3600 secs", logger="SwarmClientController"
    ),
    "large_result_timeout": Line(
        "no ref found for 5d1e87db-8bdc-433a-8ee8-ff0f39298f06 from server.48069116", logger="DownloadService"
    ),
    "result_submission_timeout": Line("failed to send task result to server - will try again", logger="ClientRunner"),
    "stalled_send": Line(
        "Detected stalled send on [CN00002 127.0.0.1:58844 => 127.0.0.1:33425]: blocked 52.3s (2/3)",
        "WARNING",
        "heartbeat_monitor",
    ),
    "heartbeat_timeout": server("Remove the dead Client. Name: site-1.  Total clients: 1", "INFO", "FederatedServer"),
    "server_unreachable": Line(
        "Connector [CH00002 ACTIVE http://localhost:36355] failed with exception ClientConnectorError: Cannot connect "
        "to host localhost:36355 [Connect call failed ('127.0.0.1', 36355)]",
        logger="conn_manager",
    ),
    "task_fetch_timeout": Line("Failed to get_task from server. Will try it again.", "WARNING", "Communicator"),
    "worker_timeout": server(
        "Aborting current RUN due to FATAL_SYSTEM_ERROR received: round 1 failed: 1 of 2 updates accepted, at least 2 "
        "needed; site-1 missing: no answer within the round's 3600 s",
        logger="ServerRunner",
    ),
}
"""A log that shows the row."""

NEGATIVE: dict[str, Line] = {
    "manifest_missing": user_error("FileNotFoundError: [Errno 2] No such file or directory: '/data/1/labels.csv'"),
    "legacy_sftp": Line("shard_0001.zip: fetched from s3://bucket, 577 samples", "INFO"),
    "url_expired": Line("shard_0001.zip: the signed URL has expired, asking for a fresh one", "INFO"),
    "disk_full": Line("shard_0001.zip: 40 of 100 bytes; 12 GB of disk space left", "INFO"),
    "nccl_error": Line("NCCL version 2.21.5+cuda12.4", "WARNING"),
    "out_of_memory": user_error("RuntimeError: input is not in channels_last memory format"),
    "process_killed": Line("run (48069116): child worker process finished with RC 0", "INFO", "JobExecutor"),
    "worker_crashed": Line("train: round 1 done, 577 samples, metrics {'loss': 1.0}", "INFO"),
    "component_not_allowed": Line("component authorization is on: 12 classes are allowed", "INFO"),
    "name_not_defined": user_error("ValueError: name 'torch' is not allowed"),
    "import_missing_on_server": Line(
        "Exception in trainer: ModuleNotFoundError: No module named 'timm'", logger="ClientRunner"
    ),
    "import_missing": user_error("AttributeError: module 'torch' has no attribute 'foo'"),
    "missing_file": user_error("IsADirectoryError: [Errno 21] Is a directory: '/data'"),
    "update_refused": server("refused (error_reply): site-1 replied with an error", "WARNING"),
    "pre_init_timeout": Line("trainer session established: launch=1 fqcn=site-1.t session_id=1", "INFO"),
    "cross_site_evaluation_timeout": server("task validate exit with status TaskCompletionStatus.OK", "INFO"),
    "training_task_timeout": server("task train exit with status TaskCompletionStatus.OK", "INFO"),
    "p2p_timeout": Line("got permission from site-2 to submit round 1 result in 0.2 secs", "INFO"),
    "large_result_timeout": Line(
        "[DOWNLOAD_RECOVERED] Download from server recovered after 1 timeout(s) (ref=5d1e87db).", "WARNING"
    ),
    "result_submission_timeout": Line("start to send task result to server", "INFO", "ClientRunner"),
    "stalled_send": Line("Connection [CN00002 127.0.0.1:58844 => 127.0.0.1:33425] is closed", "WARNING"),
    "heartbeat_timeout": server("server heartbeat timeout set to 600", "INFO", "ServerDeployer"),
    "server_unreachable": Line("Connected to server: http://localhost:51059", "INFO", "FederatedClient"),
    "task_fetch_timeout": Line("pull_task completed. Task name:train Status:True", "INFO", "FederatedClient"),
    "worker_timeout": Line("synced to parent server in 0.51 seconds", "INFO", "ClientRunner"),
}
"""A log that looks like it and is something else, or nothing."""


def log_of(line: Line, record: Callable[..., str]) -> str:
    return record(line.text, level=line.level, logger=line.logger, site=line.site) + line.rest


def found_rows(line: Line, record: Callable[..., str], run_folder: Callable[..., Path]) -> list[str | None]:
    text = log_of(line, record)
    folder = run_folder(site_1=text) if line.site else run_folder(server=text)
    return [finding.row.id if finding.row else None for finding in diagnose(folder).findings]


@pytest.mark.parametrize("row_id", [row.id for row in TABLE.rows])
def test_a_row_is_told_by_its_log(row_id: str, record: Callable[..., str], run_folder: Callable[..., Path]) -> None:
    """J12, X6"""
    assert found_rows(POSITIVE[row_id], record, run_folder)[:1] == [row_id]


@pytest.mark.parametrize("row_id", [row.id for row in TABLE.rows])
def test_a_row_is_not_told_by_what_only_looks_like_it(
    row_id: str, record: Callable[..., str], run_folder: Callable[..., Path]
) -> None:
    """J12"""
    assert row_id not in found_rows(NEGATIVE[row_id], record, run_folder)


def test_every_row_has_a_positive_and_a_negative_log() -> None:
    """J12"""
    assert [row.id for row in TABLE.rows] == list(POSITIVE) == list(NEGATIVE)


def test_a_healthy_log_gives_nothing(run_folder: Callable[..., Path]) -> None:
    """J12: not the remarks of user code either."""
    assert diagnose(run_folder()).findings == ()


@pytest.mark.parametrize(
    ("row_id", "text"),
    [
        ("out_of_memory", "MemoryError"),
        ("out_of_memory", "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 68 bytes"),
        ("out_of_memory", "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array"),
        ("nccl_error", "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2006"),
        ("nccl_error", "RuntimeError: ncclRemoteError: A call failed possibly due to a network error"),
        ("url_expired", "PermissionError: <Code>ExpiredToken</Code>"),
        ("disk_full", "OSError: [Errno 122] Disk quota exceeded"),
        ("legacy_sftp", "paramiko.ssh_exception.AuthenticationException: Authentication failed."),
        ("heartbeat_timeout", "trainer heartbeat timed out after 31.2s (timeout=30.0s)"),
        ("heartbeat_timeout", "client site-3 is placed on dead client watch list"),
        ("large_result_timeout", "[DOWNLOAD_FAILED] Max retries (3) exhausted for server, ref=1. Giving up."),
        ("large_result_timeout", "failed to decode streamed submit_update in server job cell server.1; exiting"),
        ("p2p_timeout", "gatherer for round 3 timed out after 3600 seconds"),
        ("p2p_timeout", "the workflow swarm has no progress for 3600 seconds"),
        ("worker_timeout", "RuntimeError: cannot sync with server Runner after 60.0 seconds"),
        ("training_task_timeout", "timed out after 600.0s waiting for 'train' result"),
        ("stalled_send", "send_frame timeout after 30.0 seconds on CN00001"),
        ("pre_init_timeout", "external_pre_init_timeout: the client did not call flare.init() within 60 seconds"),
    ],
)
def test_other_texts_of_a_row(row_id: str, text: str) -> None:
    """J12"""
    row, _ = TABLE.classify(text)
    assert row is not None
    assert row.id == row_id


@pytest.mark.parametrize("text", ["ValueError: ran out of memory cards", "the out-of-memory killer is off"])
def test_words_about_memory_are_not_enough(text: str) -> None:
    """J12"""
    assert TABLE.classify(text) == (None, None)


def test_the_texts_are_in_the_code_that_writes_them() -> None:
    """J12: a pattern for a text that nobody writes any more would never tell anything."""
    for row in TABLE.rows:
        for source in row.source:
            if source.text is None:
                continue
            package = find_spec(source.origin)
            assert package is not None
            assert package.origin is not None
            code = (Path(package.origin).parent / source.file).read_text()
            assert source.text in code, (row.id, source.file)


def test_every_row_says_what_to_do() -> None:
    """J12"""
    for row in TABLE.rows:
        assert row.patterns or row.info_patterns or row.refines
        assert row.cause.endswith(".")
        assert row.fix.endswith(".")
        assert re.fullmatch(r"[a-z0-9_]+", row.id)
    assert len({row.id for row in TABLE.rows}) == len(TABLE.rows)
