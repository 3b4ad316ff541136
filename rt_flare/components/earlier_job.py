"""Where a server keeps an earlier job of the same submitter: in its workspace, or in NVFlare's store of ended jobs."""

from __future__ import annotations

import importlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey, get_job_meta_study
from nvflare.apis.storage import WORKSPACE, StorageException, StorageSpec
from nvflare.apis.utils.format_check import check_job_id
from nvflare.apis.workspace import Workspace

from rt_flare.components.site import run_dir, workspace_of
from rt_flare.core.durable_io import read_json
from rt_flare.core.earlier_run import EarlierRun, read_earlier_run
from rt_flare.errors import ResumeError

__all__ = ["earlier_run_dir", "open_earlier_run"]

_OWNER = (JobMetaKey.SUBMITTER_NAME.value, JobMetaKey.SUBMITTER_ORG.value)
_WANTED = ("files_out/", "model_out/", "log.txt")


def open_earlier_run(fl_ctx: FLContext, job_ids: Sequence[str], stack: ExitStack) -> EarlierRun:
    """Find the newest of ``job_ids`` with a complete round. Its files are there until ``stack`` is closed.

    When none has one, and the oldest of them is there to show that it had none either, that is what is returned.
    NVFlare moves the run folder of a job that ended into its job store. That of a job whose server was killed stays in
    the workspace.

    Raises:
        ResumeError: the server has none of them, or they are not the submitter's own, or nothing of them is whole.
    """
    problems = []
    oldest: EarlierRun | None = None
    for job_id in job_ids:
        try:
            oldest = read_earlier_run(earlier_run_dir(fl_ctx, job_id) or _archived(fl_ctx, job_id, stack))
        except ResumeError as error:
            oldest = None
            problems.append(f"job {job_id}: {error}")
            continue
        if oldest.start_round:
            return oldest
        problems.append(f"job {job_id}: no round was complete")
    if oldest is not None:
        return oldest
    raise ResumeError(f"nothing to resume from: {'; '.join(problems)}")


def earlier_run_dir(fl_ctx: FLContext, job_id: str) -> Path | None:
    """The folder that an earlier job has left in this site's or server's workspace; None when there is none.

    Raises:
        ResumeError: ``job_id`` is no id of a job, or the job belongs to somebody else.
    """
    workspace = workspace_of(fl_ctx)
    try:
        folder = Path(workspace.get_run_dir(job_id))
    except ValueError as error:
        raise ResumeError(f"no id of a job: {error}") from error
    meta = folder / "meta.json"
    if not meta.is_file():
        return None
    _check_owner(read_json(meta), fl_ctx)
    return folder


def _archived(fl_ctx: FLContext, job_id: str, stack: ExitStack) -> Path:
    check_job_id(job_id)
    store, root = _job_store(workspace_of(fl_ctx))
    uri = os.path.join(root, job_id)  # noqa: PTH118 - an address in the store
    try:
        meta = store.get_meta(uri)
    except StorageException as error:
        raise ResumeError(f"neither in the server's workspace nor in its job store: {error}") from error
    _check_owner(meta, fl_ctx)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=run_dir(fl_ctx), prefix=".earlier_")))
    archive = folder / "workspace.zip"
    store.get_data_for_download(uri, WORKSPACE, str(archive))
    if not archive.is_file():
        raise ResumeError("the server's job store holds no results of it")
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            if entry.filename.startswith(_WANTED):
                content.extract(entry, folder)
    return folder


def _job_store(workspace: Workspace) -> tuple[StorageSpec, str]:
    """NVFlare's job store, which a job's process is not given, made anew from the server's own configuration."""
    resources = read_json(Path(workspace.get_resources_file_path() or ""))
    components = {entry.get("id"): entry for entry in resources.get("components", [])}
    manager = components.get("job_manager", {}).get("args", {})
    entry = components.get(manager.get("job_store_id", "job_store"), {})
    module, _, name = str(entry.get("path", "")).rpartition(".")
    try:
        store = getattr(importlib.import_module(module), name)(**entry.get("args", {}))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ResumeError(f"not in the server's workspace, and its job store cannot be opened: {error}") from error
    return store, os.environ.get("NVFL_JOB_STORE_ROOT") or str(manager.get("uri_root", "jobs"))


def _check_owner(earlier: dict[str, Any], fl_ctx: FLContext) -> None:
    own = read_json(Path(workspace_of(fl_ctx).get_job_meta_path(fl_ctx.get_job_id())))
    if get_job_meta_study(earlier) != get_job_meta_study(own):
        raise ResumeError("it belongs to another study, expected one of the same")
    if any(earlier.get(key, "") != own.get(key, "") for key in _OWNER):
        raise ResumeError("somebody else has submitted it, expected a job of the same submitter")
