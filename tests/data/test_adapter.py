"""The adapter contract (P1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from rt_flare.data.adapter import DatasetAdapter


def test_an_adapter_must_open(tmp_path: Path) -> None:
    """P1"""

    class Incomplete(DatasetAdapter):
        name: ClassVar[str] = "incomplete"

    with pytest.raises(TypeError, match=r"abstract method '?open'?"):
        Incomplete()  # type: ignore[abstract]


def test_the_number_of_samples_is_unknown_unless_an_adapter_says_it(tmp_path: Path) -> None:
    """P1, M11"""

    class Unknown(DatasetAdapter):
        name: ClassVar[str] = "unknown"

        def open(self, data_root: Path, **rest: Any) -> Any:
            return [data_root]

    assert Unknown().count_samples(tmp_path, manifest_file="manifest.ndjson") is None
