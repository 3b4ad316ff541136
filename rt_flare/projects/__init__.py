"""Projects to begin with, one folder for each kind of data: `rt-flare init` copies it and makes its data.

The files in the folders are the user's once they are copied: they need rt_flare and PyTorch alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

from rt_flare.core.durable_io import write_bytes
from rt_flare.errors import DataError, JobError

__all__ = ["ProjectKind", "create_project"]

_MAKE_DATA_SECONDS = 120


class ProjectKind(StrEnum):
    """What a project trains on."""

    IMAGES = "images"
    TABULAR = "tabular"
    TEXT = "text"
    CUSTOM = "custom"


def create_project(kind: ProjectKind, folder: Path) -> list[Path]:
    """Write a project into ``folder`` and make its data with its own ``make_data.py``.

    Args:
        kind: what it trains on.
        folder: new or empty.

    Returns:
        The project's files, without the shards.

    Raises:
        JobError: ``folder`` holds something.
        DataError: ``make_data.py`` failed.
    """
    if folder.exists() and (not folder.is_dir() or os.listdir(folder)):  # noqa: PTH208
        raise JobError(f"{folder}: exists and is not empty; choose another folder or remove it")
    home = Path(__file__).parent / kind.value
    written = []
    for path in sorted(path for path in home.iterdir() if path.is_file()):
        write_bytes(folder / path.name, path.read_bytes())
        written.append(folder / path.name)
    try:
        subprocess.run(
            [sys.executable, "make_data.py"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_MAKE_DATA_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise DataError(f"{folder / 'make_data.py'} failed: {error.stderr.strip()[-2000:]}") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{folder / 'make_data.py'} took longer than {_MAKE_DATA_SECONDS} s") from error
    return written
