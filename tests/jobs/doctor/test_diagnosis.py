"""From a folder to its findings, the root cause first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, RoundRecord, Verdict
from rt_flare.jobs.doctor import diagnose, log_records, process_story
from rt_flare.jobs.doctor.log_records import ReadLimit

Record = Callable[..., str]
RunFolder = Callable[..., Path]
REPORT = "{who}: site-2, round 1: ValueError: bad label (model_def.py:12)\n"
TRACEBACK = (
    '  Traceback (most recent call last):\n    File "model_def.py", line 12, in fl_train_model\n'
    "      raise ValueError('bad label')\n  ValueError: bad label\n"
)


def failed_ledger(folder: Path, *contributions: Contribution, error: Failure | None = None) -> None:
    record = RoundRecord(
        round=1,
        verdict=Verdict.FAILED,
        started_at="2026-11-20T15:00:22.000+00:00",
        seconds=9.0,
        num_samples=0,
        contributions=list(contributions),
    )
    ledger = Ledger(job_id="j", num_rounds=3, state="FAILED", rounds=[record], error=error)
    ledger.write_round_summary(folder)


def test_a_sites_report_is_found_with_site_round_and_line(record: Record, run_folder: RunFolder) -> None:
    """X6, J5: and it is one finding, though the server logs it too."""
    site = record(REPORT.format(who="task train failed").strip(), 30, logger="PayloadExecutor", site="site-2")
    server = record(REPORT.format(who="no update").strip(), 31, level="WARNING", logger="RtFedAvg")
    diagnosis = diagnose(run_folder(server=server + TRACEBACK, site_2=site + TRACEBACK))
    (found,) = diagnosis.findings
    assert diagnosis.root is found
    assert (found.site, found.round, found.file, found.line) == ("site-2", 1, "model_def.py", 12)
    assert found.message == "ValueError: bad label"
    assert found.traceback is not None
    assert found.traceback.startswith("Traceback (most recent call last):\n  File")
    assert found.log.endswith("client_2.log")
    assert Path(found.log).read_text().splitlines()[found.log_line - 1].startswith(found.time)


def test_the_servers_log_alone_is_enough(record: Record, run_folder: RunFolder) -> None:
    """J5, X6"""
    server = record(REPORT.format(who="no update").strip(), 31, level="WARNING", logger="RtFedAvg")
    root = diagnose(run_folder(server=server + TRACEBACK) / "server.log").root
    assert root is not None
    assert (root.site, root.round, root.file, root.line) == ("site-2", 1, "model_def.py", 12)
    assert "raise ValueError" in (root.traceback or "")


def test_the_round_summary_alone_is_enough(tmp_path: Path) -> None:
    """J5, X6: with the time of the round."""
    failure = Failure(kind="exception", message="ValueError: bad label", file="model_def.py", line=12)
    failed = Contribution(site="b", status=ContributionStatus.FAILED, failure=failure, seconds=4.0)
    failed_ledger(tmp_path, Contribution(site="a", status=ContributionStatus.MISSING, reason="no answer"), failed)
    root = diagnose(tmp_path).root
    assert root is not None
    assert (root.site, root.round, root.line, root.time) == ("b", 1, 12, "2026-11-20 15:00:26,000")


def test_a_refused_update_has_its_rule(tmp_path: Path) -> None:
    """X6, J12"""
    refused = Contribution(site="a", status=ContributionStatus.REJECTED, reason="not_finite: layer.weight holds NaN")
    failed_ledger(tmp_path, refused)
    root = diagnose(tmp_path).root
    assert root is not None
    assert root.row is not None
    assert (root.row.id, root.message) == ("update_refused", "not_finite: layer.weight holds NaN")


def test_times_in_the_summary_are_compared_in_the_logs_zone(record: Record, run_folder: RunFolder) -> None:
    """X6: the summary is in UTC, the log in the server's zone: here both begin round 1 alike, hours apart."""
    late = record("Traceback (most recent call last):", 40, site="site-1", logger="ClientRunner")
    frame = '  File "/w/custom/model_def.py", line 3, in f\n    x()\nKeyError: 1\n'
    started = record("Round 1 started.", 24, level="INFO", logger="RtFedAvg")
    folder = run_folder(server=started, site_1=late + frame)
    failure = Failure(kind="exception", message="ValueError: the first", file="model_def.py", line=5)
    failed = Contribution(site="site-2", status=ContributionStatus.FAILED, failure=failure, seconds=4.0)
    failed_ledger(folder, failed)
    text = (folder / "fl_round_complete.json").read_text()
    (folder / "fl_round_complete.json").write_text(text.replace("2026-11-20T15:00:22", "2026-11-20T23:00:22"))
    assert [finding.message for finding in diagnose(folder).findings] == ["ValueError: the first", "KeyError: 1"]


