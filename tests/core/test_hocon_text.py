"""Configuration of others takes nothing from the machine that reads it."""

from __future__ import annotations

import pytest

from rt_flare.core.hocon_text import refuse_outside_references
from rt_flare.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        "name = ${FSSPEC_S3_SECRET}",
        "name = ${?HOME}",
        'name = "a"${HOME}',
        "other = ${a.b}, x = 1",
        'include "/etc/passwd"',
        'a = 1\n  include file("/etc/passwd")',
        '{ include url("http://169.254.169.254/latest") }',
        'a { include required(file("x")) }',
        'include"x"',
        "x = ${}",
    ],
)
def test_what_leads_outside_is_refused(text: str) -> None:
    """N1, C3: environment, files and addresses; the value is not read, and so never shown."""
    with pytest.raises(ConfigError, match=r"found an include|found \$"):
        refuse_outside_references(text, "meta.conf")


@pytest.mark.parametrize(
    "text",
    [
        "ROUNDS = 5\nrounds = ${ROUNDS}",
        '"a" { b = 1 }\nc = ${a.b}',
        "a.b = 1\nc = ${a.b}",
        'info = "what it will include: \\"x\\" and ${HOME}"',
        '# include "x"\n// ${HOME}\na = 1',
        'text = """${HOME} include "x" """',
        "include_files = true\nincludes = [1]",
        'path = "{ROOT}"',
    ],
)
def test_what_stays_inside_is_fine(text: str) -> None:
    """N1"""
    refuse_outside_references(text, "meta.conf")
