"""What the server keeps of a site: whole, bounded, in its own place, whatever the site says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.inbox import LEFT_OUT_FILE, InboxLimits, SiteInbox, original_name, stored_name

LIMITS = InboxLimits(log_bytes=1000, files_bytes=100, num_files=3)


def make_inbox(root: Path, site: str = "site-1", limits: InboxLimits = LIMITS) -> SiteInbox:
    return SiteInbox(
        site,
        text_log=root / "files_out" / "client_1.log",
        logs=root / site,
        folder=root / "files_out" / site,
        staging=root / ".incoming" / site,
        limits=limits,
    )


def put(inbox: SiteInbox, name: str, content: bytes, round_number: int = 0) -> str | None:
    return inbox.take("s", round_number, name.split("/"), 0, content, len(content))


def log(inbox: SiteInbox, offset: int, data: bytes, session: str = "s") -> str | None:
    return inbox.take(session, None, ["log.txt"], offset, data, 0)


def test_the_log_grows_under_both_names(tmp_path: Path) -> None:
    """J8, N5: one file, where users look and where NVFlare looks."""
    inbox = make_inbox(tmp_path)
    assert log(inbox, 0, b"one\n") is None
    assert log(inbox, 4, b"two\n") is None
    for place in ("files_out/client_1.log", "site-1/log.txt"):
        assert (tmp_path / place).read_bytes() == b"one\ntwo\n"


def test_a_piece_whose_answer_was_lost_is_not_stored_twice(tmp_path: Path) -> None:
    """J8: of the log, and of a file."""
    inbox = make_inbox(tmp_path)
    for _ in range(2):
        assert log(inbox, 0, b"one\n") is None
    assert log(inbox, 0, b"one\ntwo\n") is None
    assert (tmp_path / "files_out/client_1.log").read_bytes() == b"one\ntwo\n"
    for offset, data in ((0, b"ab"), (2, b"cd"), (2, b"cd"), (4, b"e"), (4, b"e")):
        assert inbox.take("s", 0, ["f"], offset, data, 5) is None
    assert (tmp_path / "files_out/site-1/round_0/f").read_bytes() == b"abcde"


def test_another_process_of_the_site_goes_on_in_the_same_log(tmp_path: Path) -> None:
    """J8: its own log begins at 0 again."""
    inbox = make_inbox(tmp_path)
    log(inbox, 0, b"first\n", "a")
    log(inbox, 0, b"second\n", "b")
    log(inbox, 7, b"third\n", "b")
    assert (tmp_path / "files_out/client_1.log").read_bytes() == b"first\nsecond\nthird\n"


def test_a_log_over_its_limit_is_cut_and_says_so_once(tmp_path: Path) -> None:
    """J8: its beginning stays, where the root cause is."""
    inbox = make_inbox(tmp_path, limits=InboxLimits(log_bytes=10, files_bytes=0, num_files=0))
    assert log(inbox, 0, b"0123456789abc") == "the log is longer than 10 bytes"
    assert log(inbox, 13, b"more") == "the log is longer than 10 bytes"
    text = (tmp_path / "files_out/client_1.log").read_text()
    assert text.startswith("0123456789\n[rt_flare server] cut here: the log is longer than 10 bytes")
    assert text.count("cut here") == 1


def test_the_log_in_json_stands_where_nvflare_looks(tmp_path: Path) -> None:
    """N5: `nvflare --format json job logs` takes this one; users get the text."""
    inbox = make_inbox(tmp_path)
    assert inbox.take("s", None, ["log.json"], 0, b"{}\n", 0) is None
    assert (tmp_path / "site-1/log.json").read_bytes() == b"{}\n"
    assert inbox.take("s", None, ["../log.txt"], 0, b"x", 0) == "no such log"
    assert inbox.take("s", None, None, 0, b"x", 0) == "no such log"


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """J8: and nothing is left of one that never was."""
    inbox = make_inbox(tmp_path)
    assert inbox.take("s", 2, ["deep", "f"], 0, b"ab", 4) is None
    assert not (tmp_path / "files_out").joinpath("site-1").exists()
    assert inbox.take("s", 2, ["deep", "f"], 2, b"cd", 4) is None
    assert (tmp_path / "files_out/site-1/round_2/deep/f").read_bytes() == b"abcd"
    inbox.take("s", 2, ["g"], 0, b"ab", 4)
    inbox.close()
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_a_changed_file_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    """J8: and counts once."""
    inbox = make_inbox(tmp_path)
    for content in (b"a" * 90, b"b" * 95):
        assert put(inbox, "f", content) is None
    assert (tmp_path / "files_out/site-1/round_0/f").read_bytes() == b"b" * 95


def test_what_is_over_a_limit_is_refused_and_named(tmp_path: Path) -> None:
    """J8: in a file beside the others."""
    inbox = make_inbox(tmp_path)
    assert put(inbox, "big", b"x" * 101) == "101 bytes, over the limit of 100 bytes per site"
    assert [put(inbox, name, b"x" * 20) for name in "abcd"] == [None] * 3 + ["over the limit of 3 files per site"]
    assert put(inbox, "a", b"x" * 61) == "61 bytes, over the limit of 100 bytes per site"
    left_out = (tmp_path / "files_out/site-1" / LEFT_OUT_FILE).read_text().splitlines()
    assert left_out[0] == "round_0/big: 101 bytes, over the limit of 100 bytes per site"
    assert len(left_out) == 3


@pytest.mark.parametrize(
    ("round_number", "parts", "offset", "data", "size"),
    [
        (0, ["..", "x"], 0, b"x", 1),
        (0, ["/etc/passwd"], 0, b"x", 1),
        (0, ["a\\b"], 0, b"x", 1),
        (0, [""], 0, b"x", 1),
        (0, [], 0, b"x", 1),
        (0, "name", 0, b"x", 1),
        (0, ["a"] * 17, 0, b"x", 1),
        (0, ["a\n"], 0, b"x", 1),
        (0, ["\ud800"], 0, b"x", 1),
        (0, ["x" * 300], 0, b"x", 1),
        (0, [3], 0, b"x", 1),
        ("0", ["a"], 0, b"x", 1),
        (-1, ["a"], 0, b"x", 1),
        (True, ["a"], 0, b"x", 1),
        ("../..", ["a"], 0, b"x", 1),
        (0, ["a"], -1, b"x", 1),
        (0, ["a"], 5, b"x", 9),
        (0, ["a"], 0, "text", 1),
        (0, ["a"], 0, b"xy", 1),
        (0, ["a"], 0, b"x", None),
    ],
)
def test_a_message_that_is_not_as_it_must_be_is_refused(
    tmp_path: Path, round_number: Any, parts: Any, offset: Any, data: Any, size: Any
) -> None:
    """J8: a name is a value, never a path that leads elsewhere."""
    inbox = make_inbox(tmp_path)
    assert inbox.take("s", round_number, parts, offset, data, size) is not None
    assert not list(tmp_path.rglob("round_*"))


def test_a_file_and_a_folder_of_one_name_do_not_break_anything(tmp_path: Path) -> None:
    """J8: the later one is refused."""
    inbox = make_inbox(tmp_path)
    assert put(inbox, "a", b"x") is None
    assert put(inbox, "a/b", b"x") == "a file has the name of one of its folders"
    assert put(inbox, "c/d", b"x") is None
    assert put(inbox, "c", b"x") == "a folder has that name"


def test_what_nvflare_would_take_for_its_own_gets_another_name(tmp_path: Path) -> None:
    """N4, N5: a file log.txt of user code must not pass for a site's log."""
    inbox = make_inbox(tmp_path)
    assert put(inbox, "log.txt", b"x") is None
    assert put(inbox, "log.txt.from_site", b"y") is None
    names = sorted(path.name for path in (tmp_path / "files_out/site-1/round_0").iterdir())
    assert names == ["log.txt.from_site", "log.txt.from_site.from_site"]
    assert [original_name(name) for name in names] == ["log.txt", "log.txt.from_site"]


