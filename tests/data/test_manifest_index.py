"""A manifest as a mapped file: the same entries, read once (K4, K6, X9)."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.data import manifest_index as subject
from rt_flare.data.manifest import ManifestEntry, MissingManifestError, load_manifest, write_manifest
from rt_flare.data.manifest_index import open_index
from rt_flare.errors import ManifestError

LINE = b'{"id":"%d","uri":"file://%d.png","y":[%d]}\n'
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ENTRIES = st.lists(
    st.builds(
        ManifestEntry,
        id=TEXT,
        uri=TEXT,
        y=st.lists(st.integers(0, 2**31 - 1), max_size=4).map(tuple),
        meta=st.none() | st.dictionaries(TEXT, st.integers(), max_size=2),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda entry: entry.id,
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def manifest(folder: Path, *numbers: int) -> Path:
    path = folder / "manifest.ndjson"
    path.write_bytes(b"".join(LINE % (number, number, number) for number in numbers))
    time.sleep(0.03)  # beyond a tick of the file system's clock
    return path


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise AssertionError("the manifest is read again")

    monkeypatch.setattr(subject, "scan_manifest", fail)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRIES)
def test_it_holds_the_manifests_entries(entries: list[ManifestEntry]) -> None:
    """K4, K6"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.ndjson")
        write_manifest(path, entries)
        for index in (open_index(path, Path(folder)), open_index(path, None)):
            assert list(index) == entries
            assert [index.uri(n) for n in range(len(index))] == [entry.uri for entry in entries]
            assert [tuple(index.labels(n)) for n in range(len(index))] == [entry.y for entry in entries]
            counts = [len(entry.y) for entry in entries]
            assert index.label_counts == (min(counts), max(counts))
            assert index.max_label == max((label for entry in entries for label in entry.y), default=-1)


def test_entries_have_their_lines_and_slices(tmp_path: Path, cache: Path) -> None:
    """K4"""
    index = open_index(manifest(tmp_path, 5, 6, 7), cache)
    assert [entry.line for entry in index[1:]] == [2, 3]
    assert index[-1].id == "7"
    with pytest.raises(IndexError):
        index[3]


def test_the_last_line_may_lack_its_end(tmp_path: Path, cache: Path) -> None:
    """K4"""
    path = tmp_path / "m"
    path.write_bytes((LINE % (1, 1, 1)).strip())
    assert list(open_index(path, cache)) == load_manifest(path)


