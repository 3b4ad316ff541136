"""A site's log and files reach the other end, through failures of the link, once each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.inbox import InboxLimits, SiteInbox
from rt_flare.core.outbox import Outbox, Piece, Receipt
from rt_flare.errors import LinkError

ROOMY = InboxLimits(log_bytes=1 << 30, files_bytes=1 << 30, num_files=1000)


class Wire:
    """Carries pieces to a `SiteInbox`. ``plan`` says of each, in turn, what goes wrong; then nothing does."""

    def __init__(self, root: Path, plan: list[str] | None = None, limits: InboxLimits = ROOMY) -> None:
        self.server = root / "server"
        self.plan = plan or []
        self.sent: list[Piece] = []
        self.lines: list[str] = []
        self.inbox = SiteInbox(
            "a",
            text_log=self.server / "client_1.log",
            logs=self.server / "a",
            folder=self.server / "files",
            staging=self.server / "staging" / "a",
            limits=limits,
        )
        self.log, self.out = root / "log.txt", root / "out"
        self.outbox = Outbox([self.log], self.out, self._carry, self.lines.append)

    def _carry(self, piece: Piece) -> Receipt:
        trouble = self.plan.pop(0) if self.plan else ""
        if trouble == "lost":
            raise LinkError("lost")
        self.sent.append(piece)
        refusal = self.inbox.take("s", piece.round, list(piece.parts), piece.offset, piece.data, piece.size)
        if trouble == "answer lost":
            raise LinkError("answer lost")
        return Receipt(refusal)

    def write(self, name: str, content: bytes) -> Path:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def received(self) -> dict[str, bytes]:
        folder = self.server / "files"
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    return Wire(tmp_path)


def test_a_log_follows_as_it_grows(wire: Wire) -> None:
    """J8: nothing before it exists, then what is new."""
    wire.outbox.send_logs()
    assert wire.sent == []
    for text in ("one\n", "two\n"):
        with wire.log.open("a") as file:
            file.write(text)
        wire.outbox.send_logs()
    assert (wire.server / "client_1.log").read_text() == "one\ntwo\n"
    wire.outbox.send_logs()
    assert len(wire.sent) == 2


def test_a_log_that_was_renamed_when_full_is_read_to_its_end_first(wire: Wire) -> None:
    """J8: NVFlare rotates logs."""
    wire.log.write_text("one\n")
    wire.outbox.send_logs()
    with wire.log.open("a") as file:
        file.write("two\n")
    wire.log.rename(wire.log.with_name("log.txt.1"))
    wire.outbox.send_logs()
    wire.log.write_text("three\n")
    wire.outbox.send_logs()
    assert (wire.server / "client_1.log").read_text() == "one\ntwo\nthree\n"


def test_files_of_rounds_that_user_code_has_left_are_sent(wire: Wire) -> None:
    """J8: with their paths; a round is looked at again at the end."""
    wire.write("round_0/deep/a", b"a")
    wire.write("round_0/empty", b"")
    wire.write("round_1/half", b"ha")
    wire.outbox.send_files(0)
    assert wire.received() == {"round_0/deep/a": b"a", "round_0/empty": b""}
    wire.write("round_1/half", b"half")
    wire.write("round_0/late", b"l")
    wire.outbox.send_files(1)
    assert "round_0/late" not in wire.received()
    wire.outbox.send_files()
    assert wire.received()["round_0/late"] == b"l"
    assert wire.received()["round_1/half"] == b"half"
    assert len(wire.sent) == 4
    assert "round_0/deep/a: 1 bytes, sent to the server" in wire.lines


def test_a_file_of_several_pieces_arrives_whole(wire: Wire) -> None:
    """J8."""
    content = os.urandom((5 << 20) // 2)
    wire.write("round_0/big", content)
    wire.outbox.send_files()
    assert wire.received()["round_0/big"] == content
    assert [len(piece.data) for piece in wire.sent] == [1 << 20, 1 << 20, 1 << 19]


def test_a_changed_file_is_sent_again_and_an_unchanged_one_is_not(wire: Wire) -> None:
    """J8."""
    path = wire.write("round_0/a", b"first")
    wire.outbox.send_files()
    wire.outbox.send_files()
    assert len(wire.sent) == 1
    path.write_bytes(b"second!")
    wire.outbox.send_files()
    assert wire.received() == {"round_0/a": b"second!"}


def test_links_and_other_folders_are_not_followed(wire: Wire, tmp_path: Path) -> None:
    """J8: only what user code wrote there leaves the site."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    wire.write("round_0/a", b"a")
    (wire.out / "round_0" / "link").symlink_to(secret / "key")
    (wire.out / "round_0" / "folder").symlink_to(secret)
    (wire.out / "round_1").symlink_to(secret)
    wire.write("notes/b", b"b")
    wire.write("round_01/c", b"c")
    wire.outbox.send_files()
    assert wire.received() == {"round_0/a": b"a"}


def test_a_name_cannot_forge_a_line_of_the_log(wire: Wire) -> None:
    """J8: what is reported goes into the site's log."""
    wire.write("round_0/evil\n2030-01-01 all is well", b"x")
    wire.outbox.send_files()
    assert wire.lines == [
        "round_0/evil?2030-01-01 all is well: not sent: its name has control characters, or is not UTF-8"
    ]


def test_a_refused_file_is_reported_and_not_sent_again(tmp_path: Path) -> None:
    """J8: the first piece tells its size."""
    wire = Wire(tmp_path, limits=InboxLimits(log_bytes=0, files_bytes=10, num_files=9))
    wire.write("round_0/big", bytes(3 << 20))
    wire.write("round_0/small", b"s")
    for _ in range(2):
        wire.outbox.send_files()
    assert wire.received() == {"LEFT_OUT.txt": b"round_0/big: 3145728 bytes, over the limit of 10 bytes per site\n"} | {
        "round_0/small": b"s"
    }
    assert len(wire.sent) == 2
    assert any("big: not sent: 3145728 bytes, over the limit" in line for line in wire.lines)


def test_a_refused_log_is_sent_no_more(tmp_path: Path) -> None:
    """J8: the server has cut it."""
    wire = Wire(tmp_path, limits=InboxLimits(log_bytes=3, files_bytes=0, num_files=0))
    wire.log.write_text("12345")
    for _ in range(2):
        wire.outbox.send_logs()
    assert len(wire.sent) == 1


@given(st.lists(st.sampled_from(["", "lost", "answer lost"]), max_size=12))
def test_every_byte_arrives_once_whatever_the_link_does(
    tmp_path_factory: pytest.TempPathFactory, plan: list[str]
) -> None:
    """J8: a link that is cut delays, it does not lose."""
    wire = Wire(tmp_path_factory.mktemp("wire"), plan)
    wire.log.write_bytes(b"0123456789" * 150_000)
    big = bytes(range(256)) * 5000
    wire.write("round_0/big", big)
    wire.write("round_0/small", b"s")
    for _ in range(len(plan) + 1):
        try:
            wire.outbox.send_logs()
            wire.outbox.send_files()
        except LinkError:
            continue
    wire.outbox.close()
    assert (wire.server / "client_1.log").read_bytes() == wire.log.read_bytes()
    assert wire.received() == {"round_0/big": big, "round_0/small": b"s"}