def test_a_clock_an_hour_ahead_is_corrected_and_said(record: Record, run_folder: RunFolder) -> None:
    """X6"""
    first = record("boom: No space left on device", 30 + 600, site="site-1")
    second = record("boom: NCCL error", 40, site="site-2")
    diagnosis = diagnose(run_folder(site_1=first, site_2=second, shift=600.0))
    assert diagnosis.root is not None
    assert diagnosis.root.site == "site-1"
    assert diagnosis.notes == ("the clock of site-1 is 600 s ahead of the server's: times were compared so",)


def test_nvflares_message_and_its_traceback_are_one_finding(record: Record, run_folder: RunFolder) -> None:
    """X6: it logs them as two records."""
    text = "Processing error from executor Echo: OSError: disk on fire"
    lines = record(text, 30, logger="ClientRunner", site="site-1") + record(
        "Traceback (most recent call last):", 30.002, logger="ClientRunner", site="site-1", bare=True
    )
    frame = '  File "/w/a/simulate_job/app_a/custom/mini.py", line 26, in execute\n    raise x\nOSError: disk on fire\n'
    (found,) = diagnose(run_folder(site_1=lines + frame)).findings
    assert (found.message, found.file, found.line) == ("OSError: disk on fire", "mini.py", 26)


def test_text_from_logs_is_printable_bounded_and_no_markup(record: Record, run_folder: RunFolder) -> None:
    """X6: escapes of terminals, directions of writing, and megabytes."""
    hostile = "task train failed: \x1b[2J\u202eevil, round 1: [bold]boom[/] \x07" + "x" * 100_000
    (found,) = diagnose(run_folder(site_1=record(hostile, site="site-1") + "  \x1b]0;t\x07\n" * 9_000)).findings
    for text in (found.site or "", found.message, (found.traceback or "").replace("\n", "")):
        assert text.isprintable()
    assert len(found.message) < 10_000
    assert len(found.traceback or "") < 100_000
    assert "[bold]boom[/]" in found.message


def test_user_code_cannot_forge_a_record(record: Record, run_folder: RunFolder) -> None:
    """X6: what it logs is indented, so that no line of it begins with a time."""
    text = "[user code] hello\n    " + record("FileNotFoundError: all is lost", logger="Cell", site="site-1").strip()
    forged = record(text, level="INFO", logger="PayloadExecutor", site="site-1", bare=True)
    assert diagnose(run_folder(site_1=forged)).findings == ()


def test_a_log_over_the_limit_is_read_to_there_and_said(
    record: Record, run_folder: RunFolder, monkeypatch: object
) -> None:
    """X6"""
    folder = run_folder(server=record("boom: No space left on device", 30) + "x" * 4_000 + "\n")
    size = (folder / "server.log").stat().st_size
    original = process_story.ReadLimit
    try:
        process_story.ReadLimit = lambda: ReadLimit(bytes_left=size - 3_000)  # type: ignore[misc,assignment]
        diagnosis = diagnose(folder)
    finally:
        process_story.ReadLimit = original  # type: ignore[misc]
    assert diagnosis.root is not None
    assert f"{folder / 'server.log'}: only the first {log_records.MAX_LOG_BYTES >> 20} MiB were read" in diagnosis.notes


def test_a_thousand_equal_errors_are_one_finding_with_their_number(record: Record, run_folder: RunFolder) -> None:
    """X6"""
    lines = [record(f"failed to send task result to server: try {n}", 30 + n / 100) for n in range(1_000)]
    (found,) = diagnose(run_folder(server="".join(lines))).findings
    assert (found.count, found.time) == (1_000, "2026-11-20 15:00:30,000")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), cut=st.integers(0, 2_000))
def test_any_bytes_in_a_log_give_a_diagnosis(tmp_path: Path, data: bytes, cut: int) -> None:
    """X6: never an exception, wherever a log was cut and whatever is in it."""
    report = "2026-11-20 15:00:30,000 - PayloadExecutor - ERROR - task train failed: site-1, round 1: x (m.py:3)\n"
    log = (report + TRACEBACK).encode() * 3
    (tmp_path / "server.log").write_bytes(log[:cut] + data + log[cut:])
    diagnosis = diagnose(tmp_path)
    assert all(finding.message.isprintable() for finding in diagnosis.findings)
