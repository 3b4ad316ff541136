"""Sizes and speeds as people write them: ``110M`` parameters, ``400MB``, ``50Mbps``."""

from __future__ import annotations

import math
import re

from rt_flare.errors import ConfigError

__all__ = [
    "DTYPE_BYTES",
    "format_bytes",
    "format_seconds",
    "parse_bandwidth",
    "parse_bytes",
    "parse_count",
]

DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int8": 1}
"""Bytes of one parameter, by the name of its type."""

_NUMBER = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[A-Za-z/]*)\s*")
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BYTES = {f"{prefix}b": factor for prefix, factor in _DECIMAL.items()} | {
    f"{prefix}ib": 1 << shift for prefix, shift in (("k", 10), ("m", 20), ("g", 30), ("t", 40))
}


def parse_count(text: str) -> int:
    """Return a number of parameters: ``110M`` is 110 million, ``7B`` is 7 billion.

    Raises:
        ConfigError: another form, or less than one.
    """
    number, unit = _split(text, "a number of parameters such as 110M, 1.5B or 4000")
    if unit.lower() not in _COUNTS:
        raise ConfigError(f"parameters: found {text!r}, expected a number with k, M, B or T, such as 110M")
    return _at_least_one(number * _COUNTS[unit.lower()], text, "parameters")


def parse_bytes(text: str) -> int:
    """Return a size in bytes: ``400MB`` is 400 million, ``64MiB`` is 64 x 1024 x 1024, ``512`` is 512.

    Raises:
        ConfigError: another form, or less than one byte.
    """
    number, unit = _split(text, "a size such as 400MB, 64MiB or 1000000")
    if unit and unit.lower() not in _BYTES:
        raise ConfigError(f"size: found {text!r}, expected B, kB, MB, GB, TB or KiB, MiB, GiB, TiB behind the number")
    if unit.endswith("b"):
        raise ConfigError(f"size: found {text!r}; a small b stands for bits; expected a size in bytes, such as 400MB")
    return _at_least_one(number * (_BYTES[unit.lower()] if unit else 1), text, "size")


def parse_bandwidth(text: str) -> float:
    """Return a speed in bytes per second: ``50Mbps`` and ``50Mbit/s`` are 6.25 million, ``10MB/s`` is 10 million.

    Raises:
        ConfigError: another form, or zero. The letter decides: b is a bit, B a byte.
    """
    expected = "a speed such as 50Mbps, 1Gbit/s or 10MB/s"
    number, unit = _split(text, expected)
    match = re.fullmatch(r"([kKmMgGtT]?)(i?)(bps|bit/s|b/s|Bps|B/s)", unit)
    if match is None or (match[2] and not match[1]):
        raise ConfigError(f"bandwidth: found {text!r}, expected {expected}")
    prefix = match[1].lower()
    factor = _BYTES[f"{prefix}ib"] if match[2] else _DECIMAL[prefix]
    speed = number * factor / (1 if match[3].startswith("B") else 8)
    if not 0 < speed < math.inf:
        raise ConfigError(f"bandwidth: found {text!r}, expected more than zero")
    return speed


def format_bytes(size: float) -> str:
    """Return a size for people, in decimal units with three digits: ``440 MB``."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor * 0.9995:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.3g} B"


def format_seconds(seconds: float) -> str:
    """Return a duration for people: ``14 min 5 s``, ``0.25 s``."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def _split(text: str, expected: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ConfigError(f"found {text!r}, expected {expected}")
    return float(match["number"]), match["unit"]


def _at_least_one(value: float, text: str, what: str) -> int:
    if not 1 <= value < 1 << 63:
        raise ConfigError(f"{what}: found {text!r}, expected at least 1 and less than 2**63")
    return round(value)
