"""The jsonl adapter: rt_flare's conformance suite, and what is its own (P3, P4)."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ConfigError, DataError
from rt_flare.testing import DatasetAdapterConformance
from rt_flare_jsonl import text_records
from rt_flare_jsonl.adapter import JsonLinesAdapter, JsonLinesDataset, hash_tokens
from rt_flare_jsonl.text_records import RecordError, RecordFields, parse_record

ROWS: list[dict[str, Any]] = [
    {"text": "Grüße, Welt", "label": 1, "more": None},
    {"text": "", "label": 0},
    {"text": "one two two", "label": 2},
]


def write(folder: Path, *lines: object) -> Path:
    folder.mkdir(exist_ok=True)
    text = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "data.jsonl").write_bytes(b"\n".join(text) + b"\n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "shard", *ROWS)


def read(root: Path, env: Mapping[str, Any] | None = None, **options: Any) -> JsonLinesDataset:
    return JsonLinesAdapter(**options).open(root, manifest_file="", env=env or {})


class TestConformance(DatasetAdapterConformance):
    """P3"""

    @pytest.fixture
    def adapter(self) -> JsonLinesAdapter:
        return JsonLinesAdapter(max_tokens=4)

    @pytest.fixture
    def data_root(self, root: Path) -> Path:
        return root

    @pytest.fixture
    def damaged_file(self, data_root: Path) -> Path:
        write(data_root, ROWS[0], b"not json")
        return data_root / "data.jsonl"


def test_words_become_numbers_in_their_order(root: Path) -> None:
    """P4: case does not count, the rest of the row is 0."""
    dataset = read(root, max_tokens=4, num_buckets=100)
    tokens, target = dataset[2]
    one, two = (1 + zlib.crc32(word) % 99 for word in (b"one", b"two"))
    assert (tokens.tolist(), tokens.dtype, target.item()) == ([one, two, two, 0], torch.int64, 2)
    assert torch.equal(hash_tokens("GRÜSSE welt", 4, 100), dataset[0][0])
    assert dataset.targets.tolist() == [1, 0, 2]


@given(text=st.text(max_size=50), max_tokens=st.integers(1, 8), num_buckets=st.integers(2, 50))
def test_tokens_are_in_range_and_stop_at_the_last_word(text: str, max_tokens: int, num_buckets: int) -> None:
    """P4: an embedding of that width takes every text."""
    tokens = hash_tokens(text, max_tokens, num_buckets).tolist()
    num_words = min(max_tokens, len(re.findall(r"\w+", text.casefold())))
    assert len(tokens) == max_tokens
    assert all(0 < token < num_buckets for token in tokens[:num_words])
    assert set(tokens[num_words:]) <= {0}


@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=5), ends_with_newline=st.booleans())
def test_every_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], ends_with_newline: bool
) -> None:
    """P4: whatever characters it has, with blank lines between."""
    root = tmp_path_factory.mktemp("shard")
    lines = [json.dumps({"text": text, "label": 0}, ensure_ascii=False).encode("utf-8", "replace") for text in texts]
    (root / "data.jsonl").write_bytes(b"\n \n\r\n".join(lines) + b"\n" * ends_with_newline)
    dataset = read(root, max_tokens=8)
    assert len(dataset) == len(texts) == JsonLinesAdapter().count_samples(root, manifest_file="")
    for index, text in enumerate(texts):
        expected = hash_tokens(text.encode("utf-8", "replace").decode(), 8, 8192)
        assert torch.equal(dataset[index][0], expected)


def test_other_names_and_named_classes(tmp_path: Path) -> None:
    """P4: the order of the classes is the job's."""
    write(tmp_path, {"body": "x", "kind": "ham"}, {"body": "y", "kind": "spam"})
    (tmp_path / "data.jsonl").rename(tmp_path / "mail.json")
    dataset = read(tmp_path, file="mail.json", text="body", label="kind", classes=["spam", "eggs", "ham"])
    assert (dataset.targets.tolist(), dataset.num_classes) == ([2, 0], 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[1]", r"found \[1\], expected a JSON object"),
        (b'{"text": "x"', "no valid JSON"),
        (b'{"text": "\xff", "label": 0}', "no valid JSON"),
        ({"label": 0}, "field 'text': found no such field, expected text"),
        ({"text": 3, "label": 0}, "field 'text': found 3, expected text"),
        ({"text": "x"}, "field 'label': found no such field, expected an integer"),
        ({"text": "x", "label": True}, "field 'label': found True"),
        ({"text": "x", "label": -1}, "field 'label': found -1"),
        ({"text": "x", "label": 1.0}, r"field 'label': found 1\.0"),
        ({"text": "x", "label": 2**31}, "field 'label': found 2147483648"),
        (
            {"text": "x", "label": "a" * 200},
            r"field 'label': found 'a{76}\.\.\., expected an integer .* set the option classes",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: object, message: str) -> None:
    """P4: file, line, field, found, expected."""
    root = write(tmp_path, ROWS[0], b"", line)
    with pytest.raises(DataError, match=rf"data\.jsonl:3: {message}"):
        read(root)


def test_an_unknown_class_is_named(root: Path) -> None:
    """P4"""
    write(root, {"text": "x", "label": "hum"})
    with pytest.raises(DataError, match=r":1: field 'label': found 'hum', expected one of the 2 classes 'ham', 'spam'"):
        read(root, classes=["ham", "spam"])


def test_all_bad_lines_are_named_at_once_up_to_twenty(tmp_path: Path) -> None:
    """P4"""
    root = write(tmp_path, *[b"x"] * 30)
    with pytest.raises(DataError) as caught:
        read(root)
    assert len(str(caught.value).splitlines()) == 21


def test_a_line_without_end_does_not_fill_the_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P4"""
    for module in (text_records, __import__("rt_flare_jsonl.adapter", fromlist=["adapter"])):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 100)
    write(root, {"text": "x" * 101, "label": 0})
    with pytest.raises(DataError, match=r"data\.jsonl:1: found a line of more than 100 bytes"):
        read(root)


@given(line=st.binary(max_size=40))
def test_parsing_raises_nothing_else(line: bytes) -> None:
    """P4: whatever stands in a line."""
    try:
        text, target = parse_record(line, RecordFields("text", "label", None))
    except RecordError:
        return
    assert isinstance(text, str)
    assert target >= 0


def test_num_classes_is_inferred_or_checked(root: Path) -> None:
    """C4"""
    assert read(root).num_classes == 3
    assert read(root, {"num_classes": 5}).num_classes == 5
    with pytest.raises(DataError, match="sample 3: found class 2, expected 0 to 1"):
        read(root, {"num_classes": 2})
    with pytest.raises(ConfigError, match="expected at least 3"):
        read(write(root, {"text": "x", "label": "a"}), {"num_classes": 2}, classes=["a", "b", "c"])


def test_a_file_that_changes_is_noticed(root: Path) -> None:
    """P4"""
    dataset = read(root)
    (root / "data.jsonl").write_text("{}\n" * 40)
    with pytest.raises(DataError, match="changed since it was opened"):
        dataset[2]


def test_a_file_outside_is_refused(root: Path) -> None:
    """K5"""
    with pytest.raises(DataError, match=r"leads out of data_root"):
        read(root, file="../data.jsonl")


@pytest.mark.parametrize(
    "options",
    [
        {"file": ""},
        {"text": 1},
        {"label": None},
        {"classes": "ab"},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"classes": [1]},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"num_buckets": 1},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    """P4"""
    with pytest.raises(ConfigError, match=f"option {next(iter(options))}"):
        JsonLinesAdapter(**options)
