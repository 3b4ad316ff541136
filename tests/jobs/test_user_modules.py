"""Which files a user's module needs beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt_flare.errors import JobError
from rt_flare.jobs.user_modules import sibling_modules


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "model_def.py"


def test_imports_are_followed_from_file_to_file(tmp_path: Path) -> None:
    """M7: also inside functions, and in circles."""
    module = _write(
        tmp_path,
        model_def="import torch\nfrom my_first import x\n",
        my_first="def f():\n    import my_second\n",
        my_second="import my_first, model_def\n",
        my_unused="",
    )
    assert list(sibling_modules(module)) == ["model_def.py", "my_first.py", "my_second.py"]


def test_a_package_is_taken_whole(tmp_path: Path) -> None:
    """M7."""
    module = _write(
        tmp_path, model_def="import my_pkg.a\n", my_pkg__a="import my_other\n", my_pkg__sub__b="", my_other=""
    )
    (tmp_path / "my_pkg" / "__init__.py").touch()
    (tmp_path / "my_pkg" / "__pycache__").mkdir()
    (tmp_path / "my_pkg" / "__pycache__" / "a.py").touch()
    assert list(sibling_modules(module)) == ["my_other.py", "my_pkg/__init__.py", "my_pkg/a.py", "my_pkg/sub/b.py"]


def test_a_folder_of_data_is_no_package(tmp_path: Path) -> None:
    """M7."""
    module = _write(tmp_path, model_def="import my_data\n", my_data__convert="")
    assert sibling_modules(module) == {}


def test_a_file_that_is_no_python_is_named_with_its_line(tmp_path: Path) -> None:
    """C6."""
    with pytest.raises(JobError, match=r"model_def\.py:2: no valid Python"):
        sibling_modules(_write(tmp_path, model_def="x = 1\ndef f(:\n"))


@pytest.mark.parametrize("name", ["random", "torch"])
def test_a_name_that_the_sites_would_take_from_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """M7: NVFlare puts a job's folder at the end of the search path."""
    with pytest.raises(JobError, match="rename yours"):
        sibling_modules(_write(tmp_path, model_def=f"import {name}\n", **{name: ""}))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """M7."""
    module = _write(tmp_path / "job", model_def="import my_link\n")
    (tmp_path / "secret.py").touch()
    (tmp_path / "job" / "my_link.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(JobError, match="a link that leads out"):
        sibling_modules(module)
