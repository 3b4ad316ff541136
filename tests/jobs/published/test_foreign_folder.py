"""A folder that nobody vouches for: nothing outside of it is read, whatever lies in it (C6)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rt_flare.errors import JobError
from rt_flare.jobs.published import foreign_folder
from rt_flare.jobs.published.foreign_folder import ForeignFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("theirs")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("theirs")
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "file").write_text("ours")
    return tmp_path / "folder"


def test_files_inside_are_listed_read_and_copied(folder: Path, tmp_path: Path) -> None:
    """C6: what is meant to work."""
    ours = ForeignFolder(folder)
    assert ours.names() == ([], ["sub"])
    assert ours.names("sub") == (["file"], [])
    assert ours.names("nowhere") == ([], [])
    assert (ours.has("sub/file"), ours.has("sub/none"), ours.has("none/file")) == (True, False, False)
    assert ours.read("sub/file", 4) == b"ours"
    ours.copy("sub/file", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "ours"


def test_links_are_named_and_not_followed(folder: Path) -> None:
    """C6: a file, a folder, and a folder on the way."""
    (folder / "file").symlink_to("../secret")
    (folder / "way").symlink_to("../outside")
    ours = ForeignFolder(folder)
    for file in ("file", "way/file"):
        with pytest.raises(JobError, match="symbolic link"):
            ours.read(file, 100)
    with pytest.raises(JobError, match="symbolic link"):
        ours.names("way")
    assert ours.names() == (["file", "way"], ["sub"])


def test_a_name_that_leads_out_is_refused(folder: Path) -> None:
    """C6"""
    for file in ("../secret", "sub/../../secret"):
        with pytest.raises(JobError, match="leads out"):
            ForeignFolder(folder).read(file, 100)


@pytest.mark.timeout(10)
def test_a_pipe_keeps_nobody_waiting(folder: Path) -> None:
    """C6: a folder neither."""
    os.mkfifo(folder / "pipe")
    for name in ("pipe", "sub"):
        with pytest.raises(JobError, match="not a plain file"):
            ForeignFolder(folder).read(name, 100)


def test_sizes_and_numbers_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C6"""
    with pytest.raises(JobError, match="larger than 3 bytes"):
        ForeignFolder(folder).read("sub/file", 3)
    monkeypatch.setattr(foreign_folder, "_MAX_ENTRIES", 0)
    with pytest.raises(JobError, match="found 1 entries, expected at most 0"):
        ForeignFolder(folder).names("sub")


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    """C6"""
    with pytest.raises(JobError, match="no such folder"):
        ForeignFolder(tmp_path / "none")
    with pytest.raises(JobError, match="sub/none: cannot be read"):
        ForeignFolder(folder).read("sub/none", 1)
