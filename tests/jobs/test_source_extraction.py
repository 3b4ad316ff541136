"""From objects to a module that stands alone: imported files, scripts, notebooks (C5, M7)."""

from __future__ import annotations

import ast
import importlib
import json
import linecache
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ContractError
from rt_flare.jobs.check.module_text import undefined_names
from rt_flare.jobs.executed_cells import ExecutedSource
from rt_flare.jobs.needed_definitions import collect_definitions
from rt_flare.jobs.source_extraction import ExtractedSource, extract_model_def

Run = Callable[..., dict[str, Any]]


class _Shell:
    """What the extraction asks of IPython."""

    def __init__(self) -> None:
        self.history_manager = self
        self.input_hist_parsed = [""]

    def get_ipython(self) -> _Shell:
        return self


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Executes texts as cells of a notebook and returns its variables."""
    main, shell = ModuleType("__main__"), _Shell()
    vars(main)["get_ipython"] = shell.get_ipython
    monkeypatch.setitem(sys.modules, "__main__", main)

    def run(*texts: str) -> dict[str, Any]:
        for text in texts:
            shell.input_hist_parsed.append(text)
            name = f"<cell {len(shell.input_hist_parsed)}>"
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
            exec(compile(text, name, "exec"), vars(main))
        return vars(main)

    yield run
    for name in [name for name in linecache.cache if name.startswith("<cell ")]:
        del linecache.cache[name]


TRAIN = "def fl_train_model(payload, out_dir, logger=None):\n    return make(payload)\n"


def _executed(extracted: ExtractedSource) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "model_def"}
    exec(compile(extracted.text, "model_def.py", "exec"), namespace)
    return namespace


def test_what_other_cells_define_comes_along(cells: Run) -> None:
    """C5: imports, constants, functions and base classes, in an order that can be executed."""
    found = cells(
        "import json as j\nfrom math import sqrt, pi\nimport os",
        "WIDTH = 2 ** 4\nUNUSED = object()",
        "class Base:\n    width = WIDTH\n",
        "def root(x):\n    return sqrt(x) + j.loads('1')",
        "class Net(Base):\n    def size(self):\n        return root(self.width)",
        "def make(payload):\n    return Net().size()\n\n" + TRAIN,
    )
    extracted = extract_model_def(found["Net"])
    assert _executed(extracted)["fl_train_model"]({}, "") == 5.0
    assert extracted.model_path == "model_def.Net"
    assert "WIDTH = 16" in extracted.text
    assert "WIDTH has the value 16 that it has now" in extracted.notes
    assert not {"UNUSED", "import os", "pi"} & {line.strip() for line in extracted.text.splitlines()}
    assert "object" not in extracted.text


def test_the_cell_that_was_executed_last_counts(cells: Run) -> None:
    """C5."""
    found = cells(
        "class Net:\n    def one(self): return 1",
        "def make(payload): return Net().one()\n" + TRAIN,
        "class Net:\n    def one(self): return 2",
    )
    assert _executed(extract_model_def(found["Net"]))["fl_train_model"]({}, "") == 2


def test_a_base_class_that_uses_its_subclass_still_comes_first(cells: Run) -> None:
    """C5."""
    found = cells(
        "class Base:\n    def copy(self): return Net()",
        "class Net(Base):\n    pass",
        "def make(payload): return type(Net().copy()).__name__\n" + TRAIN,
    )
    assert _executed(extract_model_def(found["Net"]))["fl_train_model"]({}, "") == "Net"


def test_a_training_function_of_another_name_is_given_the_right_one(cells: Run) -> None:
    """C5: and the validation function comes along."""
    found = cells(
        "class Net: pass",
        "def my_training(payload, out_dir, logger=None): return 3",
        "def fl_validate_model(payload, out_dir, logger=None): return {}",
    )
    extracted = extract_model_def(found["Net"], found["my_training"])
    assert _executed(extracted)["fl_train_model"]({}, "") == 3
    assert "fl_validate_model" in _executed(extracted)
    assert extracted.notes == ("my_training is called fl_train_model in the job",)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["class Net:\n    def f(self): return nn.x", TRAIN.replace("make(payload)", "1")],
            "Net: found the name 'nn', which",
        ),
        (
            [
                "data = open(__import__('os').devnull)",
                "class Net:\n    x = lambda self: data",
                TRAIN.replace("make", "len"),
            ],
            "Net: found 'data', a TextIOWrapper of another cell",
        ),
        (["class Net: pass"], "found no fl_train_model"),
        (["def outer():\n    class Net: pass\n    return Net\nNet = outer()", TRAIN], "inside another one"),
        (["class Net: pass", TRAIN], "fl_train_model: found the name 'make', which is defined nowhere"),
    ],
    ids=["imported nowhere", "no constant", "no training function", "inside a function", "used by the training"],
)
def test_what_cannot_come_along_is_named(cells: Run, texts: list[str], message: str) -> None:
    """C5, C6: before anything leaves."""
    found = cells(*texts)
    with pytest.raises(ContractError, match=message):
        extract_model_def(found["Net"])


def test_an_imported_modules_file_is_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5, M7: with the modules beside it."""
    text = f"from extraction_parts import make\n\nclass Net:\n    pass\n\n{TRAIN}"
    (tmp_path / "extraction_model.py").write_text(text)
    (tmp_path / "extraction_parts.py").write_text("def make(payload):\n    return 4\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("extraction_model")
    extracted = extract_model_def(module.Net)
    assert extracted.text == text
    assert list(extracted.modules) == ["extraction_parts.py"]
    for name in ("extraction_model", "extraction_parts"):
        del sys.modules[name]


def test_a_script_gives_what_is_needed_and_nothing_that_runs(tmp_path: Path) -> None:
    """C5: what the script does beside its definitions would run at every site."""
    script = f"""
import json
from rt_flare.jobs.source_extraction import extract_model_def
WIDTH = 3
class Net:
    width = WIDTH
def make(payload):
    return Net.width
{TRAIN}
if __name__ == "__main__":
    extracted = extract_model_def(Net, fl_train_model)
    print(json.dumps(extracted.text))
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    text = json.loads(done.stdout)
    assert "extract_model_def" not in text
    assert undefined_names(ast.parse(text), "model_def.py") == []


_NAMES = ["alpha", "beta", "gamma", "delta", "epsilon"]


@given(
    st.lists(st.lists(st.sampled_from(_NAMES), max_size=3), min_size=5, max_size=5),
    st.permutations(range(5)),
)
def test_any_functions_that_call_one_another_come_along_whole(calls: list[list[str]], order: list[int]) -> None:
    """C5: whatever the order of their cells."""
    texts = [
        f"def {_NAMES[index]}(depth):\n    return [depth] + ([] if depth > 2 else sum(["
        + ", ".join(f"{other}(depth + 1)" for other in calls[index])
        + "], []))\n"
        for index in order
    ]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for text in texts:
        exec(text, namespace)
    sources = [ExecutedSource("", text, ast.parse(text)) for text in texts]
    collected = collect_definitions(["alpha"], namespace, sources)
    again: dict[str, Any] = {}
    exec(collected.text, again)
    assert again["alpha"](0) == namespace["alpha"](0)
    assert undefined_names(ast.parse(collected.text), "x") == []


_CONSTANTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(), items, max_size=3) | st.tuples(items, items),
    max_leaves=8,
)


@given(_CONSTANTS)
def test_constants_arrive_as_they_are(value: Any) -> None:
    """C5."""
    text = "def read():\n    return VALUE\n"
    namespace: dict[str, Any] = {"__name__": "__main__", "VALUE": value}
    exec(text, namespace)
    again: dict[str, Any] = {}
    exec(collect_definitions(["read"], namespace, [ExecutedSource("", text, ast.parse(text))]).text, again)
    assert again["read"]() == value


@pytest.mark.slow
def test_a_notebook_that_nbclient_executes_gives_a_checked_module(tmp_path: Path) -> None:
    """C5, C6: model and training function in cells of a real kernel."""
    import nbformat
    from nbclient import NotebookClient

    sources = [
        "import torch\nfrom torch import nn",
        "%time WIDTH = 4",
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = nn.Linear(WIDTH, 2)",
        "def fl_train_model(payload, out_dir, logger=None):\n    model = Net()\n"
        "    model.load_state_dict(payload['initial_weights'])\n"
        "    return {'weights': model.state_dict(), 'samples': len(payload['dataset']), 'metrics': {}}",
        "from rt_flare.jobs.source_extraction import extract_model_def\n"
        "from rt_flare.jobs.check.offline_check import check_path\n"
        "from rt_flare.jobs.check.options import CheckOptions\nfrom pathlib import Path\n"
        "extracted = extract_model_def(Net, fl_train_model)\n"
        "Path('model_def.py').write_text(extracted.text)\n"
        "report = check_path(Path('model_def.py'), CheckOptions(model='Net'))\n"
        "print(extracted.model_path, [str(f) for f in report.findings])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert notebook.cells[-1].outputs[-1].text.strip() == "model_def.Net []"
    assert "WIDTH = 4" in (tmp_path / "model_def.py").read_text()
