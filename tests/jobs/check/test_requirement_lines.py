"""Lines of a requirements file: parsed, or named; contradictions with what a site must have (C6)."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from rt_flare.jobs.check.requirement_lines import check_requirements, have_common_version, required_names

FILE = Path("requirements.txt")


def _codes(*lines: str) -> list[tuple[str, int | None]]:
    return [(finding.code, finding.line) for finding in check_requirements(FILE, lines)]


def test_sound_lines_have_no_finding() -> None:
    """C6: comments, options of a line, markers and lines that go on."""
    lines = (
        *("# what the reader needs", "", "scipy>=1.12  # for signals", "torch>=2.4", "nvflare>=2.9,<2.10"),
        *("pandas[parquet]~=2.2 ; python_version >= '3.8'", "requests==2.32.0 \\", "    --hash=sha256:0123"),
        f"rt-flare=={importlib.metadata.version('rt-flare')}",
    )
    assert _codes(*lines) == []
    assert required_names(lines) == {"scipy", "torch", "nvflare", "pandas", "requests", "rt-flare"}


def test_a_contradiction_names_both_sides() -> None:
    """C6: with rt_flare's own metadata, and between lines."""
    (found,) = check_requirements(FILE, ["NVFlare==2.8.0"])
    assert (found.code, found.field, found.found) == ("requirement-conflict", "nvflare", "nvflare==2.8.0")
    assert "rt-flare" in found.expected
    assert _codes("scipy>=2", "numpy", "scipy<2") == [("requirement-conflict", 3)]


def test_a_line_for_another_platform_is_not_held_against_this_one() -> None:
    """C6."""
    assert _codes("torch<2 ; sys_platform == 'win32'") == []


_VERSION = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda numbers: ".".join(map(str, numbers)))
_SPECIFIER = st.tuples(st.sampled_from(["==", ">=", "<=", "<", ">", "!=", "~="]), _VERSION).map(
    lambda pair: f"{pair[0]}{pair[1]}{'.0' if pair[0] == '~=' and '.' not in pair[1] else ''}"
)
_SPECIFIERS = st.lists(_SPECIFIER, max_size=3).map(lambda texts: SpecifierSet(",".join(texts)))
_ALL = [Version(f"{a}.{b}.{c}.{d}") for a in range(5) for b in range(5) for c in range(5) for d in range(2)]


@given(_SPECIFIERS, _SPECIFIERS)
def test_versions_that_fit_both_are_found_when_there_are_any(left: SpecifierSet, right: SpecifierSet) -> None:
    """C6: against trying out every version; what one side accepts is never denied."""
    if any(version in left and version in right for version in _ALL):
        assert have_common_version(left, right)
    assert have_common_version(left, right) == have_common_version(right, left)


@given(_SPECIFIERS)
def test_nothing_contradicts_no_requirement_unless_it_contradicts_itself(specifiers: SpecifierSet) -> None:
    """C6."""
    assert have_common_version(specifiers, SpecifierSet()) == have_common_version(specifiers, specifiers)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_no_text_breaks_the_check(lines: list[str]) -> None:
    """C6."""
    for finding in check_requirements(FILE, lines):
        assert finding.line is not None
        assert 1 <= finding.line <= len(lines)
    required_names(lines)
