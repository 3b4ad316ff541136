"""Rounds as people read them."""

from __future__ import annotations

import io

from rich.console import Console

from rt_flare.cli.round_view import round_table, round_view
from rt_flare.core.round_record import Contribution, ContributionStatus, RoundRecord, Verdict


def _record(number: int = 0, num_sites: int = 2, **changes: object) -> RoundRecord:
    contributions = [
        Contribution(
            site=f"site-{index}",
            status=ContributionStatus.ACCEPTED,
            num_samples=10 * index,
            train_metrics={"loss": 0.5, "accuracy": 0.25 * index},
            seconds=1.0,
        )
        for index in range(1, num_sites + 1)
    ]
    fields: dict[str, object] = {
        "round": number,
        "verdict": Verdict.OK,
        "started_at": "2025-01-01T00:00:00+00:00",
        "seconds": 2.0,
        "num_samples": 30,
        "train_metrics": {"loss": 0.5, "accuracy": 0.4},
        "global_metrics": {"loss": 0.4, "accuracy": 0.6},
        "contributions": contributions,
    }
    return RoundRecord.model_validate(fields | changes)


def _console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=160, highlight=False)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _table(*records: RoundRecord) -> list[str]:
    console = _console(terminal=False)
    console.print(round_table(records))
    return _text(console).splitlines()


def test_a_table_has_a_row_per_round_and_a_column_per_site() -> None:
    """J10: verdict, means, the global model's metric, samples, seconds, every site."""
    head, row = _table(_record())
    expected = "round verdict train loss train accuracy global accuracy samples seconds site-1 site-2"
    assert " ".join(head.split()) == expected
    assert " ".join(row.split()) == "0 OK 0.5000 0.4000 0.6000 30 2.0 0.2500 of 10 0.5000 of 20"


def test_a_site_that_was_not_accepted_is_shown_as_what_it_is() -> None:
    """X1."""
    missing = Contribution(site="site-1", status=ContributionStatus.MISSING, reason="nothing arrived")
    assert "missing" in _table(_record(contributions=[missing], verdict=Verdict.DEGRADED))[1]


def test_many_sites_are_counted_instead() -> None:
    """J10: the table stays readable."""
    head, row = _table(_record(num_sites=30))
    assert head.endswith("sites")
    assert row.endswith("30 of 30")


def test_other_metrics_are_shown_by_their_names() -> None:
    """J10; names come from sites: never read as markup."""
    head, row = _table(_record(train_metrics={"[red]dice": 0.9, "z": 1.0, "zz": 2.0}, global_metrics=None))
    assert "train [red]dice" in head
    assert "0.9000" in row
    assert "zz" not in head


def test_a_round_without_metrics_has_a_row_too() -> None:
    """X1: a failed round."""
    assert "FAILED" in _table(_record(train_metrics={}, global_metrics=None, contributions=[], verdict="FAILED"))[1]


def test_a_pipe_gets_one_line_per_round() -> None:
    """N6."""
    console = _console(terminal=False)
    with round_view(console) as view:
        view.stage("begin")
        view.round(_record(3))
    assert _text(console) == "begin\nround 3: OK, loss 0.5000, accuracy 0.4000, 30 samples, 2 of 2 sites, 2.0 s\n"


def test_a_terminal_gets_a_live_table_that_goes_away() -> None:
    """N3: the table at the end takes its place."""
    console = _console(terminal=True)
    with round_view(console) as view:
        view.stage("begin")
        view.round(_record(0))
        view.round(_record(1))
    assert "train accuracy" in _text(console)
    assert "begin" in _text(console)
