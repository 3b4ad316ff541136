"""Checking shards in one pass: every problem, with its place (K1, K3, K4, K5, C4)."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rt_flare.data import verify_report
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.verify_report import VerifyReport
from rt_flare.data.verify_shards import VerifyOptions, verify_manifest, verify_shards


def picture(kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), (1, 2, 3)).save(content, kind)
    return content.getvalue()


def shard(folder: Path, index: int, lines: list[dict[str, Any] | bytes], files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    rows = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    with zipfile.ZipFile(folder / f"shard_{index:04d}.zip", "w") as archive:
        archive.writestr("manifest.ndjson", b"".join(row + b"\n" for row in rows))
        for name, content in files.items():
            archive.writestr(name, content)


def problems(report: VerifyReport) -> list[str]:
    return [str(problem) for problem in report.problems]


def entry(name: str, uri: str, *labels: int) -> dict[str, Any]:
    return {"id": name, "uri": uri, "y": list(labels)}


def test_good_shards_are_described(tmp_path: Path) -> None:
    """K1, C4"""
    samples = [ShardSample(f"s{n}", picture(), f"i/{n}.png", (n % 3,), None) for n in range(6)]
    build_shards(samples, [[0, 1, 2], [3, 4, 5]], tmp_path)
    steps: list[tuple[int, int]] = []
    report = verify_shards(tmp_path, VerifyOptions(num_sites=2), lambda *step: steps.append(step))
    assert report.ok
    assert problems(report) == report.notes == []
    assert report.num_classes == 3
    assert [(s.name, s.num_files, s.num_samples, s.label_counts) for s in report.shards] == [
        ("shard_0001.zip", 4, 3, {0: 1, 1: 1, 2: 1}),
        ("shard_0002.zip", 4, 3, {0: 1, 1: 1, 2: 1}),
    ]
    assert len(steps) == 8
    assert steps[-1][0] <= steps[-1][1]


def test_every_problem_is_told_with_its_place(tmp_path: Path) -> None:
    """K1, K3, K4, K5, C4: of all kinds, in one pass."""
    good = picture()
    shard(
        tmp_path,
        1,
        [
            entry("a", "file://a.png", 0),
            entry("a", "b.png", 7),
            b"{",
            entry("c", "missing.png", 0),
            entry("d", "../x.png", 0),
            entry("e", "file:///etc/passwd", 0),
            entry("f", "broken.png", 0),
            entry("g", "note.txt", 0),
            entry("h", "ftp://h/a.png", 0),
            {"id": "i", "uri": "b.png", "y": [True]},
            entry("j", "cut.jpg", 0),
        ],
        {"a.png": good, "b.png": good, "broken.png": good[:50], "note.txt": b"hello", "cut.jpg": picture("JPEG")[:200]},
    )
    shard(tmp_path, 3, [entry("a", "x.png", 0)], {"x.png": good, "../evil": b"x", "/abs": b"x"})
    (tmp_path / "shard_0004.zip").write_bytes(b"PK")
    (tmp_path / "other.zip").write_bytes(b"PK")
    report = verify_shards(tmp_path, VerifyOptions(num_sites=2, num_classes=5))
    told = "\n".join(problems(report))
    for expected in [
        "other.zip: not a shard's name",
        "shard_0002.zip is missing, but shard_0004.zip is there",
        "found 3 shards for 2 sites, expected one per site",
        'shard_0001.zip:2: id: found "a", the id of line 1 already',
        "shard_0001.zip:2: sample 'a': found label 7, expected 0 to 4. Set num_classes to at least 8",
        "shard_0001.zip:3: line: found no valid JSON",
        "shard_0001.zip:4: sample 'c': uri: found 'missing.png', expected a file in the ZIP",
        "shard_0001.zip:5: sample 'd': uri '../x.png': found '..' that leads out",
        "shard_0001.zip:6: sample 'e': uri 'file:///etc/passwd': found an absolute path outside",
        "shard_0001.zip:7: 'broken.png': the image is damaged",
        "shard_0001.zip:8: 'note.txt': not an image",
        "shard_0001.zip:9: sample 'h': uri 'ftp://h/a.png': found the scheme 'ftp'",
        "shard_0001.zip:10: y[0]: found true",
        "shard_0001.zip:11: 'cut.jpg': the image is damaged",
        "shard_0003.zip: entry '../evil': '..' in the path",
        "shard_0003.zip: entry '/abs': an absolute path",
        "shard_0004.zip: truncated or corrupt ZIP",
    ]:
        assert expected in told
    assert report.num_problems == len(report.problems) == 17
    assert not report.ok


def test_damaged_contents_are_found_though_nothing_decodes_them(tmp_path: Path) -> None:
    """K3: every file is read to its end."""
    shard(tmp_path, 1, [entry("a", "a.bin", 0)], {"a.bin": b"1234567890", "b.bin": b"abcdefghij"})
    path = tmp_path / "shard_0001.zip"
    path.write_bytes(path.read_bytes().replace(b"abcdefghij", b"abcdefghiX"))
    report = verify_shards(tmp_path, VerifyOptions(images=False))
    assert len(report.problems) == 1
    assert "'b.bin': truncated or corrupt ZIP (entry 'b.bin': CRC-32" in problems(report)[0]


def test_absolute_uris_are_those_of_the_sites(tmp_path: Path) -> None:
    """K5"""
    shard(tmp_path, 1, [entry("a", "file:///data/1/a.png", 0)], {"a.png": picture()})
    assert verify_shards(tmp_path, VerifyOptions(data_dir="/data")).ok
    assert not verify_shards(tmp_path, VerifyOptions()).ok


def test_shards_without_a_manifest_are_right_only_where_they_are_meant_so(tmp_path: Path) -> None:
    """K10"""
    with zipfile.ZipFile(tmp_path / "shard_0001.zip", "w") as archive:
        archive.writestr("table.csv", "1,2")
    assert problems(verify_shards(tmp_path, VerifyOptions())) == [
        "shard_0001.zip: found no manifest.ndjson at the root. Put one there, or check shards without one"
    ]
    assert verify_shards(tmp_path, VerifyOptions(manifest_file="")).ok


def test_what_may_be_meant_so_is_a_note(tmp_path: Path) -> None:
    """K5, K6, C4"""
    files = {"a.png": picture(), "extra.txt": b"1"}
    shard(tmp_path, 1, [entry("a", "a.png", 0), entry("b", "https://h/b.png", 4)], files)
    shard(tmp_path, 2, [entry("a", "a.png", 0, 4)], files)
    report = verify_shards(tmp_path, VerifyOptions())
    assert report.ok
    assert report.notes == [
        "shard_0001.zip: 1 files are not named by the manifest",
        "shard_0001.zip: 1 images are remote and were not fetched",
        "shard_0002.zip: 1 files are not named by the manifest",
        "shard_0002.zip:1 has not exactly one label, and other shards have one everywhere: set the adapter's option "
        "multi_label, or sites train with targets of different shapes",
        "no sample has the labels 1, 2, 3",
    ]


def test_problems_beyond_the_cap_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K4"""
    monkeypatch.setattr(verify_report, "MAX_PROBLEMS", 5)
    for index in (1, 2):
        shard(tmp_path, index, [b"{"] * 20, {})
    report = verify_shards(tmp_path, VerifyOptions())
    assert (len(report.problems), report.num_problems) == (10, 40)


