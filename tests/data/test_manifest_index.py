"""A manifest as a sequence: read once, then mapped; never stale (K4, X9)."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import pytest

from rt_flare.data import manifest_index
from rt_flare.data.manifest import ManifestEntry, MissingManifestError
from rt_flare.data.manifest_index import LabelStats, MappedManifest, indexed_count
from rt_flare.errors import ManifestError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, in which files settle at once."""
    monkeypatch.setenv("RT_FLARE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(manifest_index, "_SETTLED_SECONDS", -1.0)
    return tmp_path / "cache"


def written(folder: Path, *labels: list[int]) -> Path:
    path = folder / "manifest.ndjson"
    lines = [f'{{"id":"{n}","uri":"ü{n}","y":{list(y)}}}\r\n' for n, y in enumerate(labels)]
    path.write_bytes("".join(lines).encode())
    return path


def refuse_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(manifest_index, "scan_manifest", fail)


def test_entries_are_those_of_the_file_and_a_second_opening_does_not_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X9, K6"""
    path = written(tmp_path, [3], [1, 7], [], [7])
    expected = [ManifestEntry(str(n), f"ü{n}", y) for n, y in enumerate([(3,), (1, 7), (), (7,)])]
    assert indexed_count(path) is None
    first = MappedManifest.open(path)
    refuse_to_read(monkeypatch)
    for entries in (first, MappedManifest.open(path), pickle.loads(pickle.dumps(first))):
        assert list(entries) == expected
        assert entries[1:3] == expected[1:3]
        assert entries[-1] == expected[-1]
        assert entries[1].line == 2
        assert entries.labels == LabelStats(7, 2, 0, 3, 2, 2)
        with pytest.raises(IndexError):
            entries[4]
    assert indexed_count(path) == 4


def test_a_manifest_without_labels_has_none(tmp_path: Path) -> None:
    """K6"""
    assert MappedManifest.open(written(tmp_path, [])).labels == LabelStats(-1, 0, 0, 1, 0, 1)


@pytest.mark.parametrize("change", ["content", "size", "date", "inode"])
def test_a_changed_manifest_is_read_again(tmp_path: Path, change: str) -> None:
    """X9"""
    path = written(tmp_path, [1], [2])
    MappedManifest.open(path)
    about = path.stat()
    if change == "content":  # of the same size and date
        written(tmp_path, [1], [9])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    elif change == "size":
        written(tmp_path, [1], [2], [9])
    elif change == "date":
        os.utime(path)
    else:
        path.rename(tmp_path / "old")
        written(tmp_path, [1], [9])
    assert indexed_count(path) is None
    assert MappedManifest.open(path).labels.max_label == (2 if change == "date" else 9)


def test_a_manifest_that_was_written_just_now_is_not_trusted_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X9: its date is too coarse to tell two writes apart."""
    monkeypatch.setattr(manifest_index, "_SETTLED_SECONDS", 2.0)
    path = written(tmp_path, [1])
    assert len(MappedManifest.open(path)) == 1
    assert indexed_count(path) is None
    now = time.time()
    monkeypatch.setattr(manifest_index.time, "time", lambda: now + 3)
    MappedManifest.open(path)
    assert indexed_count(path) == 1


@pytest.mark.parametrize("damage", [b"", b"{}", b"x" * 5000, None])
def test_an_index_that_is_damaged_is_made_again(tmp_path: Path, cache: Path, damage: bytes | None) -> None:
    """X9"""
    path = written(tmp_path, [1], [2])
    MappedManifest.open(path)
    (index,) = cache.rglob("*.index")
    index.write_bytes(index.read_bytes()[:-8] if damage is None else damage)
    assert indexed_count(path) is None
    assert [entry.y for entry in MappedManifest.open(path)] == [(1,), (2,)]
    assert indexed_count(path) == 2


def test_a_broken_manifest_is_refused_with_all_problems_each_time(tmp_path: Path) -> None:
    """K4"""
    path = written(tmp_path, [-1], [1], [-1])
    for _ in range(2):
        with pytest.raises(ManifestError, match="in 2 places"):
            MappedManifest.open(path)


def test_a_missing_manifest_is_the_usual_error(tmp_path: Path) -> None:
    """K10"""
    with pytest.raises(MissingManifestError):
        MappedManifest.open(tmp_path / "manifest.ndjson")


def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """X9"""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RT_FLARE_CACHE_DIR", str(tmp_path / "file" / "x"))
    assert len(MappedManifest.open(written(tmp_path, [1]))) == 1
    assert "cannot be kept" in caplog.text


def test_indices_of_manifests_that_are_gone_are_removed(tmp_path: Path, cache: Path) -> None:
    """X9"""
    (tmp_path / "a").mkdir()
    MappedManifest.open(written(tmp_path / "a", [1]))
    (tmp_path / "a" / "manifest.ndjson").unlink()
    MappedManifest.open(written(tmp_path, [1]))
    assert len(list(cache.rglob("*.index"))) == 1


def test_a_manifest_that_changes_while_it_is_in_use_is_named(tmp_path: Path) -> None:
    """K4"""
    path = written(tmp_path, [1], [2])
    entries = MappedManifest.open(path)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ManifestError, match=r"manifest\.ndjson:2: the file was changed while it was in use"):
        entries[1]
