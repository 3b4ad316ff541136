"""PyTorch, loaded without looking for garbage in it: that would be an eighth of a job process's start.

Every job process and every training worker loads PyTorch before the first round. Its import makes some 200,000 objects
that stay, and Python's collector goes through all of them again and again, then and later. So it pauses meanwhile, and
takes them for permanent afterwards. Modules that a process starts with import this one first; where PyTorch is loaded
already, nothing happens.
"""

import gc
import sys

if "torch" not in sys.modules:
    _was_enabled = gc.isenabled()
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        if _was_enabled:
            gc.enable()
