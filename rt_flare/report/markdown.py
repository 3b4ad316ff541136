"""The report as Markdown, for a pull request, a chat or a terminal."""

from __future__ import annotations

import re

from rt_flare.report.contents import ReportContents
from rt_flare.report.rendering import render

__all__ = ["render_markdown"]

# What begins a heading, a list or a quotation does so only at a line's start, where no text of others stands.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>|~&!#$]|(?<=[A-Za-z]):(?=//)|(?i:(?<=www))\.")


def render_markdown(contents: ReportContents) -> str:
    """Render a report's summary: the rounds, the sites, the verdicts, the models.

    Text of sites and users is text: nothing of it becomes markup, a link or a mention.
    """
    return render("report.md.j2", contents, escape=_escaped)


def _escaped(text: str) -> str:
    return _MARKUP.sub(lambda found: f"\\{found[0]}", re.sub(r"\s+", " ", text)).replace("@", "&#64;")
