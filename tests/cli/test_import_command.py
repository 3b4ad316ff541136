"""``rt-flare import``: what is printed, and exit codes (N6)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rt_flare.cli import import_command as module
from rt_flare.cli.import_command import import_command
from rt_flare.jobs.published.change import Change, ChangeKind
from rt_flare.jobs.published.import_job import ImportedJob

KEPT = Change(ChangeKind.KEPT, "model_def.py", "model_def.py")
DROPPED = Change(ChangeKind.DROPPED, "filter \x1b[2J", reason="gone", needs_attention=True)


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """What the next import changes."""
    changes: list[Change] = []

    def import_job(folder: Path, out: Path | None, *, shards: Path | None) -> ImportedJob:
        return ImportedJob(out or Path("rows"), tuple(changes))

    monkeypatch.setattr(module, "import_job", import_job)
    return changes


def test_an_import_without_loss_ends_with_0_and_names_the_next_commands(
    imports: list[Change], capsys: pytest.CaptureFixture[str]
) -> None:
    """N6"""
    imports.append(KEPT)
    assert import_command(folder=Path("job"), out=Path("a b"), shards=None, as_json=False) == 0
    out = capsys.readouterr().out
    assert "  kept     model_def.py -> model_def.py\n" in out
    assert out.endswith("a b: a project. Try next:\n  rt-flare check 'a b'\n  rt-flare run 'a b'\n")


def test_what_changes_the_job_is_marked_with_1_and_without_control_characters(
    imports: list[Change], capsys: pytest.CaptureFixture[str]
) -> None:
    """N6, C6"""
    imports.extend([DROPPED, KEPT])
    assert import_command(folder=Path("job"), out=None, shards=None, as_json=False) == 1
    out = capsys.readouterr().out
    assert "! dropped  filter <U+001B>[2J: gone\n" in out
    assert out.index("kept") < out.index("dropped")


def test_json_is_nvflares_envelope(imports: list[Change], capsys: pytest.CaptureFixture[str]) -> None:
    """N6"""
    imports.extend([KEPT, DROPPED])
    assert import_command(folder=Path("job"), out=None, shards=None, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["status"], document["exit_code"]) == ("import", "error", 1)
    assert [change["kind"] for change in document["data"]["changes"]] == ["kept", "dropped"]
    assert document["data"]["project"] == "rows"
