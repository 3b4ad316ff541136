"""A requirements.txt that goes along with a job: every line must parse, and hold here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from rt_flare.errors import ConfigError, JobError

__all__ = ["check_requirements"]


def check_requirements(path: Path) -> None:
    """Check that each requirement parses and that what is installed here satisfies it. Nothing is installed.

    Raises:
        JobError: there is no such file.
        ConfigError: lines that do not parse, are not installed, or ask for another version; all at once.
    """
    if not path.is_file():
        raise JobError(f"{path}: no such file; expected a requirements.txt")
    problems = [
        f"{path}:{number}: {problem}"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        for problem in _problems(line.partition(" #")[0].strip())
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _problems(line: str) -> Iterator[str]:
    if not line or line.startswith("#"):
        return
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        why = str(error).partition("\n")[0]
        yield f"found {line!r}, expected a requirement as 'torch>=2.4': {why}"
        return
    if requirement.marker is not None and not requirement.marker.evaluate():
        return
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        yield f"{requirement.name} is not installed here; install it, here and at every site"
        return
    if not requirement.specifier.contains(installed, prereleases=True):
        yield f"found {requirement.name} {installed} installed, expected {requirement.specifier}"
