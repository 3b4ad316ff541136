"""Keys of the payload that a training function reads and nobody sets."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterator

from rt_flare.core.payload import RESERVED_ENV
from rt_flare.jobs.check.finding import CheckFinding, error, warning
from rt_flare.jobs.check.module_text import ModuleText

__all__ = ["check_payload_keys"]

_PAYLOAD = {"initial_weights", "dataset", "env"}
_DATASET = {"data_root", "adapter", "adapter_args", "manifest"}
_SDK_ENV = {"EPOCHS", "BATCH_SIZE", "LR", "DATA_ROOT"}
_MISSPELT = 0.8
_FUNCTIONS = {"fl_train_model": "payload", "fl_validate_model": "payload", "fl_train": "env", "fl_validate": "env"}


def check_payload_keys(module: ModuleText, extra: Collection[str] | None) -> Iterator[CheckFinding]:
    """Keys of ``payload``, ``payload["dataset"]`` and ``payload["env"]`` that will not be there.

    Args:
        module: the user's module.
        extra: the job's own keys of ``env``; None where they are not known: then only keys that look like a slip of
            the pen are reported.
    """
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in _FUNCTIONS:
            arguments = [*node.args.posonlyargs, *node.args.args]
            kind = _FUNCTIONS[node.name]
            position = 0 if kind == "payload" else 1
            if len(arguments) > position:
                yield from _check(module, node, {arguments[position].arg: kind}, kind == "env", extra)


def _check(
    module: ModuleText, function: ast.FunctionDef, names: dict[str, str], sdk: bool, extra: Collection[str] | None
) -> Iterator[CheckFinding]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            kind = _kind(node.value, names)
            if kind is not None:
                names[node.targets[0].id] = kind
    env = {*RESERVED_ENV, *(extra or ()), *(_SDK_ENV if sdk else ())}
    known = {"payload": _PAYLOAD, "dataset": _DATASET, "env": env}
    written = {
        node.slice.value
        for node in ast.walk(function)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant)
    }
    for node in ast.walk(function):
        read = _read(node)
        kind = _kind(read[0], names) if read else None
        if read is None or kind is None or read[1] in known[kind] or read[1] in written:
            continue
        _, key, must = read
        near = difflib.get_close_matches(key, known[kind], n=1, cutoff=_MISSPELT)
        folded = {name.lower(): name for name in known[kind]}
        if not near and key.lower() in folded:
            near = [folded[key.lower()]]
        sure = kind != "env" or extra is not None
        if not near and not (sure and must):
            continue
        fix = (
            f"Did you mean {near[0]!r}?" if near else "Set it in the configuration's extra, or read it with a default."
        )
        report = error if must else warning
        expected = ", ".join(sorted(known[kind])) if kind != "env" else "a key of env"
        yield report(f"{kind}-key", module.path, f"the key {key!r}", expected, fix, line=node.lineno, field=key)  # type: ignore[attr-defined]


def _read(node: ast.AST) -> tuple[ast.expr, str, bool] | None:
    """(mapping, key, whether a missing key is an error) of ``mapping["key"]`` or ``mapping.get("key", ...)``."""
    match node:
        case ast.Subscript(value=value, slice=ast.Constant(value=str(key)), ctx=ast.Load()):
            return value, key, True
        case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(key)), *_]):
            return value, key, False
    return None


def _kind(value: ast.expr, names: dict[str, str]) -> str | None:
    """Which of the three mappings an expression is."""
    if isinstance(value, ast.Name):
        return names.get(value.id)
    read = _read(value)
    if read is not None and _kind(read[0], names) == "payload" and read[1] in ("dataset", "env"):
        return read[1]
    return None
