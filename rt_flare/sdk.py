"""From a model and shards to a running job in one call."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt_flare.configs import FederationConfig, ResonTechConfig, TrainingConfig
from rt_flare.errors import ConfigError
from rt_flare.jobs.destination import Destination, parse_destination
from rt_flare.jobs.submitted_job import Job

if TYPE_CHECKING:
    from rt_flare.data.verify_report import VerifyReport

__all__ = ["ResonTech"]


class ResonTech:
    """Builds and submits jobs.

    Args:
        config: where jobs go; None takes the defaults: NVFlare's simulator, and ``jobs/`` in the working folder.
    """

    def __init__(self, config: ResonTechConfig | None = None) -> None:
        self.config = config or ResonTechConfig()

    def rt_submit(
        self,
        *,
        model: Path | str | type | Callable[..., Any] | None,
        train: Callable[..., Any] | None = None,
        name: str | None = None,
        shards_dir: Path | str = "",
        training: TrainingConfig | None = None,
        federation: FederationConfig | None = None,
        executor: type | str | None = None,
        persistor: type | str | None = None,
        model_checkpoint: Path | str | None = None,
        requirements_txt: Path | str | None = None,
        where: str | Path | None = None,
        sites: Sequence[str] | None = None,
        check: bool = True,
        **options: Any,
    ) -> Job:
        """Check, build, send the shards to the storage where there is one, submit, and return the job.

        The job outlives this process: ``Job.open("jobs/NAME")`` finds it again.

        Args:
            model: path of a ``model_def.py``; or the model's class or factory function, from a module, a script or the
                cells of a notebook (see `extract_model_def`); None for a job whose code is installed at the sites.
            train: the training function, where ``model`` is a class; None takes ``fl_train_model`` or ``fl_train``
                from beside it.
            name: the job's name; None takes ``federation.job_name``.
            shards_dir: folder with ``shard_0001.zip`` and on, one per site; or the URL of one in a storage.
            training: what every site trains with.
            federation: how the sites work together.
            executor: NVFlare executor in place of rt_flare's: a class of a module, whose source goes along, or the
                dotted path of one that is installed at the sites.
            persistor: the same for the persistor.
            model_checkpoint: state dict to start from.
            requirements_txt: what the user's code needs; must be installed here, and goes along for the sites'
                administrators to see: a job installs nothing.
            where: ``simulator``, ``poc``, the folder of a deployment or of an administrator's startup kit; None takes
                ``config.base_url``.
            sites: names of the sites, in the order of their shards; None takes ``site-1`` and on, and on a server
                those that are connected.
            check: look for every mistake that can be found here first (see `check_path`), with one batch of training
                in a child process.
            options: what else `render_job` takes: ``adapter``, ``model_args``, ``template``, ...

        Raises:
            ConfigError, ContractError, JobError, DataError: something cannot work; nothing has been sent.
            StorageError: the shards could not be uploaded.
            LinkError, AccessError: the server does not answer, or refuses.
        """
        from rt_flare.jobs.admin_connection import AdminConnection
        from rt_flare.jobs.deployed_job import connected_sites
        from rt_flare.jobs.submit import submit_job

        destination = self._destination(where)
        named = sites
        if named is None and destination.kit is not None:
            with AdminConnection(destination.kit) as connection:
                named = connected_sites(connection)
        folder = self.job_folder(_name(name, federation))
        read_shards: list[VerifyReport] = []
        if check:
            options["on_shards"] = read_shards.append
        job = self.build(
            out=folder / "job",
            model=model,
            train=train,
            name=name,
            shards_dir=shards_dir,
            training=training,
            federation=federation,
            executor=executor,
            persistor=persistor,
            model_checkpoint=model_checkpoint,
            requirements_txt=requirements_txt,
            where=where,
            sites=named,
            **options,
        )
        if check:
            from rt_flare.jobs.check.offline_check import refuse_errors
            from rt_flare.jobs.check.options import CheckOptions

            refuse_errors(job, CheckOptions(shard_report=read_shards[0] if read_shards else None))
        url = self._job_url(_name(name, federation))
        if url and shards_dir and "://" not in str(shards_dir):
            from rt_flare.data.upload import upload_shards

            upload_shards(Path(shards_dir), f"{url}/shards")
        return submit_job(job, folder, destination, sites=named or _site_names(shards_dir, federation), results_url=url)

    def build(
        self,
        *,
        out: Path | str | None = None,
        model: Path | str | type | Callable[..., Any] | None,
        train: Callable[..., Any] | None = None,
        name: str | None = None,
        shards_dir: Path | str = "",
        training: TrainingConfig | None = None,
        federation: FederationConfig | None = None,
        executor: type | str | None = None,
        persistor: type | str | None = None,
        model_checkpoint: Path | str | None = None,
        requirements_txt: Path | str | None = None,
        where: str | Path | None = None,
        sites: Sequence[str] | None = None,
        **options: Any,
    ) -> Path:
        """Write the job folder that `rt_submit` would submit for the same arguments, without any network.

        Args:
            out: the job folder; None takes ``jobs/NAME/job``.

        Returns:
            The job folder.

        Raises:
            ConfigError, ContractError, JobError, DataError: something cannot work.
        """
        from rt_flare.jobs.own_components import use_own_components
        from rt_flare.jobs.render import render_job
        from rt_flare.jobs.requirements_file import check_requirements

        job_name = _name(name, federation)
        given = (federation or FederationConfig()).model_dump(exclude_unset=True)
        extra = [Path(path) for path in (model_checkpoint, requirements_txt) if path is not None]
        if requirements_txt is not None:
            check_requirements(Path(requirements_txt))
        if model_checkpoint is not None:
            server = {**options.pop("server_variables", {}), "INITIAL_CHECKPOINT": Path(model_checkpoint).name}
            options["server_variables"] = server
        url = self._job_url(job_name)
        remote = "://" in str(shards_dir)
        if remote or (url and shards_dir):
            options["shards_url"] = str(shards_dir) if remote else f"{url}/shards"
        elif shards_dir:
            options["shards_dir"] = Path(shards_dir).resolve()
        if self._destination(where).kit is None and not url:
            options.setdefault("data_dir", Path(self.config.storage).resolve() / "data")
        target = Path(out) if out is not None else self.job_folder(job_name) / "job"
        with tempfile.TemporaryDirectory(prefix="rt_flare_model_") as folder:
            module, model_path = _module(model, train, Path(folder))
            if model_path:
                options.setdefault("model_path", model_path)
            job = render_job(
                out=target,
                model_def=module,
                training=training or TrainingConfig(),
                federation=FederationConfig.model_validate({**given, "job_name": job_name}),
                sites=list(sites or _site_names(shards_dir, federation)),
                extra_files=[*options.pop("extra_files", ()), *extra],
                **options,
            )
        use_own_components(job, executor=executor, persistor=persistor)
        return job

    def job_folder(self, name: str) -> Path:
        """The local folder of the job ``name``: its status is here, and its results unless the storage is elsewhere."""
        root = Path() if "://" in self.config.storage else Path(self.config.storage)
        return root / "jobs" / name

    def _job_url(self, name: str) -> str:
        return f"{self.config.storage.rstrip('/')}/jobs/{name}" if "://" in self.config.storage else ""

    def _destination(self, where: str | Path | None) -> Destination:
        return parse_destination(where if where is not None else self.config.base_url, user=self.config.email)


def _name(name: str | None, federation: FederationConfig | None) -> str:
    # Checked as the configuration checks it.
    return FederationConfig(job_name=name).job_name if name else (federation or FederationConfig()).job_name


def _module(
    model: Path | str | type | Callable[..., Any] | None, train: Callable[..., Any] | None, folder: Path
) -> tuple[Path | None, str]:
    """The module to ship, made in ``folder`` for a class, and the model's path in it, "" for the template's own."""
    if model is None or isinstance(model, str | Path):
        if train is not None:
            raise ConfigError("train: found a function beside a path, expected it in the module, or a class as model")
        return (None if model is None else Path(model)), ""
    if not callable(model):
        raise ConfigError(f"model: found {type(model).__name__}, expected a path, a class or a function, not a model")
    from rt_flare.jobs.source_extraction import extract_model_def

    extracted = extract_model_def(model, train)
    module = folder / "model_def.py"
    module.write_text(extracted.text, encoding="utf-8")
    for name, source in extracted.modules.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    for note in extracted.notes:
        warnings.warn(note, stacklevel=4)
    return module, extracted.model_path


def _site_names(shards_dir: Path | str, federation: FederationConfig | None) -> list[str]:
    """One site per shard that is here; else as many as a round needs."""
    from rt_flare.data.shard_names import find_shards

    here = str(shards_dir) and "://" not in str(shards_dir) and Path(shards_dir).is_dir()
    number = len(find_shards(Path(shards_dir))) if here else (federation or FederationConfig()).min_clients
    return [f"site-{index}" for index in range(1, max(number, 1) + 1)]
