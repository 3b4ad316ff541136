"""``rt-flare shards``: from a folder of images to a bucket (K1, K7, K8)."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

RtFlare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two classes of six images."""
    for label, name in enumerate(["cat", "dog"]):
        for number in range(6):
            path = tmp_path / "pictures" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            Image.new("RGB", (8, 8), (label * 200, number, 0)).save(content, "PNG")
            path.write_bytes(content.getvalue())
    return tmp_path / "pictures"


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found = json.loads(done.stdout)
    assert found["schema"] == "rt_flare.shards/1"
    assert found["exit_code"] == done.returncode
    return dict(found)


def test_builds_the_same_bytes_again_and_verifies_them(rt_flare: RtFlare, pictures: Path, tmp_path: Path) -> None:
    """K7, K1, C4"""
    arguments = ["shards", "build", "pictures", "--num-shards", "3", "--split", "stratified", "--seed", "5"]
    built = document(rt_flare(*arguments[:3], "a", *arguments[3:], "--format", "json"))
    assert [shard["num_samples"] for shard in built["shards"]] == [4, 4, 4]
    assert (built["classes"], built["num_classes"]) == (["cat", "dog"], 2)
    assert json.loads((tmp_path / "a" / "classes.json").read_bytes()) == {"cat": 0, "dog": 1}
    text = rt_flare(*arguments[:3], "b", *arguments[3:])
    assert text.returncode == 0, text.stderr
    assert "12 samples, num_classes 2: cat, dog" in text.stdout
    for name in ("shard_0001.zip", "shard_0002.zip", "shard_0003.zip"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    verified = document(rt_flare("shards", "verify", "a", "--sites", "3", "--format", "json"))
    assert (verified["ok"], verified["problems"], verified["num_classes"]) == (True, [], 2)
    assert [shard["label_counts"] for shard in verified["shards"]] == [{"0": 2, "1": 2}] * 3
    text = rt_flare("shards", "verify", "a")
    assert "3 shards, 12 samples, num_classes 2: ok" in text.stdout


def test_problems_are_all_printed_and_fail_the_command(rt_flare: RtFlare, pictures: Path, tmp_path: Path) -> None:
    """K1, K4"""
    rt_flare("shards", "build", "pictures", "out", "-n", "2")
    (tmp_path / "out" / "shard_0002.zip").write_bytes(b"no zip")
    done = rt_flare("shards", "verify", "out", "--sites", "3", "--num-classes", "1")
    assert done.returncode == 1
    assert done.stdout.count("Problem: ") == 3
    assert "found 2 shards for 3 sites" in done.stdout
    assert "shard_0002.zip: truncated or corrupt ZIP" in done.stdout
    found = document(rt_flare("shards", "verify", "out", "--sites", "3", "--num-classes", "1", "--format", "json"))
    assert (found["ok"], found["num_problems"], len(found["problems"])) == (False, 3, 3)


def test_builds_from_a_csv_and_from_a_manifest(rt_flare: RtFlare, pictures: Path, tmp_path: Path) -> None:
    """K7"""
    (pictures / "t.csv").write_text("path,label\ncat/0.png,3\ndog/0.png,1\n")
    built = document(rt_flare("shards", "build", "pictures/t.csv", "from_csv", "-n", "2", "--format", "json"))
    assert (built["num_classes"], built["classes"]) == (4, [])
    (pictures / "m.ndjson").write_text('{"id":"a","uri":"cat/0.png","y":[0]}\n{"id":"b","uri":"dog/0.png","y":[1]}\n')
    built = document(rt_flare("shards", "build", "pictures/m.ndjson", "from_manifest", "-n", "1", "--format", "json"))
    assert built["shards"][0]["num_samples"] == 2
    assert document(rt_flare("shards", "verify", "pictures/m.ndjson", "--format", "json"))["ok"]


def test_splits_with_skewed_labels(rt_flare: RtFlare, pictures: Path, tmp_path: Path) -> None:
    """K7"""
    options = ["-n", "2", "--split", "dirichlet", "--alpha", "0.01", "--seed", "1"]
    assert rt_flare("shards", "build", "pictures", "out", *options).returncode == 0
    verified = document(rt_flare("shards", "verify", "out", "--format", "json"))
    counts = [shard["label_counts"] for shard in verified["shards"]]
    assert sum(sum(count.values()) for count in counts) == 12
    assert any(len(count) == 1 for count in counts)


def test_uploads_what_is_not_there_and_lists_it(
    rt_flare: RtFlare, pictures: Path, tmp_path: Path, s3_server: Any
) -> None:
    """K8: a second upload sends nothing."""
    rt_flare("shards", "build", "pictures", "out", "-n", "2")
    url = f"{s3_server.url}/jobs/x/shards"
    first = document(rt_flare("shards", "upload", "out", url, "--format", "json"))
    assert [shard["sent"] for shard in first["shards"]] == [True, True]
    second = rt_flare("shards", "upload", "out", url)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("was there") == 2
    listed = document(rt_flare("shards", "ls", url, "--format", "json"))
    assert [shard["sha256"] for shard in listed["shards"]] == [shard["sha256"] for shard in first["shards"]]
    assert first["shards"][0]["sha256"] in rt_flare("shards", "ls", url).stdout
    assert rt_flare("shards", "ls", f"{s3_server.url}/nowhere").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["shards"], 4, ""),
        (["shards", "build", "pictures", "out"], 4, "--num-shards"),
        (["shards", "build", "nowhere.txt", "out", "-n", "1"], 4, "expected a folder, a .csv or a manifest"),
        (["shards", "build", "pictures", "out", "-n", "99"], 4, "99 parts"),
        (["shards", "build", "pictures/cat", "out", "-n", "1"], 1, "expected one subfolder per class"),
        (["shards", "upload", "pictures", "memory://x"], 1, "found no shard"),
        (["shards", "upload", "pictures", "s3://key:geheim@bucket/x"], 4, "found a user"),
        (["shards", "ls", "nosuch://x"], 4, "no file system for the scheme"),
    ],
)
def test_wrong_usage_is_explained(
    rt_flare: RtFlare, pictures: Path, arguments: list[str], code: int, text: str
) -> None:
    """N6, C3"""
    done = rt_flare(*arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr
