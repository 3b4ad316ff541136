"""Configuration text of others: what in it would be taken from this machine, or from anywhere, when it is parsed."""

from __future__ import annotations

import re

from rt_flare.errors import ConfigError

__all__ = ["refuse_outside_references"]

_STRING_OR_COMMENT = re.compile(r'"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|(?:#|//)[^\n]*')
_INCLUDE = re.compile(r"(?<![\w.-])include\s*(?:\"\"|(?:url|file|package|classpath|required)\s*\()")
_REFERENCE = re.compile(r"\$\{\s*\??\s*([^}\s]*)")


def refuse_outside_references(text: str, where: str) -> None:
    """Refuse HOCON that reads other files, addresses, or the environment: its parser would, wherever it is read.

    References to what the text itself defines are fine.

    Raises:
        ConfigError: with what was found.
    """
    bare = _STRING_OR_COMMENT.sub(lambda found: '""' if found[0].startswith('"') else "", text)
    if _INCLUDE.search(bare):
        raise ConfigError(f"{where}: found an include, expected one file that says all: copy what is included into it")
    for name in _REFERENCE.findall(bare):
        first = name.strip('"').split(".")[0]
        if not first or not re.search(rf'(?<![\w.$-])"?{re.escape(first)}"?[\w."-]*\s*(?:\+?=|:|\{{)', text):
            raise ConfigError(
                f"{where}: found ${{{name[:100]}}}, which the file does not define: it would be taken from the "
                "environment of whoever reads it. Write the value"
            )
