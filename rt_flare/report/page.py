"""The report as one HTML file: styles, script and data inside, nothing to be fetched, scripts of others refused."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

import rt_flare
from rt_flare.report.contents import ReportContents
from rt_flare.report.rendering import asset, render

__all__ = ["render_html"]


def render_html(contents: ReportContents) -> str:
    """Render a report; the same contents give the same text.

    The page's policy lets a browser run the page's own script only, and connect nowhere. Text of sites and users is
    escaped, and its invisible characters are named.
    """
    style, script = asset("report.css"), asset("report.js")
    return render(
        "report.html.j2",
        contents,
        escape=None,
        style=Markup(style),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704 - the package's own file
        style_hash=_policy_hash(style),
        script_hash=_policy_hash(script),
        version=rt_flare.__version__,
    )


def _policy_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
