"""Where jobs go, from one text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rt_flare.errors import ConfigError, KitError
from rt_flare.jobs.destination import parse_destination


def _kit(folder: Path, user: str = "me@example.com") -> Path:
    (folder / "startup").mkdir(parents=True)
    (folder / "startup" / "fed_admin.json").write_text(json.dumps({"admin": {"username": user}}))
    return folder


@pytest.mark.parametrize("text", ["simulator", "simulator:", "poc", "poc:"])
def test_two_places_need_no_folder(text: str) -> None:
    """C3."""
    found = parse_destination(text)
    assert (found.where, found.kit) == (text.rstrip(":"), None)


@pytest.mark.parametrize("below", ["", "startup", "prod_00/me", "kits/poc/prod_00/me"])
def test_a_kit_is_found_in_its_folder_and_below_that_of_a_deployment(tmp_path: Path, below: str) -> None:
    """C3."""
    place = tmp_path / "x"
    kit = _kit(place if below in {"", "startup"} else place / below)
    given = place / below if below == "startup" else place
    assert parse_destination(given).kit == kit.resolve()
    assert parse_destination(f"poc:{given}").kit == kit.resolve()


def test_the_user_chooses_among_several_kits(tmp_path: Path) -> None:
    """C3: by the name in the kit, or that of its folder."""
    mine, theirs = _kit(tmp_path / "a" / "one", "me@example.com"), _kit(tmp_path / "a" / "two", "you@example.com")
    assert parse_destination(tmp_path / "a", user="me@example.com").kit == mine
    assert parse_destination(tmp_path / "a", user="two").kit == theirs
    with pytest.raises(KitError, match=r"found 2 startup kits .*one, two"):
        parse_destination(tmp_path / "a")
    with pytest.raises(KitError, match="named nobody"):
        parse_destination(tmp_path / "a", user="nobody")


@pytest.mark.parametrize("text", ["https://api.example.com", "nowhere", "poc:nowhere", "", "simulator:x"])
def test_anything_else_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C3: with what is possible."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"expected simulator, poc|no startup kit"):
        parse_destination(text)
