"""The results in what NVFlare's own command brought from a server."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from rt_flare.data.storage import open_storage
from rt_flare.jobs.job_results import JobResults, ResultFile
from rt_flare.jobs.results import downloaded_outcome, result_files

__all__ = ["DownloadedResults"]


class DownloadedResults(JobResults):
    """The results in a folder that ``nvflare job download`` wrote, read where they are.

    Args:
        folder: as for `downloaded_outcome`.

    Raises:
        JobError: there is no round summary in it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files = {place.as_posix(): file for place, file in result_files(downloaded_outcome(folder)).items()}

    def list(self) -> list[ResultFile]:
        """All files, in the order of their names."""
        return [ResultFile(name, file.stat().st_size) for name, file in sorted(self._files.items())]

    def _find(self, name: str) -> tuple[Any, str]:
        file = self._files.get(PurePosixPath(name).as_posix())
        if file is None:
            raise self._unknown(name)
        return open_storage(str(file))
