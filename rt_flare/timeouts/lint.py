"""Checks of jobs and startup kits: every mistake with its rule, file, key, what was found and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rt_flare.errors import ConfigError
from rt_flare.timeouts.finding import Facts, Finding, Severity
from rt_flare.timeouts.job_files import ConfigFile, JobFiles, is_job, read_job
from rt_flare.timeouts.key_map import KeyMap, load_key_map
from rt_flare.timeouts.kit_files import KitFiles, is_kit, read_kit
from rt_flare.timeouts.lint_view import JobView
from rt_flare.timeouts.rules_arguments import check_arguments
from rt_flare.timeouts.rules_keys import check_job_keys, check_kit_keys
from rt_flare.timeouts.rules_kit import check_kit, check_kits_together
from rt_flare.timeouts.rules_load import check_load
from rt_flare.timeouts.rules_order import check_order

__all__ = ["LintReport", "lint"]

_JOB_CHECKS: tuple[Callable[[JobView], Iterator[Finding]], ...] = (
    check_job_keys,
    check_arguments,
    check_order,
    check_load,
)


@dataclass(frozen=True)
class LintReport:
    """What was found.

    Attributes:
        targets: what was looked at.
        findings: errors first, then warnings, then notes.
        unchecked: rules that could not be applied, with what they need.
    """

    targets: tuple[Path, ...]
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = field(default=())

    @property
    def failed(self) -> bool:
        """Whether there is an error or a warning; notes alone are fine."""
        return any(finding.severity is not Severity.INFO for finding in self.findings)


def lint(targets: Sequence[Path], facts: Facts | None = None, *, key_map: KeyMap | None = None) -> LintReport:
    """Check job folders, job templates and startup kits, each alone and against each other.

    Args:
        targets: their folders; kits and jobs that belong together in one call.
        facts: what the files do not say; a rule that needs what is missing is listed in ``unchecked``.
        key_map: the keys that may be used; default: those of the installed NVFlare.

    Raises:
        ConfigError: a target is none of these, or a file of it cannot be parsed.
    """
    facts, keys = facts or Facts(), key_map or load_key_map()
    jobs: list[JobFiles] = []
    kits: list[KitFiles] = []
    for target in targets:
        if is_kit(target) or (target / "startup").is_dir():
            kits.append(read_kit(target))
        elif is_job(target):
            jobs.append(read_job(target))
        else:
            raise ConfigError(f"{target}: neither a job (meta.json) nor a startup kit (startup/fed_client.json)")
    findings: list[Finding] = []
    unchecked: dict[str, None] = {}
    for job in jobs:
        server = next((app.server for app in job.apps if app.server is not None), None)
        clients: list[ConfigFile | None] = [app.client for app in job.apps if app.client is not None]
        code_dirs = tuple(app.code_dir for app in job.apps)
        for client in clients or [None]:
            view = JobView(job, server, client, code_dirs, tuple(kits), facts, keys)
            for check in _JOB_CHECKS:
                findings += check(view)
            unchecked |= dict.fromkeys(view.unchecked())
    for kit in kits:
        findings += check_kit_keys(kit, keys)
        findings += check_kit(kit, facts)
    findings += check_kits_together(kits, facts)
    order = list(Severity)
    unique = sorted(dict.fromkeys(findings), key=lambda finding: order.index(finding.severity))
    return LintReport(tuple(targets), tuple(unique), tuple(unchecked))
