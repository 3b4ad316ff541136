"""A user's module as text: does it parse, and is every name in it defined?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyflakes import messages
from pyflakes.checker import Checker

from rt_flare.jobs.check.finding import CheckFinding, error, warning

__all__ = ["ModuleText", "check_names", "check_paths", "read_module", "undefined_names"]

_USUAL_IMPORTS = {
    "torch": "import torch",
    "nn": "import torch.nn as nn",
    "F": "import torch.nn.functional as F",
    "optim": "import torch.optim as optim",
    "DataLoader": "from torch.utils.data import DataLoader",
    "Dataset": "from torch.utils.data import Dataset",
    "TensorDataset": "from torch.utils.data import TensorDataset",
    "torchvision": "import torchvision",
    "models": "from torchvision import models",
    "transforms": "from torchvision import transforms",
    "np": "import numpy as np",
    "pd": "import pandas as pd",
    "Path": "from pathlib import Path",
    "rt_flare": "import rt_flare",
}
_OF_ONE_MACHINE = re.compile(r"(/home/|/Users/|/root/|~/|[A-Za-z]:\\)\S")


@dataclass(frozen=True)
class ModuleText:
    """A module that was read and parsed, never imported.

    Attributes:
        path: the file.
        text: its content.
        tree: the same, parsed.
    """

    path: Path
    text: str
    tree: ast.Module


def read_module(path: Path) -> ModuleText | CheckFinding:
    """Read and parse a file; returns the finding that says why it is no Python."""
    fix = "Correct it; `python -m py_compile` says the same."
    try:
        raw = path.read_bytes()
        return ModuleText(path, raw.decode(), ast.parse(raw, filename=str(path)))
    except (SyntaxError, ValueError) as problem:
        text = problem.msg if isinstance(problem, SyntaxError) else str(problem)
        return error("module-syntax", path, text, "valid Python in UTF-8", fix, line=getattr(problem, "lineno", None))


def undefined_names(tree: ast.Module, filename: str) -> list[tuple[str, int]]:
    """Names that a module uses and nothing in it defines or imports, with their lines."""
    found = Checker(tree, filename=filename).messages
    kinds = (messages.UndefinedName, messages.UndefinedLocal)
    return sorted({(str(m.message_args[0]), int(m.lineno)) for m in found if isinstance(m, kinds)}, key=lambda n: n[1])


def check_names(module: ModuleText) -> Iterator[CheckFinding]:
    """Names that only exist elsewhere: in another cell of a notebook, in another file."""
    seen: set[str] = set()
    for name, line in undefined_names(module.tree, str(module.path)):
        if name in seen:
            continue
        seen.add(name)
        usual = _USUAL_IMPORTS.get(name)
        fix = f"Add `{usual}`" if usual else "Import or define it"
        yield error(
            "undefined-name",
            module.path,
            f"name {name!r} is not defined",
            "every name imported or defined in this file",
            f"{fix} in this file: what another file or cell imports does not come along.",
            line=line,
            field=name,
        )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield warning(
                "import-star",
                module.path,
                f"from {node.module} import *",
                "imports that say what they bring",
                "Name what is used: a missing name is found on the sites only otherwise.",
                line=node.lineno,
            )


def check_paths(module: ModuleText) -> Iterator[CheckFinding]:
    """Paths that exist on the author's machine only."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _OF_ONE_MACHINE.match(node.value):
            yield warning(
                "local-path",
                module.path,
                repr(node.value[:80]),
                'paths below payload["dataset"]["data_root"], out_dir or env["STATE_DIR"]',
                "A site has no such file: build the path from what the payload gives.",
                line=node.lineno,
            )
