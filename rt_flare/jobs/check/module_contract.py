"""Does a user's module offer what the job calls: the training function, and the model with its arguments?"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from rt_flare.jobs.check.finding import CheckFinding, error
from rt_flare.jobs.check.module_text import ModuleText
from rt_flare.jobs.check.signatures import bind_problem, signature_of, top_level

__all__ = ["TRAIN_FUNCTIONS", "check_functions", "check_model", "train_function"]

TRAIN_FUNCTIONS = {"fl_train_model": 2, "fl_train": 3}
"""Training function to its number of positional arguments; the first one that is there counts."""
_VALIDATE_FUNCTIONS = {"fl_train_model": "fl_validate_model", "fl_train": "fl_validate"}
_CALLED_AS = {
    "fl_train_model": "(payload, out_dir, logger=None)",
    "fl_train": "(model, env, out_dir, logger=None)",
}


def train_function(module: ModuleText) -> ast.FunctionDef | None:
    """The training function; None when the module has none, or imports it."""
    names = top_level(module.tree)
    node = next((names[name] for name in TRAIN_FUNCTIONS if name in names), None)
    return node if isinstance(node, ast.FunctionDef) else None


def check_functions(module: ModuleText) -> Iterator[CheckFinding]:
    """The training function is there, and it and the validation function can be called as they will be."""
    names = top_level(module.tree)
    train = next((name for name in TRAIN_FUNCTIONS if name in names), None)
    if train is None:
        if not _has_star_import(module.tree):
            yield _missing_function(module, list(names))
        return
    for name in (train, _VALIDATE_FUNCTIONS[train]):
        node = names.get(name)
        what, called_as = ("train" if name == train else "validate"), _CALLED_AS[train]
        if isinstance(node, ast.AsyncFunctionDef):
            fix = "Remove async: nobody awaits it."
            yield _wrong_signature(module, node, what, f"async def {name}", f"def {name}{called_as}", fix)
        elif isinstance(node, ast.FunctionDef):
            signature = signature_of(node.args)
            if problem := bind_problem(signature, TRAIN_FUNCTIONS[train], {"logger": None}):
                fix = f"Change its arguments: {problem}."
                yield _wrong_signature(module, node, what, f"{name}{signature}", f"{name}{called_as}", fix)


def check_model(module: ModuleText, name: str, model_args: Mapping[str, Any], where: str) -> Iterator[CheckFinding]:
    """The model's class or factory is there and takes the arguments that the job gives it.

    Args:
        module: the module that must define it.
        name: name of the class or factory.
        model_args: the keyword arguments that the job gives.
        where: where the name and the arguments are set, for the fix.
    """
    names = top_level(module.tree)
    if name not in names:
        if not _has_star_import(module.tree):
            yield _missing_model(module, name, names, where)
        return
    signature = _constructor(names, names[name], 0)
    if signature is None:
        return
    if problem := bind_problem(signature, 0, model_args):
        yield error(
            "model-args",
            module.path,
            f"{name}({', '.join(f'{key}={value!r}' for key, value in model_args.items())}): {problem}",
            f"arguments that fit {name}{signature}",
            f"The server builds the model from {where}: give every argument there, or a default here.",
            line=getattr(names[name], "lineno", None),
            field=name,
        )


def _missing_function(module: ModuleText, names: list[str]) -> CheckFinding:
    near = difflib.get_close_matches("fl_train_model", names, n=1) or difflib.get_close_matches("fl_train", names, n=1)
    return error(
        "train-function-missing",
        module.path,
        f"no such function, but {near[0]}" if near else "no such function",
        "fl_train_model(payload, out_dir, logger=None)",
        f"Rename {near[0]}." if near else "Define it: it is called once per round at every site.",
        field="fl_train_model",
    )


def _missing_model(module: ModuleText, name: str, names: Mapping[str, ast.AST], where: str) -> CheckFinding:
    classes = [n for n, node in names.items() if isinstance(node, ast.ClassDef) and node.bases]
    near = difflib.get_close_matches(name, names, n=1) or classes[-1:]
    return error(
        "model-missing",
        module.path,
        f"no class or function {name}" + (f", but {near[0]}" if near else ""),
        f"the model {name}",
        f"Name it in {where}, or rename it here."
        if near
        else "Define it: the server builds the first weights from it.",
        field=name,
    )


def _wrong_signature(module: ModuleText, node: ast.AST, what: str, found: str, expected: str, fix: str) -> CheckFinding:
    return error(f"{what}-signature", module.path, found, expected, fix, line=getattr(node, "lineno", None))


def _constructor(names: Mapping[str, ast.AST], node: ast.AST, depth: int) -> Any:
    """The signature of a call of a class or factory; None where only running it would tell."""
    if isinstance(node, ast.FunctionDef):
        return None if node.decorator_list else signature_of(node.args)
    if not isinstance(node, ast.ClassDef) or node.decorator_list or node.keywords or depth > 10:
        return None
    own = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if "__init__" in own and "__new__" not in own:
        return signature_of(own["__init__"].args, bound=True)
    if "__new__" in own or len(node.bases) != 1:
        return None
    match node.bases[0]:
        case ast.Name(id="Module") | ast.Attribute(attr="Module"):
            return signature_of(ast.arguments([], [], None, [], [], None, []))
        case ast.Name(id=base) if base in names:
            return _constructor(names, names[base], depth + 1)
    return None


def _has_star_import(tree: ast.Module) -> bool:
    return any(isinstance(n, ast.ImportFrom) and any(a.name == "*" for a in n.names) for n in ast.walk(tree))
