"""From a class or function object to a ``model_def.py`` that stands alone: out of a file, or out of notebook cells."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rt_flare.errors import ContractError
from rt_flare.jobs.check.module_text import undefined_names
from rt_flare.jobs.executed_cells import executed_sources
from rt_flare.jobs.needed_definitions import collect_definitions
from rt_flare.jobs.user_modules import sibling_modules

__all__ = ["ExtractedSource", "extract_model_def"]

_TRAIN_NAMES = ("fl_train_model", "fl_train")
_VALIDATE = {"fl_train_model": "fl_validate_model", "fl_train": "fl_validate"}


@dataclass(frozen=True)
class ExtractedSource:
    """A module for a job.

    Attributes:
        text: the content of ``model_def.py``.
        model_path: dotted path of the model in it, as ``model_def.Net``.
        modules: files that go along, by path relative to ``model_def.py``.
        notes: what was done that the author may not expect.
    """

    text: str
    model_path: str
    modules: dict[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def extract_model_def(model: type | Callable[..., Any], train: Callable[..., Any] | None = None) -> ExtractedSource:
    """Return the source of a model and its training function as a module of its own.

    An imported module's file is taken whole, with the modules beside it that it imports. From a notebook or a script
    only what the two need is taken: imports, functions, classes, and constants with their present values, wherever in
    it they are defined.

    Args:
        model: the model's class or factory function.
        train: the training function; None takes ``fl_train_model`` or ``fl_train`` from where ``model`` is defined.

    Raises:
        ContractError: a name is defined nowhere, or holds what no source can say; or ``model`` is defined inside a
            function, has no source, or has no training function beside it.
        JobError: a module that goes along cannot be shipped (see `sibling_modules`).
    """
    for item in (model, train):
        if item is not None and "." in item.__qualname__:
            raise ContractError(
                f"{item.__qualname__}: found a definition inside another one, expected one at the top level of a cell "
                "or file: a site imports it by its name"
            )
    file = _file_of(model)
    extracted = _from_cells(model, train) if file is None else _from_file(model, train, file)
    undefined = undefined_names(ast.parse(extracted.text), "model_def.py")
    if undefined:
        names = ", ".join(f"{name} (line {line})" for name, line in undefined)
        raise ContractError(f"model_def.py: found undefined names: {names}; import or define them beside the model")
    return extracted


def _file_of(item: type | Callable[..., Any]) -> Path | None:
    """The file of an imported module that defines ``item``; None for a notebook or the script that runs."""
    if item.__module__ == "__main__":
        return None
    module = sys.modules.get(item.__module__)
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        raise ContractError(
            f"{item.__module__}.{item.__qualname__}: found no source file, expected a class or function"
        )
    return Path(file)


def _from_file(model: type | Callable[..., Any], train: Callable[..., Any] | None, file: Path) -> ExtractedSource:
    name, namespace = model.__qualname__, vars(sys.modules[model.__module__])
    if train is None:
        train_name = next((each for each in _TRAIN_NAMES if callable(namespace.get(each))), None)
        if train_name is None:
            raise _no_training_function(f"{file}")
        train = namespace[train_name]
    train_file = file if namespace.get(train.__name__) is train else _file_of(train)
    if train_file is None:
        raise ContractError(
            f"{train.__qualname__}: found it in the notebook or script and {name} in {file}, expected both in one place"
        )
    text, notes = train_file.read_text(encoding="utf-8"), []
    modules = sibling_modules(train_file)
    if train_file != file:
        if file.resolve() not in {path.resolve() for path in modules.values()}:
            raise ContractError(
                f"{train.__qualname__} in {train_file}: found no import of {file.name}, which has the model; import it"
            )
        if name not in vars(sys.modules[train.__module__]):
            text += f"\nfrom {file.stem} import {name}\n"
            notes.append(f"{name} is imported from {file.stem}")
    text = _with_train_name(text, train.__name__, notes)
    return ExtractedSource(text, f"model_def.{name}", modules, tuple(notes))


def _from_cells(model: type | Callable[..., Any], train: Callable[..., Any] | None) -> ExtractedSource:
    namespace: Mapping[str, Any] = vars(sys.modules["__main__"])
    if train is None:
        train_name = next((each for each in _TRAIN_NAMES if callable(namespace.get(each))), None)
        if train_name is None:
            raise _no_training_function("the notebook or script")
        train = namespace[train_name]
    roots = [model.__name__, train.__name__]
    validate = _VALIDATE.get(train.__name__, "fl_validate_model")
    if callable(namespace.get(validate)):
        roots.append(validate)
    found = collect_definitions(roots, namespace, executed_sources(namespace))
    notes = list(found.notes)
    text = _with_train_name(found.text, train.__name__, notes)
    return ExtractedSource(text, f"model_def.{model.__name__}", found.modules, tuple(notes))


def _with_train_name(text: str, name: str, notes: list[str]) -> str:
    if name in _TRAIN_NAMES:
        return text
    notes.append(f"{name} is called fl_train_model in the job")
    return f"{text}\nfl_train_model = {name}\n"


def _no_training_function(place: str) -> ContractError:
    return ContractError(f"{place}: found no fl_train_model, expected one beside the model, or the function as train=")
