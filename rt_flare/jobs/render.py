"""From a model definition and two configurations to a job folder that every NVFlare tool runs."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt_flare.catalog import load_catalog
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.durable_io import write_bytes, write_json
from rt_flare.data.num_classes import infer_num_classes, shards_have_manifests
from rt_flare.data.shard_names import find_shards
from rt_flare.data.storage_url import check_storage_url
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.aggregator_component import use_aggregator
from rt_flare.jobs.config_values import config_object, config_text
from rt_flare.jobs.given_values import client_values, server_values, with_template_values
from rt_flare.jobs.job_timeouts import with_timeouts
from rt_flare.jobs.template import JobTemplate, load_template
from rt_flare.jobs.user_modules import sibling_modules

if TYPE_CHECKING:
    from rt_flare.data.verify_report import VerifyReport

__all__ = ["check_sites", "custom_files", "render_job"]

# NVFlare's rule for the names of clients.
_SITE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SERVER_DEFAULT_HEART_BEAT_TIMEOUT = 600
_MAX_REQUESTS_PER_SECOND = 100


def render_job(
    *,
    out: Path,
    model_def: Path | None,
    training: TrainingConfig,
    federation: FederationConfig,
    sites: Sequence[str],
    model_path: str = "",
    model_args: Mapping[str, Any] | None = None,
    shards_dir: Path | str = "",
    shards_url: str = "",
    data_dir: Path | str = "",
    data_root: Path | str = "",
    adapter: str = "",
    adapter_args: Mapping[str, Any] | None = None,
    aggregator: str = "sample_weighted_mean",
    aggregator_args: Mapping[str, Any] | None = None,
    server_variables: Mapping[str, Any] | None = None,
    client_variables: Mapping[str, Any] | None = None,
    template: str = "rt_fedavg",
    extra_files: Sequence[Path] = (),
    on_shards: Callable[[VerifyReport], None] | None = None,
) -> Path:
    """Write the job folder ``out``, which must not exist, or be a job folder: that one is replaced.

    The same inputs give the same bytes. What is left out, here or in the two configurations, takes the template's
    value; a value that the template has no variable for is an error.

    Args:
        out: the job folder.
        model_def: the user's module; becomes ``app/custom/model_def.py``, with the modules beside it that it imports.
            None for a job without custom code, whose template or variables name an installed module.
        training: what every site trains with; ``num_classes`` 0 becomes the largest label of all shards plus one, where
            the shards are on this machine and have manifests.
        federation: how the sites work together.
        sites: names of the sites; the n-th one gets shard n.
        model_path: dotted path of the model class or factory, as ``model_def.Model``.
        model_args: its keyword arguments; JSON values only.
        shards_dir: folder with ``shard_0001.zip`` and on, as the sites see it; "" when there is none to fetch.
        shards_url: the same in a storage that the server signs URLs for; the place only, without credentials.
        data_dir: folder on the sites that shards are unpacked into.
        data_root: folder with data that the sites already have; "" for none.
        adapter: name of the dataset adapter; ``adapter_args`` are its options.
        aggregator: name of the aggregator; ``aggregator_args`` are its options. The default leaves the template's.
        server_variables: further variables of the template's server configuration.
        client_variables: further variables of the template's client configuration.
        template: name of the job template.
        extra_files: files to put beside ``model_def.py``.
        on_shards: called with what the shards hold, every image decoded, where ``num_classes`` is taken from them: who
            checks them as well need not read them again, and judges what is wrong with them. None reads the manifests
            only.

    Returns:
        ``out``.

    Raises:
        DataError: a label of the shards does not fit ``training.num_classes``.
        ConfigError: a value that cannot work or would not arrive unchanged, or an adapter, aggregator or template that
            is not installed here.
        JobError: ``model_def`` or a file beside it cannot be used, the number of shards is not that of the sites, or
            ``out`` holds something else than a job.
        ShardError: ``shards_dir`` is on this machine and its shards are not numbered from 1 without a gap.
    """
    check_sites(sites)
    if adapter:
        load_catalog().find_adapter(adapter)
    chosen = with_timeouts(load_template(template), federation.timeouts, num_sites=len(sites))
    effective = with_template_values(federation, chosen)
    _warn(effective, len(sites))
    if shards_url and str(shards_dir):
        raise ConfigError("found shards_dir and shards_url, expected one of them")
    check_storage_url(shards_url)
    # The folder may exist on the sites only; where it is here, what is wrong is found before anything is sent.
    local_shards = find_shards(Path(shards_dir)) if str(shards_dir) and Path(shards_dir).is_dir() else []
    site_shards = _assign_shards(sites, shards_url or shards_dir, local_shards)
    training = _with_num_classes(training, chosen, adapter, local_shards, data_dir, on_shards)
    model = _given(MODEL_PATH=config_text(model_path, "model_path"), MODEL_ARGS=config_object(model_args, "model_args"))
    job = chosen.with_variables(
        server={
            **model,
            **server_values(federation),
            **_given(SHARDS_URL=config_text(shards_url, "shards_url"), SITE_SHARDS=site_shards),
            **(server_variables or {}),
        },
        client={
            **model,
            **client_values(training, federation),
            **_given(
                ADAPTER=config_text(adapter, "adapter"),
                ADAPTER_ARGS=config_object(adapter_args, "adapter_args"),
                DATA_DIR=config_text(str(data_dir), "data_dir"),
                SHARDS_DIR=config_text(str(shards_dir), "shards_dir"),
                SHARDS_FROM_SERVER=bool(shards_url),
                SITE_SHARDS=site_shards,
                DATA_ROOT=config_text(str(data_root), "data_root"),
            ),
            **(client_variables or {}),
        },
    )
    if aggregator != "sample_weighted_mean" or aggregator_args:
        job = use_aggregator(job, aggregator, aggregator_args, deterministic=effective.deterministic)
    meta = job.meta | {"name": federation.job_name, "min_clients": effective.min_clients}
    code = custom_files(model_def, extra_files)

    _clear(out)
    config = out / "app" / "config"
    write_json(out / "meta.json", meta)
    write_json(config / "config_fed_server.json", job.server)
    write_json(config / "config_fed_client.json", job.client)
    for name, content in code.items():
        write_bytes(out / "app" / "custom" / name, content)
    return out


def check_sites(sites: Sequence[str]) -> None:
    """Check the names of the sites.

    Raises:
        ConfigError: none, a name twice, or one that NVFlare does not take for a client.
    """
    if not sites:
        raise ConfigError("sites: found none, expected at least one name")
    for site in sites:
        if not _SITE_NAME.fullmatch(site) or site == "server":
            raise ConfigError(
                f"sites: found {site!r}, expected letters, digits, '_' and '-', and not 'server': NVFlare's rule"
            )
    folded = [site.casefold() for site in sites]
    twice = sorted({site for site in sites if folded.count(site.casefold()) > 1})
    if twice:
        raise ConfigError(f"sites: {', '.join(twice)} stand for the same folder; every site needs a name of its own")


def _given(**values: Any) -> dict[str, Any]:
    """What was given: "", None, False and {} stand for what was not."""
    return {name: value for name, value in values.items() if value}


def _with_num_classes(
    training: TrainingConfig,
    template: JobTemplate,
    adapter: str,
    shards: Sequence[Path],
    data_dir: Path | str,
    on_shards: Callable[[VerifyReport], None] | None,
) -> TrainingConfig:
    values = with_template_values(training, template)
    of_images = "NUM_CLASSES" in template.client and (adapter or template.client.get("ADAPTER")) == "manifest"
    if not of_images or not shards_have_manifests(shards, values.manifest_file):
        return training
    if on_shards is None:
        num_classes = infer_num_classes(shards, values.num_classes, manifest_file=values.manifest_file)
    else:
        from rt_flare.data.verify_shards import VerifyOptions, verify_shards

        options = VerifyOptions(
            num_classes=values.num_classes,
            manifest_file=values.manifest_file,
            data_dir=str(data_dir or template.client.get("DATA_DIR") or VerifyOptions.data_dir),
        )
        report = verify_shards(shards[0].parent, options)
        on_shards(report)
        num_classes = values.num_classes or report.num_classes
    return training.model_copy(update={"num_classes": num_classes})


def _warn(federation: FederationConfig, num_sites: int) -> None:
    if federation.min_clients > num_sites:
        raise ConfigError(
            f"min_clients is {federation.min_clients}, but there are only {num_sites} sites: "
            "no round could ever close; lower min_clients or add sites"
        )
    if federation.min_clients < num_sites:
        warnings.warn(
            f"min_clients is {federation.min_clients} of {num_sites} sites: a round goes on without the others "
            f"{federation.wait_time_after_min_received} s after {federation.min_clients} updates are in, and what "
            f"they send later is dropped; set min_clients to {num_sites} to wait for all of them",
            stacklevel=3,
        )
    if federation.heart_beat_timeout != _SERVER_DEFAULT_HEART_BEAT_TIMEOUT:
        warnings.warn(
            f"heart_beat_timeout is {federation.heart_beat_timeout}, but NVFlare 2.9 reads it from the server's own "
            'local/resources.json only ("heart_beat_timeout" of the first entry of "servers"): set it there, a '
            "job cannot",
            stacklevel=3,
        )
    requests = num_sites / federation.task_request_interval
    if requests > _MAX_REQUESTS_PER_SECOND:
        warnings.warn(
            f"{num_sites} idle sites that ask for work every {federation.task_request_interval} s are "
            f"{requests:.0f} requests a second at about 4 ms of server CPU each; set task_request_interval to "
            f"{num_sites / _MAX_REQUESTS_PER_SECOND:g} or more",
            stacklevel=3,
        )


def _assign_shards(sites: Sequence[str], shards_dir: Path | str, local_shards: Sequence[Path]) -> dict[str, int] | None:
    if not str(shards_dir):
        return None
    if local_shards and len(local_shards) != len(sites):
        raise JobError(
            f"{shards_dir}: found {len(local_shards)} shards for {len(sites)} sites, expected exactly one per site"
        )
    return {site: index for index, site in enumerate(sites, start=1)}


def custom_files(model_def: Path | None, extra_files: Sequence[Path] = ()) -> dict[str, bytes]:
    """Return what goes into a job's ``custom`` folder, by path in it; empty without ``model_def``.

    Raises:
        JobError: a file is missing, two have one name, or ``model_def`` cannot be shipped (see `sibling_modules`).
    """
    if model_def is None:
        if extra_files:
            raise JobError("found extra_files without model_def, expected none: a job without code carries no files")
        return {}
    if not model_def.is_file():
        raise JobError(f"{model_def}: no such file; expected the module with the model and fl_train_model")
    files = {"model_def.py": model_def.read_bytes()}
    for path in extra_files:
        if path.suffix in {".json", ".conf", ".yml", ".yaml"}:
            warnings.warn(
                f"{path.name}: `nvflare job submit` parses and rewrites a file with this ending, and fails if it is "
                "not an object; give it another ending",
                stacklevel=4,
            )
    for name, path in [*sibling_modules(model_def).items(), *((p.name, p) for p in extra_files)]:
        if name == "model_def.py" and path.resolve() == model_def.resolve():
            continue
        if name in files:
            raise JobError(f"{path}: a second file {name!r} beside model_def.py; rename one of them")
        if not path.is_file():
            raise JobError(f"{path}: no such file; expected a file to put beside model_def.py")
        files[name] = path.read_bytes()
    return files


def _clear(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (os.listdir(out) and not (out / "meta.json").is_file()):  # noqa: PTH208
        raise JobError(f"{out}: exists and is no job folder; remove it or choose another place")
    shutil.rmtree(out)
