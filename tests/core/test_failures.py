"""From an exception to what people read: kind, message, and the line of the user's code (J5, X6)."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from rt_flare.core.failures import describe_exception, relative_paths
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.payload import build_payload
from rt_flare.core.round_record import Failure
from rt_flare.core.user_code import UserCode
from rt_flare.core.user_logger import UserLogger
from rt_flare.errors import (
    ContractError,
    ManifestError,
    ModelError,
    ResultError,
    StateDictError,
    WorkerDiedError,
    WorkerTimeoutError,
)

NUMBERS = itertools.count()
TRAIN = "def fl_train_model(payload, out_dir, logger=None):\n"


def failure_of(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch, **files: str) -> Failure:
    """What becomes of user code that fails, from its import to its result."""
    monkeypatch.syspath_prepend(str(folder))
    name = f"failing_module_{next(NUMBERS)}"
    (folder / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    for file, text in files.items():
        (folder / f"{file}.py").write_text(text, encoding="utf-8")
    try:
        code = UserCode(name, ModelSpec())
        code.train(
            build_payload(weights={}, dataset={}, env={}, extra={}), folder, UserLogger(lambda level, text: None)
        )
    except BaseException as error:
        return describe_exception(error, code_dir=folder, site="site-1", round_number=3)
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("source", "kind", "line", "message"),
    [
        (f"{TRAIN}    x = 1\n    raise RuntimeError('boom')", "exception", 3, "RuntimeError: boom"),
        (f"{TRAIN}    return 1 / 0", "exception", 2, "ZeroDivisionError: division by zero"),
        (f"{TRAIN}    return undefined", "import", 2, "NameError: name 'undefined' is not defined"),
        (f"{TRAIN}    open('manifest.ndjson')", "data", 2, "FileNotFoundError: "),
        (f"{TRAIN}    import sys\n    sys.exit(4)", "exception", 3, "SystemExit: 4"),
        (f"{TRAIN}    raise MemoryError", "out_of_memory", 2, "MemoryError"),
        (f"import torch\n{TRAIN}    torch.empty(2**60)", "out_of_memory", 3, "RuntimeError: "),
        (f"import numpy\n{TRAIN}    numpy.ones(2**55)", "out_of_memory", 3, "MemoryError: Unable to allocate"),
        (f"import json\n{TRAIN}    json.loads('{{')", "exception", 3, "JSONDecodeError: "),
        (f"{TRAIN}    eval('1 +')", "import", 2, "SyntaxError: "),
        (f"\n{TRAIN}    return 3", "result", 2, "ResultError: the training function returned int"),
        (f"x = 1\n\n{TRAIN}    return {{'samples': 1}}", "result", 3, "ResultError: the result has none of"),
        ("x = 1\nimport not_installed_anywhere\n", "import", 2, "ModuleNotFoundError: No module named"),
        ("from math import square\n", "import", 1, "ImportError: cannot import name 'square'"),
        (f"x = (1,\n{TRAIN}", "import", 1, "SyntaxError: '(' was never closed"),
        ("def f():\nreturn 1\n", "import", 2, "IndentationError: "),
        ("\n\ndef fl_train_model(payload): ...\n", "contract", 3, "ContractError: fl_train_model(payload) cannot be"),
        (f"{TRAIN}    pass\nraise ValueError('at import')\n", "exception", 3, "ValueError: at import"),
    ],
)
def test_the_place_is_the_line_of_the_users_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kind: str, line: int, message: str
) -> None:
    """J5: for errors in training, at import, in the syntax, and in the result."""
    failure = failure_of(tmp_path, source, monkeypatch)
    assert (failure.kind, failure.line, failure.site, failure.round) == (kind, line, "site-1", 3)
    assert failure.file is not None
    assert failure.file.startswith("failing_module_")
    assert failure.message.startswith(message)


def test_the_deepest_frame_of_the_users_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J5: in a module beside the training function, not in the library that it called."""
    source = f"import own_losses\n{TRAIN}    own_losses.loss()\n"
    losses = "import torch\ndef loss():\n    return torch.ones(2) @ torch.ones(3)\n"
    failure = failure_of(tmp_path, source, monkeypatch, own_losses=losses)
    assert (failure.file, failure.line) == ("own_losses.py", 3)


