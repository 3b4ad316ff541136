"""Which configuration variables a copy of NVFlare reads, found in its source code without importing it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rt_flare.errors import ConfigError

__all__ = ["ConfigRead", "nvflare_root", "parse_module", "scan_config_reads"]

_GETTERS = {
    f"get_{kind}_var": kind for kind in ("int", "float", "bool", "str", "dict", "positive_int", "positive_float", "any")
}
_APPLICATION = "application_config"
_COMM_SECTION = "comm_config"
_SECTIONS = {"APPLICATION_CONF": _APPLICATION, "RESOURCES_CONF": "resources", "SERVER_CONF": "server"}
_COMM_CONFIG = "fuel/f3/comm_config.py"
_PREFIXES = ("np_", "tensor_")


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """One place that reads a configuration variable.

    Attributes:
        key: the variable.
        file: source file, relative to NVFlare's package.
        line: 1-based line of the call.
        kind: int, float, bool, str, dict, positive_int or positive_float.
        section: application_config (a job's configuration), resources, comm_config; "" for none: environment only.
        default: source text of the default; "" where there is none.
    """

    key: str
    file: str
    line: int
    kind: str
    section: str
    default: str


@dataclass
class _Module:
    """A parsed file: its constants by name and ``Class.name``."""

    file: str
    tree: ast.Module
    constants: dict[str, str] = field(default_factory=dict)


def nvflare_root() -> Path:
    """Return the folder of the installed NVFlare, without importing it.

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec("nvflare")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("nvflare is not installed here; pip install rt-flare brings it")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def parse_module(path: Path) -> ast.Module:
    """Parse a Python file; each file is read once."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def scan_config_reads(root: Path) -> list[ConfigRead]:
    """Return every read of a configuration variable below ``root``, in order of file and line.

    A variable whose name is built at run time from the exchange format counts with both prefixes, np_ and tensor_.
    A variable of comm_config.json counts where the accessor of its name is called, not where that is defined.
    """
    modules: list[_Module] = []
    shared: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "_var(" in text or "comm_config" in text or "class ConfigVarName" in text:
            module = _Module(path.relative_to(root).as_posix(), parse_module(path))
            module.constants = dict(_imported(module.tree, root)) | dict(_constants(module.tree))
            shared |= {name: value for name, value in module.constants.items() if "." in name}
            modules.append(module)
    accessors = {
        method.name: read.key
        for module in modules
        if module.file == _COMM_CONFIG
        for method in ast.walk(module.tree)
        if isinstance(method, ast.FunctionDef)
        for read in _reads(module, method, shared)
    }
    reads = [read for module in modules for read in _reads(module, module.tree, shared) if read.file != _COMM_CONFIG]
    for module in modules:
        for call in _calls(module.tree):
            if (name := _called(call)) in accessors:
                reads.append(
                    ConfigRead(accessors[name], module.file, call.lineno, "", _COMM_SECTION, _default(call, position=0))
                )
    return sorted(reads, key=lambda read: (read.file, read.line, read.key))


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{name}", value) for name, value in _assigned(node.body))
    yield from _assigned(tree.body)


def _imported(tree: ast.Module, root: Path) -> Iterator[tuple[str, str]]:
    """Constants that a file imports by name from another one of the package."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{root.name}."):
            source = root.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            wanted = {alias.name for alias in node.names if alias.name.isupper()}
            if wanted and source.is_file():
                yield from ((name, value) for name, value in _assigned(parse_module(source).body) if name in wanted)


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as value)):
                yield name, value


def _reads(module: _Module, scope: ast.AST, shared: Mapping[str, str]) -> Iterator[ConfigRead]:
    for call in _calls(scope):
        kind = _GETTERS.get(_called(call))
        if kind is None:
            continue
        name = _argument(call, 0, "name", "var_name")
        keys = _keys(name, module, shared) or _keys_of_callers(name, module, shared)
        section = _section(call, module)
        default = _default(call, position=2 if "ConfigService" in ast.unparse(call.func) else 1)
        yield from (ConfigRead(key, module.file, call.lineno, kind, section, default) for key in keys)


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(scope) if isinstance(node, ast.Call))


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    by_name = (keyword.value for keyword in call.keywords if keyword.arg in names)
    return next(by_name, call.args[position] if len(call.args) > position else None)


def _default(call: ast.Call, *, position: int) -> str:
    value = _argument(call, position, "default")
    return ast.unparse(value) if value is not None else ""


def _keys(name: ast.expr | None, module: _Module, shared: Mapping[str, str]) -> list[str]:
    match name:
        case ast.Constant(value=str() as key):
            return [key]
        case ast.Name(id=constant) if constant in module.constants:
            return [module.constants[constant]]
        case ast.Attribute(value=ast.Name(id=owner), attr=constant) if f"{owner}.{constant}" in shared:
            return [shared[f"{owner}.{constant}"]]
        case ast.Call(func=ast.Attribute(attr="_config_var_name"), args=[base]):
            return [prefix + key for key in _keys(base, module, shared) for prefix in _PREFIXES]
    return []


def _keys_of_callers(name: ast.expr | None, module: _Module, shared: Mapping[str, str]) -> list[str]:
    """The values of a parameter, as the same file's calls of its function give them."""
    if not isinstance(name, ast.Name):
        return []
    keys = []
    for function in (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef)):
        parameters = [argument.arg for argument in function.args.args]
        if function.name not in _GETTERS and name.id in parameters and any(node is name for node in ast.walk(function)):
            position = parameters.index(name.id)
            for call in _calls(module.tree):
                if _called(call) == function.name and len(call.args) > position:
                    keys += _keys(call.args[position], module, shared)
    return keys


def _section(call: ast.Call, module: _Module) -> str:
    owner = ast.unparse(call.func)
    if "ConfigService" not in owner:
        # The wrappers of app_config_utils, and a runner's methods around them; else a CommConfigurator.
        return _APPLICATION if owner.startswith(("acu.", "self.", "get_")) else _COMM_SECTION
    match _argument(call, 1, "conf"):
        case ast.Attribute(attr=name):
            return _SECTIONS.get(name, _COMM_SECTION if module.file == _COMM_CONFIG else "")
    return ""
