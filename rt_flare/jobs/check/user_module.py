"""A user's module and what goes along with it, as far as reading tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt_flare.jobs.check.finding import CheckFinding, Severity, error
from rt_flare.jobs.check.module_contract import check_functions, check_model
from rt_flare.jobs.check.module_imports import check_imports, find_siblings
from rt_flare.jobs.check.module_text import check_names, check_paths, read_module
from rt_flare.jobs.check.payload_keys import check_payload_keys
from rt_flare.jobs.check.requirement_lines import check_requirements, required_names
from rt_flare.jobs.check.training_mistakes import check_training

__all__ = ["ModuleCheck", "check_user_module"]


@dataclass(frozen=True)
class ModuleCheck:
    """What reading a module gave.

    Attributes:
        findings: its mistakes.
        files: the module and what goes along with it, by path in the job's folder of code; empty when it cannot go.
    """

    findings: list[CheckFinding]
    files: dict[str, Path]

    @property
    def can_run(self) -> bool:
        """Whether trying it would tell more: nothing is known yet that must fail."""
        return bool(self.files) and not any(finding.severity is Severity.ERROR for finding in self.findings)


def check_user_module(
    path: Path,
    *,
    name: str = "model_def.py",
    model: str,
    model_args: Mapping[str, Any],
    where: str,
    extra: Collection[str] | None,
    requirements: Path,
) -> ModuleCheck:
    """Check a module by reading it, and the files beside it that it imports.

    Args:
        path: the module.
        name: its file name in the job.
        model: name of the model's class or factory in it; "" when it is defined elsewhere.
        model_args: its keyword arguments.
        where: where these two are set, for the advice.
        extra: the job's own keys of ``payload["env"]``; None when they are not known.
        requirements: file with what it needs; need not exist.
    """
    findings, required = _requirements(requirements)
    if not path.is_file():
        fix = "Put the module with the model and fl_train_model there."
        return ModuleCheck([*findings, error("module-missing", path, "no such file", "the user's module", fix)], {})
    module = read_module(path)
    if isinstance(module, CheckFinding):
        return ModuleCheck([*findings, module], {})
    siblings, problems = find_siblings(module)
    findings += problems
    findings += check_names(module)
    findings += check_functions(module)
    if model:
        findings += check_model(module, model, model_args, where)
    findings += check_training(module, siblings.values())
    findings += check_payload_keys(module, extra)
    findings += check_paths(module)
    findings += check_imports(module, siblings, required)
    for file in siblings.values():
        sibling = read_module(file)
        if isinstance(sibling, CheckFinding):
            findings.append(sibling)
        elif file != path.resolve():
            findings += check_names(sibling)
            findings += check_paths(sibling)
            # Inside a package relative imports are fine.
            found = check_imports(sibling, siblings, required)
            findings += [finding for finding in found if finding.code != "relative-import"]
    files = {} if problems else {name: path, **{key: file for key, file in siblings.items() if key != path.name}}
    return ModuleCheck(findings, files)


def _requirements(path: Path) -> tuple[list[CheckFinding], set[str]]:
    if not path.is_file():
        return [], set()
    lines: Sequence[str] = path.read_text(errors="replace").splitlines()
    return list(check_requirements(path, lines)), required_names(lines)
