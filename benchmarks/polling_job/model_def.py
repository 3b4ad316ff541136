"""A round that waits: site-2 trains for as long as it is told to, site-1 is done at once and asks for work."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn


class Model(nn.Module):
    """One layer of 16 x 2 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 2)


def fl_train(model: nn.Module, env: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Give back the weights that came, on site-2 after a while."""
    if env["SITE_NAME"] == "site-2":
        time.sleep(env["WAIT_SECONDS"])
    data = torch.ones(8, 16)
    return {"weights": model.state_dict(), "samples": len(data)}
