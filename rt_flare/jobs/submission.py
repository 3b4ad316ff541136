"""How a job is to be run on this machine: the file that the process which runs it reads."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.durable_io import read_document, write_json
from rt_flare.errors import JobError

__all__ = ["SUBMISSION_FILE", "Submission", "read_submission", "write_submission"]

SUBMISSION_FILE = "submission.json"
_SCHEMA = "rt_flare.submission/1"


class Submission(BaseModel):
    """A job that was submitted. Holds no secret: credentials stay in the environment.

    Attributes:
        name: the job's name.
        where: ``simulator``, ``poc`` or ``kit``.
        kit: the administrator's startup kit, for ``kit``.
        sites: names of the sites; the n-th one has ``client_{n}.log``.
        min_clients: sites that the job needs.
        results_url: folder in a storage that the results are copied to; "" for none.
        submitted_at: see `JobStatus`.
        resumed_from: ids of the jobs that it continues, newest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    where: str
    kit: str | None = None
    sites: tuple[str, ...] = Field(min_length=1)
    min_clients: int = Field(default=1, ge=1)
    results_url: str = ""
    submitted_at: str
    resumed_from: tuple[str, ...] = ()


def write_submission(folder: Path, submission: Submission) -> None:
    """Write ``submission.json`` into a job's folder, atomically."""
    write_json(folder / SUBMISSION_FILE, {"schema": _SCHEMA, **submission.model_dump(mode="json")})


def read_submission(folder: Path) -> Submission:
    """Read ``submission.json``.

    Raises:
        JobError: there is none, or it is no such document.
    """
    path = folder / SUBMISSION_FILE
    try:
        return Submission.model_validate(read_document(path, _SCHEMA))
    except FileNotFoundError as error:
        raise JobError(f"{folder}: no {SUBMISSION_FILE}, expected the folder of a submitted job") from error
    except ValueError as error:
        raise JobError(f"{path}: expected a {_SCHEMA} document: {error}") from error
