"""Checks of names, places and values of keys: B01 to B04, B13 to B15, B17, B20 to B24, B37, B39, B40, B44, B45."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rt_flare.timeouts.finding import Finding, Found, Severity
from rt_flare.timeouts.job_files import ConfigFile
from rt_flare.timeouts.key_map import ConfigKey, KeyMap, Place
from rt_flare.timeouts.kit_files import KitFiles
from rt_flare.timeouts.lint_view import JobView, number

__all__ = ["check_job_keys", "check_kit_keys"]

_STRUCTURE = {
    *("format_version", "server", "client", "workflows", "executors", "components", "handlers"),
    *("task_data_filters", "task_result_filters"),
}
_SERVER_ENTRY = {
    *("name", "service", "admin_host", "admin_port", "admin_server", "admin_storage", "download_job_url", "identity"),
    *("ssl_private_key", "ssl_cert", "ssl_root_cert", "connection_security", "min_num_clients"),
    *("shutdown_period", "check_engine_frequency"),
}
_CLIENT_SECTION = {"retry_timeout", "compression", "engine_create_timeout", "cell_check_frequency"} | {
    *("client_register_interval", "maint_msg_timeout", "ssl_private_key", "ssl_cert", "ssl_root_cert", "fqsn"),
    *("is_leaf", "connection_security"),
}
_BIG_MODEL = 50_000_000
_IDLE_TIMEOUT = 600.0


def check_job_keys(view: JobView) -> Iterator[Finding]:
    """Keys of a job's configurations."""
    for config in view.configs:
        yield from _stray_files(config.file.parent)
        place = Place.SERVER_CONFIG if config is view.server else Place.CLIENT_CONFIG
        for key, value in config.values.items():
            if key not in _STRUCTURE and key not in config.variables and value is not None:
                yield from _top_level(view, config, place, key, value)
    if view.server is not None:
        yield from _server_section(view, view.server)
    yield from _exchange_keys(view)


def check_kit_keys(kit: KitFiles, keys: KeyMap) -> Iterator[Finding]:
    """Keys of a startup kit's comm_config.json and resources.json."""
    others = set(keys.other_keys["comm_config"])
    yield from _known(kit.comm_file, kit.comm or {}, keys, Place.COMM_CONFIG, others, strict=True)
    if kit.role == "server":
        known = _SERVER_ENTRY
        yield from _known(kit.resources_file, kit.server_entry, keys, Place.SERVER_RESOURCES, known, strict=False)
    else:
        section = kit.client_section
        yield from _known(kit.resources_file, section, keys, Place.CLIENT_RESOURCES, _CLIENT_SECTION, strict=False)
    for key in kit.resources:
        found = [k for k in keys.named(key) if Place.SERVER_RESOURCES_TOP not in k.places]
        if found:
            yield _misplaced(kit.resources_file, key, kit.resources[key], found)


def _stray_files(config_dir: Path) -> Iterator[Finding]:
    for rule, name, message in (
        (
            "B01",
            "application.conf",
            "NVFlare 2.9 does not read application.conf: move its keys to the top level of config_fed_client or "
            "config_fed_server",
        ),
        (
            "B15",
            "comm_config.json",
            "a comm_config.json in a job takes the place of the site's own in undefined order, and stays for later "
            "jobs on sites that keep job folders: write it into every kit instead (rt-flare timeouts apply --kit)",
        ),
    ):
        for file in sorted(config_dir.rglob(name)):
            yield Finding(rule, Severity.ERROR, file, "", name, "no such file in a job", message)


