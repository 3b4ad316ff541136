"""One manifest line: each breach has its own field, found and expected (K4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.manifest_line import MAX_LABEL, MAX_LINE_BYTES, ManifestEntry, parse_line, repeated_id

REFUSED = [
    (b"", "line", "a blank line"),
    (b" \t\r\n", "line", "a blank line"),
    (b"{", "line", "no valid JSON"),
    (b"{} {}", "line", "no valid JSON"),
    (b"[" * 100_000, "line", "no valid JSON"),
    (b'{"id":"a","uri":"u","y":[' + b"9" * 5000 + b"]}", "line", "no valid JSON"),
    (b"[]", "line", "a list"),
    (b"null", "line", "null"),
    (b'{"id":"\xff","uri":"u","y":[0]}', "line", "not UTF-8 at byte 8"),
    (b'{"uri":"u","y":[0]}', "id", "no such field"),
    (b'{"id":"","uri":"u","y":[0]}', "id", '""'),
    (b'{"id":1,"uri":"u","y":[0]}', "id", "1"),
    (b'{"id":"\\ud800","uri":"u","y":[0]}', "id", '"\\ud800"'),
    (b'{"id":"a","y":[0]}', "uri", "no such field"),
    (b'{"id":"a","uri":null,"y":[0]}', "uri", "null"),
    (b'{"id":"a","uri":"u"}', "y", "no such field"),
    (b'{"id":"a","uri":"u","y":1}', "y", "1"),
    (b'{"id":"a","uri":"u","y":[0,true]}', "y[1]", "true"),
    (b'{"id":"a","uri":"u","y":[-1]}', "y[0]", "-1"),
    (b'{"id":"a","uri":"u","y":[1.0]}', "y[0]", "1.0"),
    (b'{"id":"a","uri":"u","y":["1"]}', "y[0]", '"1"'),
    (b'{"id":"a","uri":"u","y":[2147483648]}', "y[0]", "2147483648"),
    (b'{"id":"a","uri":"u","y":[0],"meta":[]}', "meta", "a list"),
    (b'{"id":"a","id":"b","uri":"u","y":[0]}', '"id"', "this key 2 times"),
    (b'{"id":"a","uri":"u","y":[0],"meta":{"k":1,"k":1}}', '"k"', "this key 2 times"),
    (b'{"id":"a","uri":"u","y":[0],"meta":{"k":NaN}}', "line", "NaN"),
    (b'{"id":"a","uri":"u","y":[0],"meta":{"k":-Infinity}}', "line", "-Infinity"),
    (b'{"id":"a","uri":"u","y":[0],"meta":{"k":1e999}}', "line", '"1e999"'),
]


@pytest.mark.parametrize(("raw", "field", "found"), REFUSED)
def test_refuses_a_broken_line_by_field_and_value(raw: bytes, field: str, found: str) -> None:
    """K4"""
    problems, entry = parse_line(raw, 7)
    assert entry is None
    assert [(p.line, p.field) for p in problems] == [(7, field)]
    assert found in problems[0].found


def test_reports_every_broken_field_of_a_line() -> None:
    """K4"""
    problems, _ = parse_line(b'{"id":1,"y":[true],"meta":3}', 1)
    assert [p.field for p in problems] == ["id", "uri", "y[0]", "meta"]


def test_refuses_a_line_over_the_limit() -> None:
    """K4"""
    problems, _ = parse_line(b" " * (MAX_LINE_BYTES + 1), 1)
    assert problems[0].expected == f"at most {MAX_LINE_BYTES} bytes"


def test_names_the_line_that_has_the_id_already() -> None:
    """K4"""
    assert repeated_id("a", 9, 4).found == '"a", the id of line 4 already'


ACCEPTED = [
    (b'{"id":"a","uri":"u","y":[]}\r\n', ManifestEntry("a", "u", ())),
    (b'  {"id":"a","uri":"u","y":[3,0,3]}', ManifestEntry("a", "u", (3, 0, 3))),
    (b'{"id":"a","uri":"u","y":[2147483647]}', ManifestEntry("a", "u", (MAX_LABEL,))),
    (b'{"id":"a","uri":"u","y":[0],"meta":null}', ManifestEntry("a", "u", (0,))),
    (b'{"id":"a","uri":"u","y":[0],"meta":{"k":[1.5]}}', ManifestEntry("a", "u", (0,), {"k": [1.5]})),
    (b'{"id":"a","uri":"u","y":[0],"split":"train"}', ManifestEntry("a", "u", (0,))),
]


@pytest.mark.parametrize(("raw", "entry"), ACCEPTED)
def test_reads_a_sound_line(raw: bytes, entry: ManifestEntry) -> None:
    """K4, K6"""
    assert parse_line(raw, 1) == ([], entry)


def test_long_values_and_control_characters_cannot_flood_or_break_a_message() -> None:
    """K4"""
    problems, _ = parse_line(b'{"id":"a","uri":"u","y":["' + b"\\n" * 1000 + b'"]}', 1)
    assert len(problems[0].found) == 60
    assert "\n" not in problems[0].found


@given(st.binary(max_size=200))
def test_any_bytes_give_problems_or_an_entry(raw: bytes) -> None:
    """K4"""
    problems, entry = parse_line(raw, 1)
    assert bool(problems) != (entry is not None)


def test_an_object_with_many_keys_is_checked_in_linear_time() -> None:
    """K4: 60,000 distinct keys and one duplicate at the end."""
    keys = ",".join(f'"{number}":0' for number in range(60_000))
    problems, _ = parse_line(f'{{{keys},"59999":0}}'.encode(), 1)
    assert problems[0].field == '"59999"'
