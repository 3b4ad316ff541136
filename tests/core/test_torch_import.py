"""PyTorch is loaded without collecting garbage, by whatever starts a process (T6)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rt_flare

PACKAGE = Path(rt_flare.__file__).parent
PROBE = """
import gc, sys
during = []
def note(phase, info):
    torch = sys.modules.get("torch")
    during.append(torch is not None and torch.__spec__._initializing)
gc.callbacks.append(note)
import rt_flare.core.torch_import
print(any(during), gc.isenabled(), "torch" in sys.modules, gc.get_freeze_count() > 50_000)
gc.unfreeze()
del sys.modules["rt_flare.core.torch_import"]
import rt_flare.core.torch_import
print(gc.isenabled(), gc.get_freeze_count())
"""


def test_nothing_is_collected_meanwhile_and_the_collector_goes_on_without_it() -> None:
    """T6: and where PyTorch is loaded already, nothing happens."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "True", "True", "0"]


@pytest.mark.parametrize(
    "module",
    [
        "components/executor.py",
        "components/gated_aggregator.py",
        "components/persistor.py",
        "core/worker_process.py",
    ],
)
def test_what_a_process_starts_with_imports_it_first(module: str) -> None:
    """T6: a module that comes before it would load PyTorch the slow way."""
    tree = ast.parse((PACKAGE / module).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    first = next(node for node in imports if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"))
    assert isinstance(first, ast.Import)
    assert [name.name for name in first.names] == ["rt_flare.core.torch_import"]