def _top_level(view: JobView, config: ConfigFile, place: Place, key: str, value: Any) -> Iterator[Finding]:
    keys, file = view.keys, config.file
    known = keys.at(place).get(key)
    if known is not None:
        yield from _value(file, known, value)
        if key == "get_task_timeout" and 0 < (number(value) or 0) < view.communication_timeout:
            yield Finding(
                "B03",
                Severity.WARNING,
                file,
                key,
                value,
                f"at least {view.communication_timeout:g}, or none",
                f"without effect: a site waits for the larger of this and communication_timeout, "
                f"{view.communication_timeout:g} s",
            )
    elif key in keys.retired:
        if not view.old_version:
            retired = keys.retired[key]
            message = f"removed after NVFlare {retired.last_version} and ignored since: {retired.advice}"
            yield Finding("B02", Severity.ERROR, file, key, _short(value), "no such key", message)
    elif key in keys.misnamed:
        message = (
            "a key of this kind starts with np_ (NumPy arrays) or tensor_ (PyTorch tensors); without, it is ignored"
        )
        yield Finding("B21", Severity.ERROR, file, key, _short(value), repr(keys.misnamed[key]), message)
    elif key in keys.at(Place.SERVER_ENVIRONMENT):
        message = (
            f"read by the server's parent process, which no job reaches: start the server with "
            f"NVFLARE_{key.upper()}={str(value).lower()} in its environment"
        )
        yield Finding("B14", Severity.ERROR, file, key, _short(value), "not in a job", message)
    elif found := keys.named(key):
        rule = "B04" if (key, place) == ("submit_task_result_timeout", Place.SERVER_CONFIG) else "B45"
        yield _misplaced(file, key, value, found, rule)
    elif key not in keys.other_keys["application"]:
        nearest = keys.nearest(key, keys.at(place))
        message = f"NVFlare {keys.version} does not read it{nearest}; a misspelt key is ignored without a word"
        yield Finding("B39", Severity.WARNING, file, key, _short(value), "a key that is read", message)


def _value(file: Path, key: ConfigKey, value: Any) -> Iterator[Finding]:
    plain = number(value)
    if isinstance(value, str) and key.type != "bool":
        try:
            plain = float(value)  # NVFlare converts text
        except ValueError:
            plain = None
    checked = value if plain is None else (int(plain) if plain == int(plain) else plain)
    problem = key.problem(checked)
    if problem is None:
        return
    if plain is not None and key.above == 0 and plain <= 0:
        message = f"0 and less do not mean 'no limit': NVFlare takes its default, {key.default}"
        yield Finding("B37", Severity.WARNING, file, key.key, value, "more than 0, or none", message)
    else:
        message = f"NVFlare takes {key.type} here: other text raises ValueError, a fraction is cut off"
        yield Finding("B44", Severity.ERROR, file, key.key, _short(value), problem.removeprefix("expected "), message)


def _misplaced(file: Path, key: str, value: Any, found: list[ConfigKey], rule: str = "B45") -> Finding:
    places = " or ".join(place.text for known in found for place in known.places)
    message = f"not read from this file; {found[0].process} reads it. Move it to: {places}"
    return Finding(rule, Severity.ERROR, file, key, _short(value), places, message)


def _server_section(view: JobView, config: ConfigFile) -> Iterator[Finding]:
    section = config.values.get("server") or {}
    for key, value in section.items() if isinstance(section, Mapping) else ():
        where = f"server.{key}"
        if key == "task_request_interval":
            if (interval := number(value)) is None or interval <= 0:
                message = "NVFlare refuses the job (ConfigError)"
                yield Finding("B17", Severity.ERROR, config.file, where, _short(value), "a number above 0", message)
        elif key == "heart_beat_timeout":
            message = (
                "without effect in 2.9: set heart_beat_timeout of the first of servers in local/resources.json of the "
                "server's kit"
            )
            yield Finding("B13", Severity.INFO, config.file, where, _short(value), "not in a job", message)
        elif isinstance(value, int | float | str):
            nearest = view.keys.nearest(key, view.keys.at(Place.SERVER_SECTION))
            message = f"NVFlare {view.keys.version} does not read it from the section server{nearest}"
            yield Finding("B39", Severity.WARNING, config.file, where, _short(value), "a key that is read", message)