def test_labels_that_no_table_can_hold_are_counted_in_bounded_memory(tmp_path: Path) -> None:
    """K4"""
    shard(tmp_path, 1, [entry(str(n), "a.png", 2**31 - 1 - n) for n in range(50)], {"a.png": picture()})
    report = verify_shards(tmp_path, VerifyOptions())
    assert report.num_classes == 2**31
    assert report.shards[0].label_counts == {}


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    """K1"""
    assert "no such folder" in problems(verify_shards(tmp_path / "x", VerifyOptions()))[0]


def test_a_manifest_can_be_checked_by_itself(tmp_path: Path) -> None:
    """K4, C4"""
    path = tmp_path / "manifest.ndjson"
    rows = [entry("a", "a.png", 0), entry("b", "../b.png", 5), entry("a", "https://h/x", 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps: list[tuple[int, int]] = []
    report = verify_manifest(path, 3, lambda *step: steps.append(step))
    assert [str(problem).partition(": found")[0] for problem in report.problems] == [
        "manifest.ndjson:2: sample 'b': uri '../b.png'",
        "manifest.ndjson:3: id",
        "manifest.ndjson:2: sample 'b'",
    ]
    assert report.shards[0].num_remote == 1
    assert steps
    assert "no such file" in problems(verify_manifest(tmp_path / "x.ndjson"))[0]