def test_a_syntax_error_in_an_imported_module_is_in_that_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J5"""
    failure = failure_of(tmp_path, "import own_broken\n", monkeypatch, own_broken="x = 1\ny = = 2\n")
    assert (failure.kind, failure.file, failure.line) == ("import", "own_broken.py", 2)


def test_paths_are_relative_to_the_jobs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J5: no folder of the site shows."""
    failure = failure_of(tmp_path, f"{TRAIN}    open(__file__ + '.missing')", monkeypatch)
    assert str(tmp_path) not in orjson.dumps(failure.model_dump()).decode()


def test_the_traceback_starts_in_user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J5"""
    failure = failure_of(tmp_path, f"{TRAIN}    raise RuntimeError('boom')", monkeypatch)
    assert failure.traceback is not None
    assert failure.traceback.count('File "') == 1


def test_long_messages_and_tracebacks_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J5: what a client sends is bounded."""
    source = f"def deep(n):\n    if n: deep(n - 1), n\n    raise ValueError('x' * 10**6)\n{TRAIN}    deep(200)"
    failure = failure_of(tmp_path, source, monkeypatch)
    assert len(failure.message) == 2_000
    assert failure.traceback is not None
    assert len(failure.traceback) == 8_000


def test_text_that_is_no_utf8_can_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J5, J10: a missing file whose name is not UTF-8."""
    failure = failure_of(tmp_path, f"{TRAIN}    open(b'a\\xff.png')\n    ", monkeypatch)
    raised = describe_exception(FileNotFoundError(b"a\xff.png".decode("utf-8", "surrogateescape")))
    for found in (failure, raised):
        assert b"FileNotFoundError" in orjson.dumps(found.model_dump())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ResultError("samples_zero", "x"), "result"),
        (ContractError("x"), "contract"),
        (ModelError("x"), "model"),
        (StateDictError("x"), "model"),
        (ManifestError("x"), "data"),
        (WorkerDiedError("x"), "worker_died"),
        (WorkerTimeoutError("x"), "worker_timeout"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
        (OSError(12, "Cannot allocate memory"), "out_of_memory"),
        (ValueError("ran out of memory cards"), "exception"),
        (KeyError("x"), "exception"),
    ],
    ids=lambda value: repr(value),
)
def test_the_kind_of_a_failure_has_a_stable_name(error: BaseException, kind: str) -> None:
    """J5, J12"""
    assert describe_exception(error).kind == kind


def test_without_user_code_the_place_is_outside_of_libraries(tmp_path: Path) -> None:
    """J5: an error on the server."""
    try:
        np.ones(2).reshape(7)
    except ValueError as error:
        failure = describe_exception(error)
    assert (failure.file, failure.site) == (Path(__file__).name, None)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"site": "site-1", "round": 0, "file": "model_def.py", "line": 7}, "site-1, round 0: boom (model_def.py:7)"),
        ({"site": "site-1"}, "site-1: boom"),
        ({"round": 2}, "server, round 2: boom"),
    ],
)
def test_a_failure_is_told_in_one_line(fields: dict[str, Any], text: str) -> None:
    """J5"""
    assert Failure(kind="exception", message="boom", **fields).describe() == text


def test_a_failure_of_many_lines_is_told_in_one_and_its_traceback_is_indented() -> None:
    """J5, X6: no line of a site's text passes for a record of a log."""
    forged = "2026-11-20 15:50:17,402 - Cell - ERROR - all is lost"
    failure = Failure(kind="exception", message=f"boom\n{forged}\n", site="a", traceback=f"Traceback:\n{forged}\n")
    assert failure.describe() == f"a: boom / {forged}"
    assert failure.log_text() == f"a: boom / {forged}\n  Traceback:\n  {forged}"


def test_a_traceback_shows_no_folder_of_its_machine(tmp_path: Path) -> None:
    """J5, X6"""
    own = Path(describe_exception.__code__.co_filename)
    files = {
        f"{tmp_path}/custom/model_def.py": "model_def.py",
        f"{tmp_path}/custom/parts/net.py": "parts/net.py",
        "/home/alice/venv/lib/python3.11/site-packages/torch/nn/module.py": "site-packages/torch/nn/module.py",
        "/usr/lib/python3.11/threading.py": "lib/python3.11/threading.py",
        str(own): "rt_flare/core/failures.py",
        "/home/alice/secret project/helper.py": "helper.py",
    }
    text = "".join(f'  File "{file}", line 3, in f\n' for file in files)
    shown = "".join(f'  File "{file}", line 3, in f\n' for file in files.values())
    assert relative_paths(text, tmp_path / "custom") == shown
