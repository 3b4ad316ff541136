"""Samples from folders, CSVs and manifests (K7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.manifest import ManifestEntry, load_manifest, write_manifest
from rt_flare.data.sample_sources import samples_from_csv, samples_from_folder, samples_from_manifest
from rt_flare.data.site_shard import prepare_shard
from rt_flare.errors import ConfigError, DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def table(root: Path, text: str) -> Path:
    (root / "t.csv").write_text(text, encoding="utf-8")
    return root / "t.csv"


def test_a_folder_per_class_gives_labels_in_the_order_of_the_names(tmp_path: Path) -> None:
    """K7"""
    touch(tmp_path, "dog/b.png", "cat/x/a.png", "cat/.DS_Store", ".hidden/z.png", "dog/a.png")
    samples, classes = samples_from_folder(tmp_path)
    assert classes == ["cat", "dog"]
    assert [(s.id, s.name, s.y) for s in samples] == [
        ("cat/x/a.png", "cat/x/a.png", (0,)),
        ("dog/a.png", "dog/a.png", (1,)),
        ("dog/b.png", "dog/b.png", (1,)),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found no subfolder"),
        (["cat/a.png", "b.png"], "found the file 'b.png' beside the classes"),
        (["cat/.x", "dog/a.png"], "cat: found no file"),
    ],
)
def test_a_folder_of_another_layout_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    """K7"""
    with pytest.raises(DataError, match=message):
        samples_from_folder(touch(tmp_path, *names))


def test_a_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    """K3, K7: it could pack what nobody meant to."""
    touch(tmp_path, "cat/a.png")
    (tmp_path / "cat" / "b.png").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"b\.png: a link"):
        samples_from_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """K7"""
    with pytest.raises(DataError, match="no such folder"):
        samples_from_folder(tmp_path / "x")


def test_a_csv_with_numbers(tmp_path: Path) -> None:
    """K6, K7: several labels, an id column, other columns."""
    touch(tmp_path, "i/a.png", "i/b.png")
    path = table(tmp_path, "\ufeffpath,label,id,more\ni/a.png,3,one,x\n./i/b.png,0; 2,,y\n")
    samples, classes = samples_from_csv(path)
    assert classes == []
    assert [(s.id, s.name, s.y) for s in samples] == [("one", "i/a.png", (3,)), ("i/b.png", "i/b.png", (0, 2))]


def test_a_csv_with_names_and_columns_of_ones_own(tmp_path: Path) -> None:
    """K7"""
    touch(tmp_path / "elsewhere", "a.png", "b.png")
    path = table(tmp_path, "file,kind\na.png,dog\nb.png,cat\n")
    samples, classes = samples_from_csv(path, root=tmp_path / "elsewhere", path_column="file", label_column="kind")
    assert classes == ["cat", "dog"]
    assert [s.y for s in samples] == [(1,), (0,)]


def test_all_rows_that_cannot_be_used_are_told_at_once(tmp_path: Path) -> None:
    """K7"""
    touch(tmp_path.parent, "outside.png")
    touch(tmp_path, "a.png")
    path = table(tmp_path, "path,label\nnone.png,1\n../outside.png,1\na.png,\n,1\na.png,1\n")
    with pytest.raises(DataError) as caught:
        samples_from_csv(path)
    text = str(caught.value)
    assert "4 rows cannot be used" in text
    assert "t.csv:2: path: found 'none.png', expected an existing file" in text
    assert "t.csv:3: path: found '../outside.png', expected a file below" in text
    assert "t.csv:4: label: found an empty label" in text
    assert "t.csv:5: path: found ''" in text


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DataError, "found the columns no header row, expected one called 'path'"),
        ("file,label\n", DataError, "found the columns file, label, expected one called 'path'"),
        ("path,label\n", DataError, "found no row"),
        ("path,label\na,1\nb,cat\n", ConfigError, "found numbers such as '1' and names such as 'cat'"),
        ('path,label\n"a,1\n', DataError, "cannot be read as CSV"),
    ],
)
def test_a_csv_that_is_none_is_refused(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    """K7"""
    with pytest.raises(error, match=message):
        samples_from_csv(table(tmp_path, text))


def test_a_csv_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """K7"""
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xff,1\n")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        samples_from_csv(tmp_path / "t.csv")


def test_a_manifest_is_dealt_anew(tmp_path: Path) -> None:
    """K7: with meta, files that several samples name, and remote images."""
    touch(tmp_path / "old", "x/ü.png", "b.png")
    entries = [
        ManifestEntry("1", "file://x/%C3%BC.png", (0,), {"k": 1}),
        ManifestEntry("2", "b.png", (1,)),
        ManifestEntry("3", "b.png", (2,)),
        ManifestEntry("4", "https://h/a.png", (3,)),
    ]
    write_manifest(tmp_path / "old" / "manifest.ndjson", entries)
    samples = samples_from_manifest(tmp_path / "old" / "manifest.ndjson")
    (shard,) = build_shards(samples, [[0, 1, 2, 3]], tmp_path / "new")
    root = prepare_shard(shard, tmp_path / "data", 1)
    rebuilt = load_manifest(root / "manifest.ndjson")
    assert [(e.id, e.y, e.meta) for e in rebuilt] == [(e.id, e.y, e.meta) for e in entries]
    assert rebuilt[3].uri == "https://h/a.png"
    assert sorted(path.name for path in root.rglob("*.png")) == ["b.png", "ü.png"]


def test_a_manifest_with_missing_and_foreign_files_names_them_all(tmp_path: Path) -> None:
    """K5, K7"""
    touch(tmp_path, "b.png")
    entries = [ManifestEntry(str(n), uri, (0,)) for n, uri in enumerate(["a.png", "/etc/passwd", "b.png"])]
    write_manifest(tmp_path / "manifest.ndjson", entries)
    with pytest.raises(DataError) as caught:
        samples_from_manifest(tmp_path / "manifest.ndjson")
    assert "manifest.ndjson:1: uri: found no file" in str(caught.value)
    assert "manifest.ndjson:2: uri '/etc/passwd': found an absolute path" in str(caught.value)


def test_two_files_of_one_name_in_a_shard_are_refused(tmp_path: Path) -> None:
    """K7"""
    touch(tmp_path, "a/x.png", "b/x.png")
    samples = [ShardSample(str(n), tmp_path / folder / "x.png", "x.png", (0,)) for n, folder in enumerate("ab")]
    with pytest.raises(DataError, match=r"duplicate entry 'x\.png'"):
        build_shards(samples, [[0, 1]], tmp_path / "out")


def test_a_sample_that_is_a_plain_http_url_is_refused(tmp_path: Path) -> None:
    """K5"""
    with pytest.raises(DataError, match="expected https://"):
        build_shards([ShardSample("a", "http://h/a.png", "", (0,))], [[0]], tmp_path)