def _exchange_keys(view: JobView) -> Iterator[Finding]:
    used = [
        (config, key, value)
        for config in view.configs
        for key, value in config.values.items()
        if key in view.keys.keys and key.startswith(("np_", "tensor_"))
    ]
    prefixes = {key.split("_")[0] for _, key, _ in used}
    if len(prefixes) > 1:
        config, key, value = used[-1]
        message = "tensor_ is for PyTorch tensors, np_ for NumPy arrays; a job exchanges one of them: drop the other"
        yield Finding("B40", Severity.WARNING, config.file, key, value, "np_ or tensor_, not both", message)
    elif view.exchange is not None and prefixes and prefixes != {view.exchange}:
        for config, key, value in used:
            right = f"{view.exchange}_{key.partition('_')[2]}"
            message = f"this job exchanges {'tensors' if view.exchange == 'tensor' else 'arrays'}: the key is ignored"
            yield Finding("B22", Severity.WARNING, config.file, key, value, repr(right), message)
    for config, key, value in used:
        amount = number(value)
        if key.endswith("_min_download_timeout") and amount is not None and 0 < amount < _idle(view, config):
            message = f"lower than NVFlare's default of {_idle(view, config):g} s: tensors are taken away earlier"
            yield Finding("B23", Severity.WARNING, config.file, key, value, "600 or more, or none", message)
        if key.endswith("_download_chunk_size") and amount == 0:
            yield from _inline(view, config, key)
        if key.endswith(("_download_chunk_size", "_min_download_timeout")) and len(view.configs) > 1:
            other = next(c for c in view.configs if c is not config)
            if key not in other.values:
                message = (
                    f"who sends decides: the server's value holds for the global model, the sites' for updates. Set it "
                    f"in {other.file.name} too"
                )
                yield Finding("B24", Severity.WARNING, config.file, key, value, "in both files", message)


def _inline(view: JobView, config: ConfigFile, key: str) -> Iterator[Finding]:
    size = view.facts.model_bytes
    limit = min((int((kit.comm or {}).get("streaming_max_blob_size", 4 << 30)) for kit in view.kits), default=4 << 30)
    if size is not None and size > _BIG_MODEL:
        severity = Severity.ERROR if size > limit else Severity.WARNING
        message = (
            f"0 sends the weights inline, about twice as slow; above {limit} bytes the server's job process ends. "
            "Leave it out, or take 67108864"
        )
        yield Finding("B20", severity, config.file, key, 0, "more than 0", message)


def _idle(view: JobView, config: ConfigFile) -> float:
    return number(config.values.get("streaming_idle_timeout")) or _IDLE_TIMEOUT


def _known(
    file: Path, values: Mapping[str, Any], keys: KeyMap, place: Place, others: set[str], *, strict: bool
) -> Iterator[Finding]:
    """Check a kit's keys; ``strict``: every unknown one is named, otherwise only one that looks like a known one."""
    known = keys.at(place)
    for key, value in values.items():
        if key in known:
            yield from _value(file, known[key], value)
        elif key in others or isinstance(value, Mapping | list):
            continue
        elif key in keys.retired:
            message = f"removed after NVFlare {keys.retired[key].last_version}: {keys.retired[key].advice}"
            yield Finding("B02", Severity.ERROR, file, key, _short(value), "no such key", message)
        elif (found := keys.named(key)) and (strict or not keys.nearest(key, known)):
            yield _misplaced(file, key, value, found)
        elif (nearest := keys.nearest(key, known)) or strict:
            message = f"NVFlare {keys.version} does not read it{nearest}; a misspelt key is ignored without a word"
            yield Finding("B39", Severity.WARNING, file, key, _short(value), "a key that is read", message)


def _short(value: Any) -> Found:
    """A value as it can stand in a finding."""
    return value if isinstance(value, int | float | str | bool | None) else str(value)[:80]
