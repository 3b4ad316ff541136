"""Manifest files: read, counted, written; every problem named (K4)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.data.manifest import (
    MAX_LINE_BYTES,
    ManifestEntry,
    MissingManifestError,
    count_entries,
    iter_manifest,
    load_manifest,
    write_manifest,
)
from rt_flare.errors import ManifestError

GOOD = b'{"id":"%d","uri":"file://%d.png","y":[%d]}\n'


def written(folder: Path, content: bytes) -> Path:
    path = folder / "manifest.ndjson"
    path.write_bytes(content)
    return path


def good(*numbers: int) -> bytes:
    return b"".join(GOOD % (number, number, number) for number in numbers)


def refusal(path: Path, **options: int) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(path, **options)
    return str(caught.value)


def test_reads_entries_with_their_lines(tmp_path: Path) -> None:
    """K4"""
    path = written(tmp_path, good(5, 6).removesuffix(b"\n"))
    entries = load_manifest(path)
    assert entries == [ManifestEntry("5", "file://5.png", (5,)), ManifestEntry("6", "file://6.png", (6,))]
    assert [entry.line for entry in entries] == [1, 2]


def test_streams_the_same_entries(tmp_path: Path) -> None:
    """K4"""
    path = written(tmp_path, good(1, 2, 3))
    assert list(iter_manifest(path)) == load_manifest(path)


def test_streaming_stops_at_the_first_problem(tmp_path: Path) -> None:
    """K4"""
    entries = iter_manifest(written(tmp_path, good(1) + b"{}\n" + good(2)))
    assert next(entries).id == "1"
    with pytest.raises(ManifestError, match=r"manifest\.ndjson:2: id: found no such field"):
        next(entries)


def test_lists_all_problems_with_file_line_field_found_and_expected(tmp_path: Path) -> None:
    """K4"""
    text = refusal(written(tmp_path, b'{"id":"a","uri":"u","y":[true]}\n' + good(1) + b'{"id":"b","uri":2,"y":[0]}\n'))
    assert "in 2 places" in text
    assert "manifest.ndjson:1: y[0]: found true, expected an integer from 0 to 2147483647" in text
    assert "manifest.ndjson:3: uri: found 2, expected a non-empty Unicode string" in text


def test_counts_the_problems_beyond_the_cap(tmp_path: Path) -> None:
    """K4"""
    text = refusal(written(tmp_path, b"[]\n" * 5), max_problems=2)
    assert text.count("manifest.ndjson:") == 2
    assert "and 3 more" in text


FILE_PROBLEMS = [
    (b"", "manifest.ndjson:1: file: found an empty file"),
    (b"\n", "manifest.ndjson:1: line: found a blank line"),
    (good(1) + b"\n", "manifest.ndjson:2: line: found a blank line"),
    (good(1) + b"\n" + good(2), "manifest.ndjson:2: line: found a blank line"),
    (b"\xef\xbb\xbf" + good(1), "manifest.ndjson:1: line: found a byte order mark"),
    (good(1).decode().encode("utf-16"), "manifest.ndjson:1: line: found bytes that are not UTF-8 at byte 1"),
    (good(1) + b"\x80\n", "manifest.ndjson:2: line: found bytes that are not UTF-8"),
    (good(1, 2, 1), 'manifest.ndjson:3: id: found "1", the id of line 1 already'),
    (good(1) + b" " * (MAX_LINE_BYTES + 1) + b"\n", "manifest.ndjson:2: line: found an over-long line"),
]


@pytest.mark.parametrize(("content", "message"), FILE_PROBLEMS)
def test_refuses_a_broken_file(tmp_path: Path, content: bytes, message: str) -> None:
    """K4"""
    assert message in refusal(written(tmp_path, content))


def test_goes_on_after_a_byte_order_mark_and_an_over_long_line(tmp_path: Path) -> None:
    """K4: the other problems are reported too."""
    long = b"x" * (3 * MAX_LINE_BYTES) + b"\n"
    text = refusal(written(tmp_path, b"\xef\xbb\xbf" + good(1) + long + b"[]\n" + good(2)))
    assert "in 3 places" in text
    assert "manifest.ndjson:3: line: found a list" in text


def test_a_line_at_the_limit_is_read(tmp_path: Path) -> None:
    """K4"""
    line = good(1)
    assert len(load_manifest(written(tmp_path, b" " * (MAX_LINE_BYTES - len(line)) + line))) == 1


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    """K4"""
    assert len(load_manifest(written(tmp_path, good(1, 2).replace(b"\n", b"\r\n")))) == 2


def test_a_missing_manifest_is_the_failure_row_of_the_guide(tmp_path: Path) -> None:
    """J12, K10"""
    with pytest.raises(FileNotFoundError) as caught:
        load_manifest(tmp_path / "manifest.ndjson")
    assert isinstance(caught.value, MissingManifestError)
    assert isinstance(caught.value, ManifestError)
    assert "FileNotFoundError: manifest.ndjson" in str(caught.value)
    assert "the manifest must be at the root, not in a subdirectory" in str(caught.value)


def test_a_manifest_in_a_subdirectory_is_pointed_at(tmp_path: Path) -> None:
    """K10"""
    (tmp_path / "wrapper").mkdir()
    written(tmp_path / "wrapper", good(1))
    with pytest.raises(MissingManifestError, match="One lies in the subdirectory 'wrapper'"):
        count_entries(tmp_path / "manifest.ndjson")


def test_counts_lines_that_are_not_blank(tmp_path: Path) -> None:
    """M11"""
    assert count_entries(written(tmp_path, b"\n" + good(1, 2) + b" \r\n" + good(3).rstrip())) == 3


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)  # no lone surrogates: no UTF-8 form
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
ENTRIES = st.lists(
    st.builds(
        ManifestEntry,
        id=TEXT,
        uri=TEXT,
        y=st.lists(st.integers(0, 2**31 - 1), max_size=3).map(tuple),
        meta=st.none() | st.dictionaries(TEXT, JSON_VALUES, max_size=2),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda entry: entry.id,
)


# The first draw of a text builds hypothesis' table of all characters.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ENTRIES)
def test_what_is_written_is_read_back(entries: list[ManifestEntry]) -> None:
    """K4"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.ndjson"
        write_manifest(path, entries)
        assert load_manifest(path) == entries
        assert count_entries(path) == len(entries)


UNWRITABLE: list[tuple[list[ManifestEntry], str]] = [
    ([], "found no entry to write"),
    ([ManifestEntry("a", "u", (True,))], r"y\[0\]: found true"),
    ([ManifestEntry("a", "u", (0,)), ManifestEntry("a", "u", (0,))], "the id of line 1 already"),
    ([ManifestEntry("a", "u", (0,), {"k": float("nan")})], "has no JSON form"),
    ([ManifestEntry("a", "u", (0,), {"k": {1, 2}})], "has no JSON form"),
    ([ManifestEntry("a", "u\ud800", (0,))], "has no JSON form"),
    ([ManifestEntry("a", "u", (0,), {"k": (1, 2)})], "values that change in JSON"),
    ([ManifestEntry("a", "u", (0,), {"k": "x" * MAX_LINE_BYTES})], "expected at most 1048576 bytes"),
]


@pytest.mark.parametrize(("entries", "message"), UNWRITABLE)
def test_refuses_to_write_what_could_not_be_read_and_keeps_the_old_file(
    tmp_path: Path, entries: list[Any], message: str
) -> None:
    """K4"""
    path = written(tmp_path, b"old")
    with pytest.raises(ManifestError, match=message):
        write_manifest(path, entries)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
