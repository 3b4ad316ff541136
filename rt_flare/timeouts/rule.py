"""Values that depend on the deployment: arithmetic over the number of sites, the model's size and the bandwidth."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from rt_flare.errors import ConfigError

__all__ = ["RULE_NAMES", "evaluate_rule", "names_in_rule"]

RULE_NAMES: Mapping[str, str] = {
    "num_sites": "number of sites",
    "model_bytes": "bytes of one update",
    "bytes_per_second": "bandwidth of the server in bytes per second",
    "accept_seconds": "seconds that the server takes to add one update",
}
"""What a rule can use, and what it stands for."""

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"max": max, "min": min, "ceil": math.ceil, "floor": math.floor}


def names_in_rule(rule: str) -> frozenset[str]:
    """Return which of `RULE_NAMES` a rule uses.

    Raises:
        ConfigError: it is no arithmetic of numbers, these names, ``+ - * /`` and max, min, ceil, floor.
    """
    names = frozenset(node.id for node in ast.walk(_parse(rule)) if isinstance(node, ast.Name)) - _FUNCTIONS.keys()
    evaluate_rule(rule, dict.fromkeys(names, 1.0))
    return names


def evaluate_rule(rule: str, values: Mapping[str, float]) -> float:
    """Return the value of a rule; an int stays an int.

    Raises:
        ConfigError: it is no such arithmetic, divides by zero, or uses a name that ``values`` lacks.
    """
    try:
        result = _value(_parse(rule).body, values, rule)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ConfigError(f"rule {rule!r}: {error}") from error
    if not math.isfinite(result):
        raise ConfigError(f"rule {rule!r}: gives {result}, expected a finite number")
    return result


def _parse(rule: str) -> ast.Expression:
    try:
        return ast.parse(rule, mode="eval")
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"rule {rule!r}: expected arithmetic such as 'max(0.5, num_sites / 100)'") from error


def _value(node: ast.expr, values: Mapping[str, float], rule: str) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in RULE_NAMES and name in values:
            return values[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, values, rule), _value(right, values, rule))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS and arguments:
            evaluated: list[Any] = [_value(argument, values, rule) for argument in arguments]
            return _FUNCTIONS[name](*evaluated)
    found = ast.unparse(node)
    allowed = f"numbers, {', '.join(RULE_NAMES)}, + - * / and {', '.join(_FUNCTIONS)}"
    raise ConfigError(f"rule {rule!r}: found {found!r}, expected {allowed}")