def test_a_second_opening_reads_no_line(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X9"""
    path = manifest(tmp_path, *range(20_000))
    first = open_index(path, cache)
    no_reading(monkeypatch)

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = bytes_read()
    second = open_index(path, cache)
    assert bytes_read() - before < 10_000 < path.stat().st_size
    assert (len(second), second.uri(19_999), second.sha256) == (20_000, "file://19999.png", first.sha256)


def test_a_changed_manifest_is_read_again(tmp_path: Path, cache: Path) -> None:
    """X9: with the size and the date of the old one too."""
    path = manifest(tmp_path, 1, 2)
    open_index(path, cache)
    before = path.stat()
    manifest(tmp_path, 3, 4)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [entry.id for entry in open_index(path, cache)] == ["3", "4"]


def test_an_index_made_within_a_tick_of_the_last_write_is_not_trusted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X9"""
    path = manifest(tmp_path, 1)
    monkeypatch.setattr(time, "time_ns", lambda: path.stat().st_mtime_ns + 1)
    open_index(path, cache)
    monkeypatch.undo()
    no_reading(monkeypatch)
    with pytest.raises(AssertionError, match="read again"):
        open_index(path, cache)


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_header, cut, empty])
def test_a_damaged_index_is_made_anew(
    tmp_path: Path, cache: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """X9"""
    path = manifest(tmp_path, 1, 2)
    file = open_index(path, cache).file
    assert file is not None
    damage(file)
    assert list(open_index(path, cache)) == load_manifest(path)
    assert "it is made anew" in caplog.text


def test_an_index_of_another_manifest_is_made_anew(tmp_path: Path, cache: Path) -> None:
    """X9: a file moved to the wrong name."""
    (tmp_path / "other").mkdir()
    here, there = manifest(tmp_path, 1), manifest(tmp_path / "other", 2)
    files = [open_index(path, cache).file for path in (here, there)]
    assert files[0] is not None
    assert files[1] is not None
    files[1].replace(files[0])
    assert open_index(here, cache)[0].id == "1"


def test_entries_of_a_manifest_that_changed_in_use_are_refused(tmp_path: Path, cache: Path) -> None:
    """X9: the offsets are those of the old one."""
    index = open_index(manifest(tmp_path, 1, 2), cache)
    manifest(tmp_path, 3, 4)
    with pytest.raises(ManifestError, match="has changed while it was in use"):
        index[0]
    with pytest.raises(ManifestError, match="has changed while it was in use"):
        pickle.loads(pickle.dumps(index))


def test_it_can_be_sent_to_a_worker_process(tmp_path: Path, cache: Path) -> None:
    """K6"""
    for folder in (cache, None):
        index = open_index(manifest(tmp_path, 1, 2), folder)
        assert list(pickle.loads(pickle.dumps(index))) == list(index)


BROKEN_LINES = st.lists(
    st.sampled_from(
        [LINE % (1, 1, 1), LINE % (2, 2, 2), b"{}\n", b"\n", b"[]\n", b'{"id":"a","uri":"u","y":[-1]}\n', b"\xff\n"]
    ),
    max_size=12,
)


@settings(max_examples=100)
@given(BROKEN_LINES, st.integers(1, 5))
def test_problems_are_reported_as_by_load_manifest(lines: list[bytes], max_problems: int) -> None:
    """K4: double ids too, in the order of the lines, up to the cap."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m")
        path.write_bytes(b"".join(lines))
        try:
            expected: Any = load_manifest(path, max_problems)
        except ManifestError as error:
            expected = str(error)
        try:
            found: Any = list(open_index(path, Path(folder), max_problems=max_problems))
        except ManifestError as error:
            found = str(error)
        assert found == expected
        assert [name.suffix for name in Path(folder).iterdir() if name != path] in ([], [".index"])


def test_a_missing_manifest_is_named(tmp_path: Path, cache: Path) -> None:
    """K10"""
    with pytest.raises(MissingManifestError):
        open_index(tmp_path / "manifest.ndjson", cache)


def test_labels_are_found_by_what_is_wrong_with_them(tmp_path: Path, cache: Path) -> None:
    """C4, K6"""
    path = tmp_path / "m"
    write_manifest(path, [ManifestEntry(str(n), "u", y) for n, y in enumerate([(1,), (), (0, 7), (9,)])])
    index = open_index(path, cache)
    assert (index.find_label_count_other_than(1), index.find_label_from(2), index.find_label_from(8)) == (1, 2, 3)


def test_a_disk_that_is_full_leaves_the_index_in_memory(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """X9: a real limit on the size of files."""
    path = manifest(tmp_path, *range(1000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        index = open_index(path, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (index.file, len(index), list(cache.iterdir())) == (None, 1000, [])
    assert "stays in memory" in caplog.text


def test_a_kill_while_it_is_made_leaves_nothing_that_is_used(tmp_path: Path, cache: Path) -> None:
    """X9"""
    path = manifest(tmp_path, *range(30_000))
    code = (
        "import sys; from pathlib import Path; from rt_flare.data.manifest_index import open_index\n"
        "print('ready', flush=True); open_index(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    for delay in (0.01, 0.1, 0.3):
        command = [sys.executable, "-c", code, str(path), str(cache)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
    assert len(open_index(path, cache)) == 30_000


def test_opening_costs_no_memory_per_entry(tmp_path: Path, cache: Path) -> None:
    """X9: building takes little memory, opening next to none."""
    path = manifest(tmp_path, *range(200_000))
    code = (
        "import json, resource, sys; from pathlib import Path; from rt_flare.data.manifest_index import open_index\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); index = open_index(Path(sys.argv[1]), Path(sys.argv[2])); index.uri(len(index) - 1)\n"
        "print(json.dumps(peak() - before))"
    )
    command = [sys.executable, "-c", code, str(path), str(cache)]
    built, opened = (
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(2)
    )
    assert built < 24_000
    assert opened < 4_000
