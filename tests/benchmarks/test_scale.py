"""The simulated server: what it drives is what a job's server does, and every site is in the record (J10, X1)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.large_ledger import write_ledger
from benchmarks.scale import measure_ledger, measure_rounds
from benchmarks.simulated_server import SimulatedServer, Stopwatch, site_names
from rt_flare.core.contribution_pages import read_page
from rt_flare.core.ledger import read_ledger
from rt_flare.core.round_record import Verdict


@pytest.mark.parametrize("deterministic", [False, True])
def test_every_simulated_site_is_in_every_round(tmp_path: Path, deterministic: bool) -> None:
    """X1, M9, J10: verdict, record and model of real components; a job of 60 contributions holds them all."""
    sites = site_names(20)
    server = SimulatedServer(tmp_path, sites, num_rounds=3, deterministic=deterministic)
    server.run()
    ledger = read_ledger(tmp_path / "files_out" / "fl_round_complete.json")
    assert ledger.state == "FINISHED"
    assert [(r.round, r.verdict, [c.site for c in r.contributions]) for r in ledger.rounds] == [
        (number, Verdict.OK, sites) for number in range(3)
    ]
    assert ledger.rounds[0].global_metrics is not None
    model = torch.load(tmp_path / "model_out" / "global_model.pt", weights_only=True)
    assert model["weight"].tolist() == [1.0] * 1_000
    assert len(server.round_seconds) == 3
    assert server.call_seconds > sum(server.watch.seconds.values()) / 10


def test_the_record_of_many_sites_is_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """J10: the writers put every contribution into one file once, and count them in the record."""
    monkeypatch.setattr("rt_flare.core.ledger.MAX_CONTRIBUTIONS", 100)
    monkeypatch.setattr("rt_flare.core.contribution_pages.PAGE_SIZE", 100)
    cost = write_ledger(tmp_path, 40, 8)
    files = tmp_path / "files_out"
    rounds = read_ledger(files / "fl_round_complete.json").rounds
    assert [(r.num_sites, r.num_accepted, len(r.contributions)) for r in rounds] == [(40, 39, 1)] * 8
    assert [r.global_metrics is not None for r in rounds] == [True] * 7 + [False]
    pages = sorted((files / "contributions.d").iterdir())
    assert [page.name for page in pages] == ["000000.ndjson", "000003.ndjson", "000006.ndjson"]
    found = [(number, c.site) for page in pages for number, c in read_page(page)]
    assert found == [(number, site) for number in range(8) for site in site_names(40)]
    assert cost.page_bytes == sum(page.stat().st_size for page in pages)
    assert len(cost.write_seconds) == len(cost.memory_bytes) == 8


def test_a_stopwatch_counts_what_calls_itself_once() -> None:
    """J10: the parts add up to the time that passed."""
    watch = Stopwatch()
    inner = watch.around("inner", lambda: sum(range(1_000)))
    outer = watch.around("outer", lambda: inner())
    assert outer() == 499_500
    assert list(watch.seconds) == ["outer"]


def test_the_figures_are_per_site() -> None:
    """J10"""
    found = measure_rounds(10, 2)
    assert found["round_ms"] == pytest.approx(found["round_seconds"] * 100)
    assert sum(found["parts_ms"].values()) == pytest.approx(found["ours_ms"])
    record = measure_ledger(10, 4)
    assert record["page_bytes"] == 0
    assert record["document_bytes"] > 40 * 200
    assert record["report_bytes"] > 10_000
