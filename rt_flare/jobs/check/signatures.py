"""Signatures as the source has them, without importing it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any

__all__ = ["bind_problem", "signature_of", "top_level"]

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Kind = inspect._ParameterKind


def top_level(tree: ast.Module) -> dict[str, ast.AST]:
    """What a module binds at its top level, those inside ``if``, ``try`` and ``with`` too: name to statement."""
    found: dict[str, ast.AST] = {}
    _collect(tree.body, found)
    return found


def signature_of(arguments: ast.arguments, *, bound: bool = False) -> inspect.Signature:
    """The signature of a function's arguments; ``bound`` leaves out the first one, ``self``."""
    parameters: list[inspect.Parameter] = []
    positional = [(a, _Kind.POSITIONAL_ONLY) for a in arguments.posonlyargs]
    positional += [(a, _Kind.POSITIONAL_OR_KEYWORD) for a in arguments.args]
    without_default = len(positional) - len(arguments.defaults)
    for index, (argument, kind) in enumerate(positional):
        parameters.append(_parameter(argument, kind, index >= without_default))
    if arguments.vararg:
        parameters.append(_parameter(arguments.vararg, _Kind.VAR_POSITIONAL, False))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(_parameter(argument, _Kind.KEYWORD_ONLY, default is not None))
    if arguments.kwarg:
        parameters.append(_parameter(arguments.kwarg, _Kind.VAR_KEYWORD, False))
    takes_self = bound and parameters and parameters[0].kind in (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
    return inspect.Signature(parameters[1:] if takes_self else parameters)


def bind_problem(signature: inspect.Signature, positional: int, keywords: Mapping[str, Any]) -> str | None:
    """Why a call with so many positional arguments and these keywords fails; None when it does not."""
    try:
        signature.bind(*range(positional), **keywords)
    except TypeError as problem:
        return str(problem)
    return None


def _parameter(argument: ast.arg, kind: _Kind, has_default: bool) -> inspect.Parameter:
    return inspect.Parameter(argument.arg, kind, default=None if has_default else inspect.Parameter.empty)


def _collect(body: list[ast.stmt], found: dict[str, ast.AST]) -> None:
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[statement.name] = statement
            case ast.Import() | ast.ImportFrom():
                for alias in statement.names:
                    found[alias.asname or alias.name.partition(".")[0]] = statement
            case ast.Assign():
                for target in statement.targets:
                    for node in ast.walk(target):
                        if isinstance(node, ast.Name):
                            found[node.id] = statement
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
            case ast.If() | ast.Try() | ast.With():
                _collect(statement.body, found)
                for handler in getattr(statement, "handlers", []):
                    _collect(handler.body, found)
                _collect([*getattr(statement, "orelse", []), *getattr(statement, "finalbody", [])], found)
