"""Everything that a report says, before it has a form."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rt_flare.core.environment import Environment
from rt_flare.core.round_record import RoundRecord, Verdict
from rt_flare.jobs.outcome import JobState
from rt_flare.report.config_values import ConfigRow, config_rows
from rt_flare.report.line_chart import LineChart, line_chart, series_scale
from rt_flare.report.metric_series import metric_names, metric_series
from rt_flare.report.phase_chart import PhaseChart, phase_chart
from rt_flare.report.round_rows import RoundDetail, RoundRow, VerdictRow, round_details, round_rows, verdict_rows
from rt_flare.report.run_folder import RunFolder, SavedModel
from rt_flare.report.site_rows import SiteRow, WarningRow

__all__ = ["FileRow", "ReportContents", "ShownConfig", "report_contents"]

MAX_CHARTED_METRICS = 12
MAX_FILES = 2_000
_LOCAL = "models that the sites trained"
_GLOBAL = "global model"


@dataclass(frozen=True)
class ShownConfig:
    """A configuration file: its name, its first rows, and the number of rows that it has."""

    name: str
    rows: tuple[ConfigRow, ...]
    num_rows: int


@dataclass(frozen=True)
class FileRow:
    """A file: its path from the run's folder, the link to it from where the report stands, its size in bytes."""

    name: str
    link: str
    size: int


@dataclass(frozen=True)
class ReportContents:
    """What a report says. Text is as it was recorded: whoever renders it escapes it.

    Attributes:
        run: the run, as it was read.
        title: the job's name, else its id.
        state_note: what a state that is not final means; "" for a final one.
        verdicts: number of rounds by verdict.
        num_samples: samples behind the last round that was not FAILED; None without one.
        seconds: all rounds together.
        charts: per metric, the charts of the local models and of the global model; either may be None.
        uncharted: names of metrics beyond the first 12.
        phases: where the time went; None without rounds.
        metric_columns: the metrics that the table of rounds shows.
        versions: of the packages that saved the last model, by name.
        environments: (where, what it runs on): the server, then the sites.
        files: at most 2,000; num_files: all of them.
    """

    run: RunFolder
    title: str
    state_note: str
    verdicts: dict[str, int]
    num_samples: int | None
    seconds: float
    charts: tuple[tuple[str, LineChart | None, LineChart | None], ...]
    uncharted: tuple[str, ...]
    phases: PhaseChart | None
    metric_columns: tuple[str, ...]
    rounds: tuple[RoundRow, ...]
    details: tuple[RoundDetail, ...]
    troubled: tuple[VerdictRow, ...]
    sites: tuple[SiteRow, ...]
    warnings: tuple[WarningRow, ...]
    versions: dict[str, str]
    environments: tuple[tuple[str, Environment], ...]
    configs: tuple[ShownConfig, ...]
    files: tuple[FileRow, ...]
    num_files: int

    @property
    def last(self) -> RoundRecord | None:
        """The last round that gave a model."""
        good = [row.record for row in self.rounds if row.record.verdict is not Verdict.FAILED]
        return good[-1] if good else None


def report_contents(run: RunFolder, *, seen_from: Path) -> ReportContents:
    """Put a report's contents together; the same run gives the same contents.

    Args:
        run: the run.
        seen_from: the folder that the report is put into: links start there.
    """
    records = run.ledger.rounds
    names = metric_names(records)
    good = [record for record in records if record.verdict is not Verdict.FAILED]
    counts = Counter(record.verdict.value for record in records)
    return ReportContents(
        run=run,
        title=run.job_name or run.ledger.job_id,
        state_note="" if JobState(run.ledger.state).is_final else _UNFINISHED,
        verdicts={verdict.value: counts[verdict.value] for verdict in Verdict},
        num_samples=good[-1].num_samples if good else None,
        seconds=math.fsum(record.seconds for record in records if math.isfinite(record.seconds)),
        charts=tuple(_charts(records, names[:MAX_CHARTED_METRICS])),
        uncharted=tuple(names[MAX_CHARTED_METRICS:]),
        phases=phase_chart(records),
        metric_columns=tuple(names[:3]),
        rounds=tuple(round_rows(records)),
        details=tuple(round_details(records, run.contributions)),
        troubled=tuple(verdict_rows(records)),
        sites=tuple(run.sites.site_rows()),
        warnings=tuple(run.sites.warning_rows()),
        versions=_versions(run.models),
        environments=tuple(_environments(run)),
        configs=tuple(_shown(config.path, config.content) for config in run.configs),
        files=tuple(_file_row(run.folder, file.path, file.size, seen_from) for file in run.files[:MAX_FILES]),
        num_files=len(run.files),
    )


_UNFINISHED = (
    "The record was last written while the job ran: it still runs, or its server ended without a word. "
    "rt-flare doctor on the same folder says which."
)


def _charts(
    records: Sequence[RoundRecord], names: Sequence[str]
) -> list[tuple[str, LineChart | None, LineChart | None]]:
    charts = []
    for number, name in enumerate(names):
        found = [metric_series(records, name, of_global_model=of_global) for of_global in (False, True)]
        # One scale for both, so that they can be compared by eye.
        scale = series_scale(*(series for series in found if series is not None))
        drawn = [
            line_chart(series, key=f"{prefix}{number}", subtitle=subtitle, shared=scale) if series else None
            for series, prefix, subtitle in zip(found, ("local", "global"), (_LOCAL, _GLOBAL), strict=True)
        ]
        charts.append((name, drawn[0], drawn[1]))
    return charts


def _versions(models: Sequence[SavedModel]) -> dict[str, str]:
    newest = max(models, key=lambda model: model.round, default=None)
    return newest.versions if newest else {}


def _environments(run: RunFolder) -> list[tuple[str, Environment]]:
    found = run.environments
    return [("server", found.server), *((site.site, site) for site in found.sites)] if found else []


def _shown(path: Path, content: dict[str, Any]) -> ShownConfig:
    rows, total = config_rows(content)
    return ShownConfig(path.as_posix(), tuple(rows), total)


def _file_row(folder: Path, path: Path, size: int, seen_from: Path) -> FileRow:
    place = os.path.relpath(folder / path, seen_from)
    # Bytes, because a name need not be UTF-8; and a colon, encoded, never makes a scheme.
    return FileRow(os.fsencode(path).decode(errors="replace"), quote(os.fsencode(place)), size)
