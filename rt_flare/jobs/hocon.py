"""Reading a configuration file as NVFlare does: HOCON, of which JSON is a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyhocon import ConfigFactory
from pyhocon.exceptions import ConfigException
from pyparsing import ParseBaseException

from rt_flare.core.hocon_text import refuse_outside_references
from rt_flare.errors import ConfigError

__all__ = ["read_hocon"]


def read_hocon(path: Path) -> dict[str, Any]:
    """Read a ``.conf`` or ``.json`` file whose top level is an object.

    Raises:
        ConfigError: the file cannot be read or parsed, or wants something from outside of it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        refuse_outside_references(text, str(path))
        tree = ConfigFactory.parse_string(text)
        plain = tree.as_plain_ordered_dict()
    except (OSError, UnicodeDecodeError, AttributeError, ConfigException, ParseBaseException) as error:
        # A list at the top level gives an AttributeError.
        raise ConfigError(f"{path}: expected an object in HOCON or JSON: {error}") from error
    return {str(key): value for key, value in plain.items()}
