"""What the two forms of a report share: templates that escape everything, and name what cannot be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from rt_flare.report.contents import ReportContents
from rt_flare.report.shown_text import shown, shown_number

__all__ = ["ROWS_PER_PAGE", "asset", "render"]

ROWS_PER_PAGE = 50


def asset(name: str) -> str:
    """The text of a file of this package's ``assets/``."""
    return files("rt_flare.report").joinpath("assets", name).read_text(encoding="utf-8")


def render(template: str, contents: ReportContents, *, escape: Callable[[str], str] | None, **values: Any) -> str:
    """Render ``assets/{template}``.

    Args:
        template: name of the file.
        contents: is ``report`` in the template, and its ledger ``ledger``.
        escape: applied to every text that the template puts in, a function of a module; None escapes for HTML.
        values: more names for the template.
    """

    return _compiled(template, escape).render(report=contents, ledger=contents.run.ledger, **values)


@cache
def _compiled(template: str, escape: Callable[[str], str] | None) -> Template:
    def put_in(value: Any) -> Any:
        if value is None:
            return ""
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return shown(value) if escape is None else escape(shown(value))

    environment = Environment(
        autoescape=escape is None,  # noqa: S701 - Markdown is escaped by `put_in`
        undefined=StrictUndefined,
        finalize=put_in,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": shown_number, "pages": _pages, "bytes": _bytes, "moment": _moment}
    return environment.from_string(asset(template))


def _pages(rows: Sequence[Any]) -> list[Sequence[Any]]:
    return [rows[start : start + ROWS_PER_PAGE] for start in range(0, len(rows), ROWS_PER_PAGE)]


def _moment(iso: str) -> str:
    return iso[:19].replace("T", " ")


def _bytes(size: int) -> str:
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}" if amount < 1000 else f"{amount:.0f} {unit}"
