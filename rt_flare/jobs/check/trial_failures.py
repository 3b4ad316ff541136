"""From a failure in a dry run to a finding with its fix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rt_flare.core.round_record import Failure
from rt_flare.jobs.check.finding import CheckFinding, error

__all__ = ["failure_finding"]

_MISFIT = re.compile(r"loading state_dict|does not fit the model|size mismatch for")
_LABEL = re.compile(r"Target -?\d+ is out of bounds|[Cc]lass values must be smaller|index \d+ is out of bounds for dim")
# Kind of failure to code, what is expected, and what to do.
_BY_KIND = {
    "out_of_memory": ("first-batch-memory", "a batch that fits in memory", "Reduce batch_size{size}, or the model."),
    "worker_timeout": ("dry-run-timeout", "a batch within the time limit", "See where it hangs; --timeout gives more."),
    "worker_died": (
        "dry-run-died",
        "a process that lives on",
        "See what ends it: os._exit, a crash in C code, memory.",
    ),
    "result": ("result", "weights, samples and metrics as the contract says", "Correct what the function returns."),
    "contract": ("contract", "the functions of the contract", "Correct the function's name or arguments."),
    "model": ("model-build", "a model that can be built", "Correct the model's path, its arguments or its code."),
    "data": (
        "dry-run-data",
        "data that the module can read",
        "Correct the path or the reader; shards hold what sites see.",
    ),
    "import": (
        "dry-run-import",
        "names and modules that exist",
        "Import or define it in the module, and ship what it needs.",
    ),
    "exception": ("dry-run-exception", "a training function that runs", "Correct it; the line is where it stopped."),
}


def failure_finding(step: str, failure: Failure, origin: Mapping[str, Path], batch_size: int) -> CheckFinding:
    """Say what a failed step means.

    Args:
        step: ``build`` or ``train``.
        failure: what happened.
        origin: the author's file for each file of the code.
        batch_size: samples per step.
    """
    code, expected, fix = _BY_KIND.get(failure.kind, _BY_KIND["exception"])
    fix = fix.format(size=f" (it is {batch_size})")
    if failure.kind in {"exception", "model"} and _MISFIT.search(failure.message):
        code, expected = "weights-do-not-fit", "a model with the names and shapes of the global one"
        fix = "Build it with the same arguments as the server: those of model_args, or defaults in the class."
    elif failure.kind == "exception" and _LABEL.search(failure.message):
        code, expected = "label-beyond-model", "as many outputs as there are classes"
        fix = 'Build the model with num_classes (payload["env"]["num_classes"]) outputs, in model_args as well.'
    elif step == "build" and failure.kind != "out_of_memory":
        code, expected = "model-build", "a model that the server can build"
        fix = "Correct the constructor; what it needs comes from model_args alone."
    # A line outside of the user's files is none that the author can act on.
    place = origin.get(failure.file or "")
    file = place or next(iter(origin.values()), Path(failure.file or ""))
    first_line = failure.message.strip().partition("\n")[0] if code == "dry-run-exception" else failure.message.strip()
    return error(code, file, first_line[:1000], expected, fix, line=failure.line if place else None)
