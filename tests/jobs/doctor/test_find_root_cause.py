"""From logs to the error that came first."""

from __future__ import annotations

from pathlib import Path

from rt_flare.jobs.doctor import find_root_cause

USER = """2025-01-01 10:00:0{second},000 - SomeRunner - ERROR - task failed
Traceback (most recent call last):
  File "/w/site/simulate_job/app/custom/model_def.py", line 12, in fl_train_model
    x = undefined_name
        ^^^^^^^^^^^^^^
NameError: name 'undefined_name' is not defined

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/venv/site-packages/nvflare/private/runner.py", line 99, in run
    raise RuntimeError("task failed")
RuntimeError: task failed
2025-01-01 10:00:09,000 - SomeRunner - INFO - good bye
"""
SYSTEM = """2025-01-01 10:00:01,000 - Cell - ERROR - cannot go on
Traceback (most recent call last):
  File "/venv/site-packages/nvflare/fuel/cell.py", line 7, in send
    raise TimeoutError("no answer")
TimeoutError: no answer
"""
OURS = """2025-01-01 10:00:01,000 - Runner - ERROR - cannot start
Traceback (most recent call last):
  File "/venv/site-packages/pydantic/main.py", line 7, in validate
pydantic_core.ValidationError: 1 error

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/venv/site-packages/rt_flare/components/persistor.py", line 7, in __init__
rt_flare.errors.ConfigError: model_args: expected an object
"""


def _logs(folder: Path, **logs: str) -> tuple[Path, dict[str, Path]]:
    for name, text in logs.items():
        (folder / name).write_text(text)
    return folder / "server", {name: folder / name for name in logs if name != "server"}


def test_the_first_exception_of_a_chain_is_shown_with_its_place(tmp_path: Path) -> None:
    """J5, X6."""
    failure = find_root_cause(*_logs(tmp_path, server="", a=USER.format(second=3)))
    assert failure is not None
    assert (failure.site, failure.kind) == ("a", "import")
    assert failure.message == "NameError: name 'undefined_name' is not defined"
    assert (failure.file, failure.line) == ("model_def.py", 12)
    assert failure.traceback is not None
    assert "nvflare" not in failure.traceback


def test_an_error_in_user_code_comes_before_an_earlier_one_of_the_system(tmp_path: Path) -> None:
    """X6: the system's errors are mostly consequences."""
    failure = find_root_cause(*_logs(tmp_path, server=SYSTEM, a=USER.format(second=3)))
    assert failure is not None
    assert failure.line == 12


def test_of_two_sites_the_earlier_error_counts(tmp_path: Path) -> None:
    """X6."""
    failure = find_root_cause(*_logs(tmp_path, server="", a=USER.format(second=4), b=USER.format(second=2)))
    assert failure is not None
    assert failure.site == "b"


def test_without_user_code_the_systems_own_exception_is_shown(tmp_path: Path) -> None:
    """J5."""
    failure = find_root_cause(*_logs(tmp_path, server=SYSTEM))
    assert failure is not None
    assert (failure.kind, failure.message, failure.file) == ("server", "TimeoutError: no answer", None)


def test_an_error_of_ours_is_shown_instead_of_its_cause(tmp_path: Path) -> None:
    """J5: its message says what to do."""
    failure = find_root_cause(*_logs(tmp_path, server=OURS))
    assert failure is not None
    assert failure.message == "ConfigError: model_args: expected an object"


def test_a_line_of_level_error_is_the_last_resort(tmp_path: Path) -> None:
    """J5."""
    log = "2025-01-01 10:00:00,000 - x - INFO - fine\n2025-01-01 10:00:01,000 - ERROR - no space left\n"
    failure = find_root_cause(*_logs(tmp_path, server=log))
    assert failure is not None
    assert failure.message == "no space left"


def test_the_console_is_asked_when_no_log_holds_an_error(tmp_path: Path) -> None:
    """J5."""
    server, sites = _logs(tmp_path, server="2025-01-01 10:00:00,000 - x - INFO - fine\n")
    (tmp_path / "console").write_text(SYSTEM)
    failure = find_root_cause(server, sites, tmp_path / "console")
    assert failure is not None
    assert failure.message == "TimeoutError: no answer"


def test_no_error_anywhere_gives_none(tmp_path: Path) -> None:
    """J5: nothing is made up; missing logs are skipped, as are bytes that are no text."""
    server, sites = _logs(tmp_path, server="")
    (tmp_path / "a").write_bytes(b"\xff\xfe\x00 Traceback (most recent call last):\n  File cut off")
    assert find_root_cause(server, {**sites, "a": tmp_path / "a", "b": tmp_path / "missing"}) is None
