"""Files written past the page cache hold what was written (T2)."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from rt_flare.core.direct_file import DirectWriter

BUFFER = 4 << 20


@pytest.mark.parametrize("folder", [None, Path("/dev/shm")], ids=["disk", "memory"])
@pytest.mark.parametrize(
    "sizes",
    [[], [0], [1], [BUFFER], [BUFFER + 1], [5, BUFFER - 5], [BUFFER - 1, 2], [3 * BUFFER + 17, 1, 4096]],
    ids=str,
)
def test_every_byte_arrives_in_its_place(tmp_path: Path, folder: Path | None, sizes: list[int]) -> None:
    """T2: whatever the pieces, with and without direct writes."""
    path = (folder or tmp_path) / f"rt-flare-test-{os.getpid()}"
    parts = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    try:
        with path.open("wb") as file:
            writer = DirectWriter(file)
            assert [writer.write(part) for part in parts] == sizes
            writer.finish()
            os.fsync(file.fileno())
        assert path.read_bytes() == b"".join(parts)
    finally:
        path.unlink()


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """T2: here a limit on the size of files."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BUFFER + 4096, limits[1]))
    try:
        with (tmp_path / "large").open("wb") as file, pytest.raises(OSError, match="File too large"):
            DirectWriter(file).write(bytes(3 * BUFFER))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
