"""Secrets in files that are about to travel: keys, passwords, signed URLs. What was found is never shown."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rt_flare.jobs.check.finding import CheckFinding, error

__all__ = ["check_secrets", "files_that_travel", "secrets_in_text"]

_MAX_BYTES = 4 << 20
_NOT_TEXT = {".zip", ".pt", ".pth", ".npz", ".npy", ".png", ".jpg", ".jpeg", ".safetensors", ".parquet", ".pyc"}
_LEFT_OUT = {".git", ".venv", "venv", "__pycache__", ".ipynb_checkpoints", "node_modules", "shards"}
_KEY_FILES = re.compile(r"(id_(rsa|dsa|ecdsa|ed25519)|\.env|\.netrc|\.pgpass|.*\.(p12|pfx|jks|keystore))")

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("a PuTTY private key", re.compile(r"^PuTTY-User-Key-File-\d", re.MULTILINE)),
    ("an access key of AWS", re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])")),
    ("a signed URL", re.compile(r"[?&](?:X-Amz-Signature|X-Goog-Signature|Signature|sig)=[A-Za-z0-9%+/_=-]{16,}")),
    ("a password in a URL", re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"]+:(?![<{$*])[^\s/@'\"]{3,}@")),
    ("a token of GitHub", re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})")),
    ("a token of GitLab", re.compile(r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}")),
    ("a token of Hugging Face", re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}")),
    ("a token of Slack", re.compile(r"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10,}")),
    ("an API key", re.compile(r"(?<![A-Za-z0-9])sk-(?:[a-z]+-)*[A-Za-z0-9_-]{32,}")),
    (
        "a JSON web token",
        re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ),
)
_TELLING_NAME = (
    r"[\w.-]*(?:password|passwd|passphrase|secret(?!s?_(?:name|path|file))|api_?key|access_?key|auth_?token|access_?token|"
    r"private_?key)\w*"
)
_ASSIGNED = re.compile(rf"""(?i)(?P<name>{_TELLING_NAME})["']?\s*(?::\s*\w+\s*)?[=:]\s*["'](?P<value>[^"'\n]*)["']""")
_PLAIN = re.compile(
    rf"(?im)^\s*(?:export\s+)?(?P<name>{_TELLING_NAME})\s*[=:]\s*(?P<value>[^\s\"'#][^\s#]*)\s*(?:#.*)?$"
)
_PLACEHOLDER = re.compile(
    r"(?i)(|none|null|true|false|\.+|x+|\*+|-+|<.*>|\$.*|\{.*\}?|%.*%|your[-_ ].*|change[-_]?me|example.*|todo|"
    r"env:.*|os\.environ.*|getenv.*|.*[([].*)"
)
_FIX = (
    "Take it out of the file and out of what was shared already, and have a new one made; read it from the environment."
)


def check_secrets(files: Iterable[Path]) -> Iterator[CheckFinding]:
    """Secrets in files, by file and line; the secret itself is in no finding."""
    for path in files:
        if _KEY_FILES.fullmatch(path.name):
            fix = "Keep it elsewhere: everything in this folder travels."
            yield error("secret", path, "a file that is made to hold secrets", "none", fix)
        if path.suffix.lower() in _NOT_TEXT:
            continue
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode(errors="replace")
        if "\0" in text[:1024]:
            continue
        for what, line, name in secrets_in_text(text, code=path.suffix == ".py"):
            yield error("secret", path, what, "no secrets in what is sent to sites", _FIX, line=line, field=name)


def files_that_travel(folder: Path) -> list[Path]:
    """The files below a folder, without data, environments and caches."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(folder).parts[:-1])
    )


def secrets_in_text(text: str, *, code: bool = False) -> list[tuple[str, int, str]]:
    """(what, 1-based line, name it is given) of every secret in a text; ``code`` for Python source."""
    found: dict[int, tuple[str, int, str]] = {}
    for what, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            line = _line(text, match.start())
            found.setdefault(line, (what, line, ""))
    if code:
        assigned = _assigned_in_code(text)
    else:
        assigned = [
            (_line(text, match.start("name")), match["name"], match["value"])
            for pattern in (_ASSIGNED, _PLAIN)
            for match in pattern.finditer(text)
        ]
    for line, name, value in assigned:
        if len(value) >= 4 and not _PLACEHOLDER.fullmatch(value):
            found.setdefault(line, ("a literal value", line, name))
    return [found[line] for line in sorted(found)]


def _assigned_in_code(text: str) -> list[tuple[int, str, str]]:
    """Texts that Python source gives to names, keys and arguments that sound secret."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []  # reported as what it is by the check of the module
    pairs: list[tuple[str, ast.expr | None]] = []
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs += [(_name(target), value) for target in targets]
            case ast.AnnAssign(target=target, value=value):
                pairs.append((_name(target), value))
            case ast.keyword(arg=str(name), value=value):
                pairs.append((name, value))
            case ast.Dict(keys=keys, values=values):
                pairs += [(_name(key), value) for key, value in zip(keys, values, strict=True)]
    named = re.compile(_TELLING_NAME, re.IGNORECASE)
    return [
        (value.lineno, name, value.value)
        for name, value in pairs
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and named.fullmatch(name)
    ]


def _name(node: ast.expr | None) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant(value=str(name)) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
