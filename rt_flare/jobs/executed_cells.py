"""The source that a running notebook or script was made from, in the order of its execution."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt_flare.errors import ContractError

__all__ = ["ExecutedSource", "executed_sources"]


@dataclass(frozen=True)
class ExecutedSource:
    """A cell, or a script.

    Attributes:
        name: what its code objects call it; "" where that is not known.
        text: its source.
        tree: the same, parsed.
    """

    name: str
    text: str
    tree: ast.Module


def executed_sources(namespace: Mapping[str, Any]) -> list[ExecutedSource]:
    """The cells that were executed so far, or the script.

    A cell that is no Python by itself (a ``%%`` magic of another language) is left out.

    Args:
        namespace: the variables of ``__main__``.

    Raises:
        ContractError: there is no source: an interactive session without IPython.
    """
    history = _notebook_cells(namespace)
    if history is not None:
        return [source for text in history if (source := _parse("", text)) is not None]
    file = namespace.get("__file__")
    if isinstance(file, str) and Path(file).is_file():
        source = _parse(file, Path(file).read_text(encoding="utf-8"))
        if source is not None:
            return [source]
    raise ContractError(
        "found no source of this session, expected a notebook, IPython or a script; put the model and fl_train_model "
        "into a file and import them"
    )


def source_of_code(file_name: str) -> str | None:
    """The source that a code object's file name stands for, as `linecache` has it; None when it has none."""
    return "".join(linecache.getlines(file_name)) or None


def _notebook_cells(namespace: Mapping[str, Any]) -> list[str] | None:
    """The cells as IPython ran them, magics replaced by calls; None outside of IPython."""
    shell = getattr(namespace.get("get_ipython"), "__self__", None)
    if shell is None:
        get = namespace.get("get_ipython")
        shell = get() if callable(get) else None
    manager = getattr(shell, "history_manager", None)
    return None if manager is None else list(manager.input_hist_parsed)


def _parse(name: str, text: str) -> ExecutedSource | None:
    try:
        return ExecutedSource(name, text, ast.parse(text))
    except (SyntaxError, ValueError):
        return None
