"""What text of a site leaves it in the log and in an error reply."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal

from rt_flare.components.executor import PayloadExecutor
from rt_flare.components.wire import parse_report
from rt_flare.core.text_flow import BURST_LINES

MODULE = """
from pathlib import Path

def fl_train_model(payload, out_dir, logger=None):
    root = payload["dataset"]["data_root"]
    logger.info(f"data in {root}, files in {out_dir}")
    for number in range(5_000):
        logger.info("epoch %d", number)
    return (Path(root) / "images" / "patient.png").read_bytes()
"""


@pytest.fixture
def fl_ctx(tmp_path: Path) -> FLContext:
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "leaky_model_def.py").write_text(MODULE)
    (tmp_path / "data").mkdir()
    workspace = SimpleNamespace(
        get_run_dir=lambda job: str(tmp_path / "run"),
        get_app_custom_dir=lambda job: str(tmp_path / "custom"),
        get_site_config_dir=lambda: str(tmp_path / "local"),
    )
    engine = SimpleNamespace(get_workspace=lambda: workspace, fire_event=lambda *_: None)
    fl_ctx = FLContext()
    fl_ctx.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
    fl_ctx.set_prop(ReservedKey.IDENTITY_NAME, "site-1", private=False, sticky=False)
    fl_ctx.set_prop(FLContextKey.CURRENT_RUN, "job", private=False, sticky=False)
    return fl_ctx


def test_no_folder_of_the_site_and_no_flood_leaves_it(
    fl_ctx: FLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J5, J9: paths are relative, lines are counted, in the log and in the error."""
    executor = PayloadExecutor(
        user_module="leaky_model_def", data_root=str(tmp_path / "data"), adapter="manifest", isolation="none"
    )
    logged: list[str] = []
    monkeypatch.setattr(executor.logger, "info", lambda text, *_: logged.append(text))
    monkeypatch.setattr(executor.logger, "warning", lambda text, *_: logged.append(text))
    task = DXO(DataKind.WEIGHTS, data={"w": torch.ones(1)}).to_shareable()
    reply: Any = executor.execute("train", task, fl_ctx, Signal())
    failure = parse_report(reply, "site-1").failure
    assert failure is not None
    assert "'data_root/images/patient.png'" in failure.message
    assert (failure.file, failure.line) == ("leaky_model_def.py", 9)
    assert "[user code] data in data_root, files in run_dir/out/round_0" in logged
    assert len(logged) < BURST_LINES + 200
    assert "lines were left out here" in logged[-1]
    assert str(tmp_path) not in failure.log_text() + "".join(logged)
