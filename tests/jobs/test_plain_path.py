"""Paths that survive a command line without quotes."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import DeploymentError
from rt_flare.jobs.plain_path import is_plain, plain_path


@given(st.text(min_size=1))
def test_a_plain_path_is_one_word_of_a_command_line(path: str) -> None:
    """N2: NVFlare splits with shlex, comments included."""
    if is_plain(path):
        assert shlex.split(f"a {path} b", comments=True) == ["a", path, "b"]


def test_a_plain_folder_is_given_as_it_is(tmp_path: Path) -> None:
    """N2."""
    with plain_path(tmp_path) as plain:
        assert plain == tmp_path.resolve()


def test_another_folder_is_reached_through_a_link_that_goes_away(tmp_path: Path) -> None:
    """N2: what is written stands in the folder at once."""
    folder = tmp_path / "a b; #c"
    folder.mkdir()
    with plain_path(folder) as plain:
        assert is_plain(plain)
        (plain / "x").write_text("y")
        assert (folder / "x").read_text() == "y"
    assert not plain.exists()
    assert (folder / "x").read_text() == "y"


def test_a_temporary_folder_of_that_kind_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N2."""
    folder = tmp_path / "a b"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(DeploymentError, match="set TMPDIR"), plain_path(folder):
        pass
