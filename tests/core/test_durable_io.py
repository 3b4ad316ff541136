"""Files that are whole at every instant, and JSON that every parser reads (J10)."""

from __future__ import annotations

import contextlib
import enum
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.durable_io import as_utf8, read_json, to_strict_json, write_atomic, write_bytes, write_json

leaves = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text())
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
WRITER = """
import sys
from pathlib import Path
from rt_flare.core.durable_io import write_json
number = 0
while True:
    number += 1
    write_json(Path(sys.argv[1]), {"number": number, "rows": [float("nan")] * (number % 3000)})
"""
FULL_DISK = """
import resource, sys
from pathlib import Path
from rt_flare.core.durable_io import write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_json(Path(sys.argv[1]), {"text": "x" * 5000})
except OSError as error:
    print(error.strerror)
"""


class Color(enum.StrEnum):
    RED = "red"


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def strict(text: bytes) -> Any:
    """Parse as any parser must be able to: no NaN, no infinities."""
    return json.loads(text.decode("utf-8"), parse_constant=refuse_constant)


def expected(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {expected(key): expected(item) for key, item in value.items()}
    return [expected(item) for item in value] if isinstance(value, list | tuple) else value


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "metrics.json"
    write_json(path, {"old": True})
    return path


@contextlib.contextmanager
def killed_writer(path: Path) -> Iterator[None]:
    """A process that writes ``path`` without end while the block runs, and is killed then."""
    before = path.stat().st_ino
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as process:
        while path.stat().st_ino == before:
            assert process.poll() is None
            time.sleep(0.005)
        yield
        process.send_signal(signal.SIGKILL)


@given(document=st.dictionaries(st.text(), nested, max_size=5))
def test_every_document_becomes_strict_json(tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]) -> None:
    """J10: with NaN, infinities, tuples, and text that is not UTF-8."""
    path = tmp_path_factory.getbasetemp() / "document.json"
    write_json(path, document)
    content = path.read_bytes()
    assert repr(strict(content)) == repr(expected(document))
    assert content.endswith(b"\n")
    assert repr(read_json(path)) == repr(expected(document))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.float64(0.5), 0.5),
        (np.float64("nan"), "NaN"),
        (Color.RED, "red"),
        ({Color.RED: 1}, {"red": 1}),
        (True, True),
    ],
)
def test_subclasses_are_written_as_what_they_are(target: Path, value: Any, found: Any) -> None:
    """J10: numpy's float is a float."""
    write_json(target, {"value": value})
    assert read_json(target) == {"value": found}


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        {1, 2},
        pytest.param(object(), id="object"),
        1j,
        Path("x"),
        np.int64(3),
        np.float32(0.5),
        np.ones(2),
        {1: 2},
        {None: 2},
        2**64,
    ],
    ids=repr,
)
def test_what_has_no_json_form_is_refused_and_leaves_the_old_file(target: Path, value: Any) -> None:
    """J10"""
    with pytest.raises(TypeError):
        write_json(target, {"rows": [value]})
    assert read_json(target) == {"old": True}
    assert parts(target.parent) == []


def test_lone_surrogates_become_question_marks() -> None:
    """J10: the name of a file that is not UTF-8."""
    assert as_utf8(b"a\xff.png".decode("utf-8", "surrogateescape")) == "a?.png"
    assert as_utf8("Zürich 🚀") == "Zürich 🚀"


def test_conversion_leaves_its_input_alone() -> None:
    """J10"""
    document = {"values": [math.nan, (1, 2)]}
    to_strict_json(document)
    assert repr(document) == "{'values': [nan, (1, 2)]}"


def test_a_file_is_created_with_its_folders_and_readable_by_others(tmp_path: Path) -> None:
    """J8"""
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failure_while_writing_leaves_the_old_file(target: Path) -> None:
    """J10"""

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        assert len(parts(target.parent)) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, write)
    assert read_json(target) == {"old": True}
    assert parts(target.parent) == []


@pytest.mark.parametrize("obstacle", ["target is a folder", "parent is a file"])
def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, obstacle: str) -> None:
    """J10"""
    if obstacle == "target is a folder":
        path = tmp_path / "folder"
        path.mkdir()
    else:
        (tmp_path / "file").write_text("x", encoding="utf-8")
        path = tmp_path / "file" / "metrics.json"
    with pytest.raises(OSError):
        write_json(path, {"new": True})
    assert parts(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(target: Path) -> None:
    """J10: a real limit on the size of files."""
    result = subprocess.run([sys.executable, "-c", FULL_DISK, str(target)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == os.strerror(27)
    assert read_json(target) == {"old": True}
    assert parts(target.parent) == []


def test_readers_never_see_a_part(target: Path) -> None:
    """J10: while another process writes on and on."""
    seen, deadline = {0}, time.monotonic() + 30
    with killed_writer(target):
        while len(seen) < 20 and time.monotonic() < deadline:
            seen.add(read_json(target).get("number", 0))
    assert len(seen) == 20


def test_a_kill_at_any_instant_leaves_a_whole_file(target: Path) -> None:
    """J10: SIGKILL, many times."""
    delays = random.Random(4)
    for _ in range(20):
        with killed_writer(target):
            time.sleep(delays.uniform(0, 0.05))
        document = strict(target.read_bytes())
        assert len(document["rows"]) == document["number"] % 3000


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": NaN}', b"\xff", b'{"a": 1} {}'])
def test_an_invalid_file_is_named(tmp_path: Path, content: bytes) -> None:
    """J10"""
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.json: not valid JSON"):
        read_json(path)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    """J10"""
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ValueError, match=r"huge\.json: 1073741825 bytes, expected at most 1073741824"):
        read_json(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """J10"""
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
