"""Memory that a round frees is there for the next one (T2)."""

from __future__ import annotations

import subprocess
import sys

from rt_flare.core.allocator import keep_freed_memory

CODE = """
import resource
import torch
from rt_flare.core.allocator import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(1 << 20) for _ in range(20)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
faults()
print(faults())
"""


def test_a_later_round_asks_for_no_fresh_memory() -> None:
    """T2: 80 MB would be 20,000 page faults."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2_000


def test_it_may_be_asked_for_again() -> None:
    """T2: every component does."""
    assert keep_freed_memory() is keep_freed_memory()
