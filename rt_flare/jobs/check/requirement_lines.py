"""The lines of a requirements.txt: do they parse, and can a site fulfil them beside what rt_flare needs?"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from rt_flare.jobs.check.finding import CheckFinding, error, warning

__all__ = ["check_requirements", "have_common_version", "required_names"]

_COMMENT = re.compile(r"(^|\s)#.*$")
_OWN = "rt-flare"


def check_requirements(path: Path, lines: Sequence[str]) -> Iterator[CheckFinding]:
    """What is wrong with a requirements file, line by line.

    Args:
        path: the file, for the findings.
        lines: its lines.
    """
    wanted: dict[str, tuple[SpecifierSet, str]] = {
        name: (specifier, f"{_OWN} {importlib.metadata.version(_OWN)}") for name, specifier in _needed().items()
    }
    for number, text in _entries(lines):
        if text.startswith("-"):
            fix = "Name the packages themselves: the check and the sites' administrators read this file alone."
            yield warning("requirement-option", path, text.split()[0], "name and version", fix, line=number)
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as problem:
            shown, _, place = str(problem).partition("\n")
            yield error(
                "requirement-syntax",
                path,
                f"{text!r}: {shown}" if place else repr(text),
                "name, then versions, such as 'torch>=2.4,<3'",
                "Correct the line.",
                line=number,
            )
            continue
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        name = canonicalize_name(requirement.name)
        if requirement.url is not None:
            fix = "Name a released version: a site may not reach that address."
            yield warning("requirement-url", path, name, "name and version", fix, line=number, field=name)
            continue
        before, whose = wanted.get(name, (SpecifierSet(), ""))
        if not have_common_version(before, requirement.specifier):
            yield error(
                "requirement-conflict",
                path,
                f"{name}{requirement.specifier}",
                f"a version that fits {name}{before}, which {whose} asks for",
                "Choose versions that fit both, or leave the line out: no site can install the two together.",
                line=number,
                field=name,
            )
        else:
            wanted[name] = (before & requirement.specifier, f"{whose} and line {number}" if whose else f"line {number}")


def required_names(lines: Sequence[str]) -> set[str]:
    """Canonical names of the distributions that the lines name; lines that do not parse name none."""
    names: set[str] = set()
    for _, text in _entries(lines):
        try:
            names.add(canonicalize_name(Requirement(text).name))
        except InvalidRequirement:
            continue  # reported by check_requirements
    return names


def have_common_version(left: SpecifierSet, right: SpecifierSet) -> bool:
    """Whether some version fits both.

    Whether one fits changes only at the versions that the two name, so that these and their neighbours are tried.
    """
    both = left & right
    named = [specifier.version.removesuffix(".*") for specifier in both]
    if any(specifier.operator == "===" for specifier in both):
        return any(both.contains(text, prereleases=True) for text in named)
    candidates = [Version("0"), Version("999999")]
    for text in named:
        try:
            candidates += _around(Version(text))
        except InvalidVersion:
            continue
    return any(both.contains(candidate, prereleases=True) for candidate in candidates)


def _around(version: Version) -> Iterator[Version]:
    """The version itself, and what comes right before and after it, at every depth of its numbers."""
    yield version
    yield Version(f"{version.public}.post0") if not version.is_postrelease and not version.is_devrelease else version
    numbers = version.release
    for depth in range(1, len(numbers) + 1):
        head = numbers[:depth]
        yield _version(version, (*head[:-1], head[-1] + 1))
        if head[-1] > 0:
            yield _version(version, (*head[:-1], head[-1] - 1))
            yield _version(version, (*head[:-1], head[-1] - 1, 999999))
    yield _version(version, (*numbers, 1))
    yield _version(version, numbers)


def _version(like: Version, numbers: tuple[int, ...]) -> Version:
    return Version(f"{like.epoch}!{'.'.join(map(str, numbers))}")


def _entries(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines with something on them; a line that ends in a backslash goes on in the next."""
    start, text = 0, ""
    for number, line in enumerate(lines, start=1):
        start = start or number
        text += _COMMENT.sub("", line.removesuffix("\n")).rstrip()
        if text.endswith("\\") and number < len(lines):
            text = text[:-1]
            continue
        if text.strip():
            # pip's options of a line, such as --hash, are not part of the requirement.
            yield start, re.split(r"\s+--", text.strip())[0].strip()
        start, text = 0, ""


@functools.cache
def _needed() -> dict[str, SpecifierSet]:
    """What a site must have for rt_flare: canonical name to versions."""
    found = {_OWN: SpecifierSet(f"=={importlib.metadata.version(_OWN)}")}
    for requirement in map(Requirement, importlib.metadata.requires(_OWN) or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found[canonicalize_name(requirement.name)] = requirement.specifier
    return found