@given(st.text(max_size=20) | st.sampled_from(["metrics_summary.json", "log.json.from_site"]))
def test_the_original_name_comes_back(name: str) -> None:
    """J8: of every file."""
    assert original_name(stored_name(name)) == name
    assert stored_name(name) not in {"log.txt", "log.json", "metrics_summary.json", "round_metrics.jsonl"}


@pytest.mark.parametrize("site", ["..", "a/b", "", "a b", "x" * 200])
def test_a_site_whose_name_is_no_name_gets_no_place(tmp_path: Path, site: str) -> None:
    """J8."""
    with pytest.raises(ValueError, match="site name"):
        make_inbox(tmp_path, site)


@given(st.lists(st.text(max_size=6) | st.sampled_from(["..", ".", "/", "a/../..", "~"]), max_size=5))
def test_no_path_leads_out_of_the_sites_folder(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    """J8: whatever the names are."""
    root = tmp_path_factory.mktemp("inbox")
    inbox = make_inbox(root)
    refusal = inbox.take("s", 0, parts, 0, b"x", 1)
    inbox.close()
    files = [path for path in root.rglob("*") if path.is_file() and path.read_bytes() == b"x"]
    assert len(files) == (refusal is None)
    assert all(path.is_relative_to(root / "files_out" / "site-1" / "round_0") for path in files)
