"""Logs as NVFlare writes them, made of the lines that a test names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

JOB = "48069116-0de2-4e18-b718-8c151c33c1ca"
TASK = "871ca35b-b010-4bae-bf46-eff093141b79"


def _record(text: str, *, second: float, logger: str, level: str, context: str = "") -> str:
    minute, rest = divmod(second, 60)
    stamp = f"2026-11-20 15:{int(minute):02d}:{rest:06.3f}".replace(".", ",")
    return f"{stamp} - {logger} - {level} - {context and f'[{context}] - '}{text}\n"


@pytest.fixture
def record() -> Callable[..., str]:
    """One record: its text, ``second`` (after 15:00), ``logger``, ``level``, ``site`` ("" for the server)."""

    def make(
        text: str,
        second: float = 30.0,
        *,
        level: str = "ERROR",
        logger: str = "Cell",
        site: str = "",
        bare: bool = False,
    ) -> str:
        context = f"identity={site or 'poc'}, run={JOB}, peer={'poc' if site else 'site-1'}"
        return _record(text, second=second, logger=logger, level=level, context="" if bare else context)

    return make


@pytest.fixture
def run_folder(tmp_path: Path, record: Callable[..., str]) -> Callable[..., Path]:
    """Make ``files_out/`` of a run of two healthy rounds, with these lines in the middle of its logs.

    ``shift``: seconds that the clock of site 1 is ahead.
    """

    def make(*, server: str = "", shift: float = 0.0, **sites: str) -> Path:
        folder = tmp_path / "files_out"
        folder.mkdir(exist_ok=True)

        def info(text: str, second: float, logger: str, site: str = "") -> str:
            return record(text, second, level="INFO", logger=logger, site=site)

        (folder / "server.log").write_text(
            record("server heartbeat timeout set to 600", 1, level="INFO", logger="ServerDeployer", bare=True)
            + info("Server runner starting ...", 2, "ServerRunner")
            + info("Round 0 started.", 3, "RtFedAvg")
            + info(f"assigned task to client site-1: name=train, id={TASK}", 4, "ServerRunner")
            + record("received unknown aux message topic rt_flare.task_waits", 5, logger="AuxRunner")
            + info("task train exit with status TaskCompletionStatus.CANCELLED", 20, "WFCommServer")
            + info("Round 0 finished: OK, 15 samples", 21, "RtFedAvg")
            + server
            + info("END_RUN fired", 900, "ServerRunner")
        )
        for number, site in enumerate(("site_1", "site_2"), start=1):
            name = site.replace("_", "-")
            ahead = shift if number == 1 else 0.0
            (folder / f"client_{number}.log").write_text(
                info("client runner started", 3 + ahead, "ClientRunner", name)
                + (info(f"got task assignment: name=train, id={TASK}", 4 + ahead, "ClientRunner", name) * (number == 1))
                + record(
                    "[user code] CUDA out of memory, NCCL error: only a remark of user code",
                    6 + ahead,
                    level="WARNING",
                    logger="PayloadExecutor",
                    bare=True,
                )
                + sites.get(site, "")
                + info("END_RUN fired", 910 + ahead, "ClientRunner", name)
            )
        return folder

    return make
