"""docs/threat-model.md: every defence has a test that exists; and the tests that have no other place."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rt_flare.configs import FederationConfig
from rt_flare.errors import ConfigError
from rt_flare.jobs.config_lines import replace_values
from rt_flare.jobs.config_values import config_object
from rt_flare.jobs.hocon import read_hocon

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
SOURCES = [
    path for folder in ("rt_flare", "plugins") for path in (ROOT / folder).rglob("*.py") if "tests" not in path.parts
]
UNSAFE_CALLS = {"eval", "exec", "pickle.load", "pickle.loads", "marshal.loads", "os.system", "yaml.load"}


@cache
def _functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_every_test_that_the_page_names_exists(path: str, name: str) -> None:
    """X2: drift."""
    assert (ROOT / path).is_file()
    assert not name or name in _functions(path)


def test_every_attack_has_a_defence_and_a_test() -> None:
    """X2: no row without one."""
    attacks = PAGE.split("## What of a site's data")[0]
    rows = [line.split(" | ") for line in attacks.splitlines() if line.startswith("| ") and "attack | def" not in line]
    assert len(rows) > 35
    for attack, defence, test in rows:
        assert len(attack) > 10
        assert len(defence) > 5
        assert "`tests/" in test


def test_nothing_is_read_that_could_run() -> None:
    """M4, M8: no pickle; checkpoints are weights only; no text becomes code or a shell's command."""
    unsafe = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _could_run(node):
                unsafe.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert unsafe == []
    assert len(SOURCES) > 200


def _could_run(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    return (
        name in UNSAFE_CALLS
        or (name.endswith("torch.load") and options.get("weights_only") != "True")
        or options.get("allow_pickle", "False") != "False"
        or options.get("shell", "False") != "False"
    )


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "", "/etc", "a/b", "a\\b", "a\0b", "a\nb", "-rf", ".hidden", "x" * 65, "a b", "é"]
)
def test_no_name_of_a_job_leads_out_of_its_folder(name: str) -> None:
    """J7, C2."""
    with pytest.raises(ValidationError, match="job_name must be"):
        FederationConfig(job_name=name)


INJECTIONS = [
    '"\n}\ncomponents = []\n',
    "${HOME}",
    'x", path = "os.system',
    'include "/etc/passwd"',
    "a = 1\nb = 2",
    '"""',
    "# nothing more",
    "{NUM_ROUNDS}",
    "{$HOME}",
    "\\u0022}",
]


@pytest.mark.parametrize("value", INJECTIONS)
def test_no_value_becomes_configuration(tmp_path: Path, value: str) -> None:
    """M7, N1: in a rendered job and on a line of a template it stays one value, or is refused."""
    _stays_one_value(value, tmp_path / "hostile.conf")


@settings(max_examples=20, deadline=None)
@given(value=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_no_text_becomes_configuration(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """M7, N1: the same for any text."""
    _stays_one_value(value, tmp_path_factory.getbasetemp() / "hostile.conf")


def _stays_one_value(value: str, path: Path) -> None:
    try:
        assert json.loads(json.dumps(config_object({"label": value}, "model_args"))) == {"label": value}
    except ConfigError:
        assert set(value) & set("{}")
    try:
        changed = replace_values("# One.\nONE = 1\n# Two.\nTWO = 2\n", {"ONE": value}, "x.conf")
    except ConfigError:
        return
    path.write_text(changed, encoding="utf-8")
    assert read_hocon(path) == {"ONE": value, "TWO": 2}
