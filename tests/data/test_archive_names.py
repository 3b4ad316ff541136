"""Names in a shard: each refusal has its own message (K3)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.archive_names import check_names
from rt_flare.errors import ShardError


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["/etc/passwd"], "an absolute path"),
        (["C:/a.png"], "an absolute path"),
        (["c:a.png"], "an absolute path"),
        (["../a.png"], r"'\.\.' in the path"),
        (["a/../../b.png"], r"'\.\.' in the path"),
        (["a/.."], r"'\.\.' in the path"),
        (["..\\a.png"], "a backslash in the name"),
        (["a\\b.png"], "a backslash in the name"),
        (["a\nb"], "a control character"),
        (["a\0b"], "a control character"),
        (["\udcff"], "a control character"),
        ([""], "an empty or '.' part"),
        (["a//b"], "an empty or '.' part"),
        (["./a"], "an empty or '.' part"),
        (["a/."], "an empty or '.' part"),
        (["é" * 128], "a part longer than 255 bytes"),
        (["a", "b", "a"], "duplicate entry 'a'"),
        (["a", "a/b"], "entry 'a' is both a file and a folder"),
        (["a/b", "a"], "entry 'a' is both a file and a folder"),
        (["a", "a/"], "entry 'a' is both a file and a folder"),
        (["Images/a", "images/b"], "case collision: 'Images' and 'images'"),
        (["a.PNG", "a.png"], "case collision: 'a.PNG' and 'a.png'"),
        (["straße", "STRASSE"], "case collision"),
        (["e\u0301", "\u00e9"], "case collision"),
    ],
)
def test_refuses_a_name_with_its_own_message(names: list[str], message: str) -> None:
    """K3"""
    with pytest.raises(ShardError, match=message) as caught:
        check_names(names, "shard_0001.zip")
    assert str(caught.value).startswith("shard_0001.zip: ")


def test_accepts_plain_names() -> None:
    """K2"""
    check_names(["manifest.ndjson", "images/", "images/a b.png", "images/ü.png", "images/deep/..a", "images/"], "x.zip")


PARTS = st.sampled_from(["a", "A", "b", "..", ".", "", "c:", "x\\y", "é", "\0"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), min_size=1, max_size=5))
def test_accepted_names_make_distinct_files_below_the_folder(names: list[str]) -> None:
    """K3"""
    try:
        check_names(names, "x.zip")
    except ShardError:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in names:
            place = root / name
            assert place.resolve().is_relative_to(root)
            if name.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.open("xb").close()
