"""Where things are at a site, server or client, as NVFlare's context tells."""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace

__all__ = ["code_dir", "local_dir", "run_dir", "workspace_of"]


def run_dir(fl_ctx: FLContext) -> Path:
    """The site's own folder of the running job."""
    return Path(workspace_of(fl_ctx).get_run_dir(fl_ctx.get_job_id())).resolve()


def code_dir(fl_ctx: FLContext) -> Path | None:
    """The folder of the job's custom code at this site; None when the job carries none."""
    folder = Path(workspace_of(fl_ctx).get_app_custom_dir(fl_ctx.get_job_id())).resolve()
    return folder if folder.is_dir() else None


def local_dir(fl_ctx: FLContext) -> Path:
    """The site's folder for its administrator's own settings, which no job writes to."""
    return Path(workspace_of(fl_ctx).get_site_config_dir()).resolve()


def workspace_of(fl_ctx: FLContext) -> Workspace:
    """The site's folders, as NVFlare names them."""
    return fl_ctx.get_engine().get_workspace()
