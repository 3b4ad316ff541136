"""Headers of mapped files: what they say is what was written, or nothing (X9)."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.mapped_file import HEADER_BYTES, map_file, pack_header, read_header

DOCUMENTS = st.dictionaries(
    st.text(max_size=9), st.integers() | st.text(max_size=30) | st.lists(st.integers()), max_size=5
)


def read_back(content: bytes) -> dict[str, Any] | None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return read_header(file.fileno())


@given(DOCUMENTS.filter(lambda document: "byteorder" not in document))
def test_a_header_is_read_back(document: dict[str, Any]) -> None:
    """X9"""
    header = pack_header(document)
    assert len(header) == HEADER_BYTES
    assert read_back(header + b"more") == document


@given(st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    """X9"""
    header = bytearray(pack_header({"a": 1}))
    header[place] ^= change
    assert read_back(bytes(header)) is None


@pytest.mark.parametrize("content", [b"", b"\0" * HEADER_BYTES, pack_header({})[:-1]])
def test_another_file_has_no_header(content: bytes) -> None:
    """X9"""
    assert read_back(content) is None


def test_the_byte_order_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """X9: the arrays are in the machine's own."""
    header = pack_header({})
    monkeypatch.setattr("sys.byteorder", "other")
    assert read_back(header) is None


def test_a_header_has_its_limit() -> None:
    """X9"""
    with pytest.raises(ValueError, match="expected fewer"):
        pack_header({"a": "b" * HEADER_BYTES})


def test_the_map_shows_what_others_write() -> None:
    """X9"""
    with tempfile.TemporaryFile() as file:
        file.write(b"ab")
        file.flush()
        mapped = map_file(file.fileno())
        file.seek(1)
        file.write(b"c")
        file.flush()
        assert mapped[:] == b"ac"
