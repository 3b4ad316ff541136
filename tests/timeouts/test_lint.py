"""Mistakes in jobs and startup kits: each is found once, by its rule; sound ones give no finding (T8, T12, T13)."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rt_flare.builtin_plugin import templates_home
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.errors import ConfigError
from rt_flare.jobs.render import render_job
from rt_flare.timeouts.finding import Facts, Severity
from rt_flare.timeouts.kit_apply import plan_kit
from rt_flare.timeouts.kit_files import write_comm_config
from rt_flare.timeouts.lint import lint
from rt_flare.timeouts.placement import apply_preset
from rt_flare.timeouts.presets import builtin_presets

SAG = "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather"
FEDAVG = "nvflare.app_common.workflows.fedavg.FedAvg"
EVAL = "nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval"
SWARM = "nvflare.app_common.ccwf.swarm_server_ctl.SwarmServerController"
SWARM_CLIENT = "nvflare.app_common.ccwf.swarm_client_ctl.SwarmClientController"
CLIENT_API = "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor"
STREAMER = "nvflare.app_opt.tensor_stream.server.TensorServerStreamer"
SERVER: dict[str, Any] = {
    "format_version": 2,
    "server": {"task_request_interval": 0.5},
    "workflows": [{"id": "w", "path": SAG, "args": {"min_clients": 2, "train_timeout": 3600}}],
    "components": [{"id": "p", "path": "rt_flare.components.persistor.CustomPersistor", "args": {"keep_last": 1}}],
}
CLIENT: dict[str, Any] = {
    "format_version": 2,
    "executors": [
        {
            "tasks": ["train"],
            "executor": {
                "path": CLIENT_API,
                "args": {"execution_mode": "external_process", "command": "python3 train.py"},
            },
        }
    ],
    "get_task_timeout": 600,
    "submit_task_result_timeout": 600,
}
META: dict[str, Any] = {"name": "job", "min_clients": 2, "deploy_map": {"app": ["@ALL"]}}
SERVER_RESOURCES = {"servers": [{"max_num_clients": 100, "heart_beat_timeout": 600, "admin_timeout": 10.0}]}
CLIENT_RESOURCES = {"client": {"retry_timeout": 30, "compression": "Gzip"}}

Edit = Callable[["Files"], None]


class Files:
    """A sound job and two sound kits, to be spoiled before they are written."""

    def __init__(self) -> None:
        self.server, self.client, self.meta = copy.deepcopy(SERVER), copy.deepcopy(CLIENT), copy.deepcopy(META)
        self.server_kit, self.client_kit = copy.deepcopy(SERVER_RESOURCES), copy.deepcopy(CLIENT_RESOURCES)
        self.comm: dict[str, Any] | None = None
        self.comm_name = "comm_config.json"
        self.scheme = "tcp"
        self.start = "secure_train=true"
        self.extra: dict[str, str] = {}

    @property
    def workflow(self) -> dict[str, Any]:
        return self.server["workflows"][0]  # type: ignore[no-any-return]

    @property
    def executor(self) -> dict[str, Any]:
        return self.client["executors"][0]["executor"]  # type: ignore[no-any-return]

    def write(self, folder: Path) -> list[Path]:
        job = folder / "job"
        config = job / "app" / "config"
        config.mkdir(parents=True)
        (job / "meta.json").write_text(json.dumps(self.meta))
        (config / "config_fed_server.json").write_text(json.dumps(self.server))
        (config / "config_fed_client.json").write_text(json.dumps(self.client))
        for name, text in self.extra.items():
            (config / name).write_text(text)
        service = {"servers": [{"name": "p", "service": {"scheme": self.scheme}}]}
        for name, fed, resources in (
            ("server", "fed_server.json", self.server_kit),
            ("site-1", "fed_client.json", self.client_kit),
        ):
            kit = folder / name
            for part in ("startup", "local"):
                (kit / part).mkdir(parents=True)
            (kit / "startup" / fed).write_text(json.dumps(service))
            (kit / "startup" / "sub_start.sh").write_text(f'exec python3 -m x -m "$W" --set {self.start} \n')
            (kit / "local" / "resources.json").write_text(json.dumps(resources))
            if self.comm is not None:
                (kit / "local" / self.comm_name).write_text(json.dumps(self.comm))
        return [job, folder / "server", folder / "site-1"]


def client(**values: Any) -> Edit:
    return lambda files: files.client.update(values)


def server(**values: Any) -> Edit:
    return lambda files: files.server.update(values)


def both(**values: Any) -> Edit:
    return lambda files: (files.client.update(values), files.server.update(values))[0]


def section(**values: Any) -> Edit:
    return lambda files: files.server["server"].update(values)


def workflow(path: str | None = None, **args: Any) -> Edit:
    def edit(files: Files) -> None:
        if path:
            files.workflow.update({"path": path, "args": {}})
        files.workflow["args"].update(args)

    return edit


def executor(path: str | None = None, **args: Any) -> Edit:
    def edit(files: Files) -> None:
        if path:
            files.executor.update({"path": path, "args": {}})
        files.executor["args"].update(args)

    return edit


def in_process(**args: Any) -> Edit:
    return executor(CLIENT_API, execution_mode="in_process", task_script_path="train.py", **args)


def component(path: str, **args: Any) -> Edit:
    return lambda files: files.server["components"].append({"id": "x", "path": path, "args": args})


def comm(scheme: str = "tcp", **values: Any) -> Edit:
    def edit(files: Files) -> None:
        files.comm, files.scheme = values, scheme

    return edit


def comm_default(**values: Any) -> Edit:
    def edit(files: Files) -> None:
        files.comm, files.comm_name = values, "comm_config.json.default"

    return edit


def extra(name: str, text: str = "{}") -> Edit:
    return lambda files: files.extra.update({name: text})


def together(*edits: Edit) -> Edit:
    def edit(files: Files) -> None:
        for each in edits:
            each(files)

    return edit


def server_entry(**values: Any) -> Edit:
    return lambda files: files.server_kit["servers"][0].update(values)


def client_section(**values: Any) -> Edit:
    return lambda files: files.client_kit["client"].update(values)


BIG = Facts(num_sites=12, model_bytes=440_000_000, bytes_per_second=6.25e6)
MISTAKES: list[tuple[str, str, Edit, Facts | None]] = [
    ("B01", "", extra("application.conf", "get_task_timeout = 900"), None),
    ("B02", "submit_result_timeout", client(submit_result_timeout=1800), None),
    ("B02", "download_complete_timeout", client(download_complete_timeout=1800), None),
    ("B02", "PEER_READ_TIMEOUT", client(PEER_READ_TIMEOUT=600), None),
    ("B02", "max_resends", client(max_resends=3), None),
    ("B02", "external_pre_init_timeout", client(external_pre_init_timeout=600), None),
    ("B03", "get_task_timeout", client(get_task_timeout=120), None),
    ("B04", "submit_task_result_timeout", server(submit_task_result_timeout=600), None),
    ("B05", "submit_task_result_timeout", client(), BIG),
    ("B06", "submit_task_result_timeout", client(submit_task_result_timeout=300), Facts(model_bytes=200_000_000)),
    (
        "B07",
        "submit_task_result_timeout",
        client(submit_result_timeout=1800, submit_task_result_timeout=600),
        Facts(nvflare_version="2.8"),
    ),
    ("B08", "executors[0].executor.args.heartbeat_timeout", executor(heartbeat_timeout=5, heartbeat_interval=5), None),
    ("B09", "executors[0].executor.args.heartbeat_timeout", executor(heartbeat_timeout=12), None),
    ("B10", "executors[0].executor.args.launch_timeout", in_process(launch_timeout=600), None),
    ("B10", "executors[0].executor.args.heartbeat_interval", in_process(heartbeat_interval=6.0), None),
    (
        "B10",
        "executors[0].executor.args.launch_timeout",
        executor(CLIENT_API, execution_mode="attach", attach_id="a", launch_timeout=600),
        None,
    ),
    ("B10", "executors[0].executor.args.execution_mode", executor(CLIENT_API, execution_mode="inprocess"), None),
    ("B11", "workflows[0].args.timeout", workflow(FEDAVG, num_clients=2, timeout=7200), None),
    ("B11", "workflows[0].args.min_clients", workflow(FEDAVG, num_clients=144, min_clients=138), None),
    ("B11", "workflows[0].args.task_check_interval", workflow(task_check_interval=0.5), None),
    ("B12", "workflows[0].args.train_timeout", workflow(train_timeout=60.0), None),
    ("B12", "workflows[0].args.wait_time_after_min_received", workflow(wait_time_after_min_received=0.5), None),
    ("B12", "workflows[0].args.validation_timeout", workflow(EVAL, validation_timeout=7200.0), None),
    ("B12", "workflows[0].args.task_check_period", workflow(EVAL, task_check_period=1), None),
    ("B13", "server.heart_beat_timeout", section(heart_beat_timeout=60), None),
    ("B14", "strict_start_job_reply_check", server(strict_start_job_reply_check=True), None),
    ("B14", "client_outcome_wait_timeout", client(client_outcome_wait_timeout=60), None),
    ("B15", "", extra("comm_config.json"), None),
    ("B16", "workflows[0].args.task_check_period", workflow(task_check_period=0.05), None),
    ("B17", "server.task_request_interval", section(task_request_interval=0), None),
    ("B17", "server.task_request_interval", section(task_request_interval="soon"), None),
    ("B18", "server.task_request_interval", section(task_request_interval=0.1), Facts(num_sites=20)),
    ("B19", "server.task_request_interval", section(task_request_interval=2), Facts(round_seconds=3.0)),
    ("B20", "tensor_download_chunk_size", both(tensor_download_chunk_size=0), Facts(model_bytes=90_000_000)),
    ("B21", "download_chunk_size", client(download_chunk_size=1 << 26), None),
    ("B22", "np_streaming_per_request_timeout", client(np_streaming_per_request_timeout=600), None),
    (
        "B23",
        "tensor_min_download_timeout",
        both(tensor_min_download_timeout=700, streaming_idle_timeout=900),
        None,
    ),
    ("B24", "tensor_download_chunk_size", client(tensor_download_chunk_size=1 << 26), None),
    ("B25", "sfm_send_stall_timeout", comm("http", sfm_send_stall_timeout=75), None),
    ("B25", "streaming_send_timeout", comm("tcp", sfm_send_stall_timeout=75, streaming_send_timeout=60), None),
    ("B25b", "streaming_chunk_size", comm("tcp", streaming_chunk_size=4 << 20), None),
    (
        "B26",
        "client.communication_timeout",
        together(
            comm("tcp", sfm_close_stalled_connection=True, sfm_send_stall_timeout=75, streaming_send_timeout=120),
            client_section(communication_timeout=100),
        ),
        None,
    ),
    (
        "B26",
        "submit_task_result_timeout",
        together(
            comm("tcp", sfm_close_stalled_connection=True, sfm_send_stall_timeout=75, streaming_send_timeout=120),
            client(submit_task_result_timeout=110),
        ),
        None,
    ),
    ("B27", "heartbeat_interval", comm(heartbeat_interval=2), None),
    ("B28", "runner_sync_timeout", client(runner_sync_timeout=30), None),
    ("B29", "servers[0].max_num_clients", section(task_request_interval=2), Facts(num_sites=144)),
    ("B30", "min_clients", lambda files: files.meta.update(min_clients=5), Facts(num_sites=3)),
    ("B30", "workflows[0].args.min_clients", workflow(min_clients=5), Facts(num_sites=3)),
    (
        "B31",
        "workflows[0].args.wait_time_after_min_received",
        workflow(wait_time_after_min_received=300),
        Facts(num_sites=4, round_seconds=60.0),
    ),
    (
        "B32",
        "workflows[0].args.task_assignment_timeout",
        workflow("my_workflows.Relay", timeout=60, task_assignment_timeout=90),
        None,
    ),
    (
        "B33",
        "get_task_timeout",
        component(STREAMER, wait_send_task_data_all_clients_timeout=1200.0),
        None,
    ),
    ("B34", "servers[0].heart_beat_timeout", server_entry(heart_beat_timeout=8), None),
    ("B35", "executors[0].executor.args.result_wait_timeout", executor(result_wait_timeout=7200.0), None),
    (
        "B35",
        "workflows[0].args.progress_timeout",
        together(
            workflow(SWARM, num_rounds=3, progress_timeout=600),
            executor(SWARM_CLIENT, learn_task_timeout=3600),
        ),
        None,
    ),
    ("B36", "-t", client(), Facts(num_sites=4, simulator_threads=1)),
    ("B37", "submit_task_result_timeout", client(submit_task_result_timeout=0), None),
    (
        "B38",
        "executors[0].executor.args.learn_task_ack_timeout",
        together(
            workflow(SWARM, num_rounds=3),
            executor(SWARM_CLIENT, final_result_ack_timeout=3600),
        ),
        Facts(model_bytes=2_000_000_000),
    ),
    ("B39", "get_task_timout", client(get_task_timout=900), None),
    ("B39", "heartbeat_intervall", comm(heartbeat_intervall=15), None),
    ("B39", "heartbeat_timeout", server_entry(heartbeat_timeout=60), None),
    (
        "B40",
        "tensor_streaming_per_request_timeout",
        client(np_streaming_per_request_timeout=600, tensor_streaming_per_request_timeout=600),
        None,
    ),
    ("B41", "workflows[0].args.train_timeout", workflow(train_timeout=60), Facts(round_seconds=90.0)),
    ("B42", "download_complete_timeout", client(download_complete_timeout=0), Facts(nvflare_version="2.8")),
    ("B43", "max_resends", client(max_resends=-1), Facts(nvflare_version="2.8")),
    ("B44", "get_task_timeout", client(get_task_timeout="ten minutes"), None),
    ("B44", "tensor_download_chunk_size", both(tensor_download_chunk_size=2.9), None),
    ("B45", "dead_client_grace_period", client(dead_client_grace_period=120), None),
    ("B45", "streaming_read_timeout", client(streaming_read_timeout=600), None),
    ("B45", "get_task_timeout", comm(get_task_timeout=600), None),
    ("B47", "", comm_default(heartbeat_interval=15), None),
    (
        "B46",
        "executors[0].executor",
        executor("nvflare.app_common.executors.client_api_launcher_executor.ClientAPILauncherExecutor"),
        None,
    ),
]


@pytest.fixture
def model_def(tmp_path: Path) -> Path:
    path = tmp_path / "model_def.py"
    path.write_text("import torch\n")
    return path


@pytest.mark.parametrize(
    ("rule", "key", "spoil", "facts"), MISTAKES, ids=[f"{rule}-{key or 'file'}" for rule, key, _, _ in MISTAKES]
)
def test_a_mistake_is_found_by_its_rule_and_by_no_other(
    tmp_path: Path, rule: str, key: str, spoil: Edit, facts: Facts | None
) -> None:
    """T8, T12, T13: the rule, the key and a text that says what to do."""
    files = Files()
    spoil(files)
    report = lint(files.write(tmp_path), facts)
    found = {(finding.rule, finding.key) for finding in report.findings}
    assert found == {(rule, key)}, report.findings
    assert report.failed == (report.findings[0].severity is not Severity.INFO)
    for finding in report.findings:
        assert finding.file.exists()
        assert len(finding.message) > 20
        assert finding.expected


def test_there_is_a_mistake_for_every_rule() -> None:
    """T8: every rule of the list, those that a file does not show (B36) by what the caller says."""
    rules = {f"B{number:02}" for number in range(1, 48)} | {"B25b"}
    assert {rule for rule, *_ in MISTAKES} == rules
    assert len(MISTAKES) >= 25


def test_a_sound_job_and_sound_kits_have_no_finding(tmp_path: Path) -> None:
    """T8"""
    report = lint(
        Files().write(tmp_path), Facts(num_sites=2, model_bytes=10**6, bytes_per_second=1e7, round_seconds=60)
    )
    assert report.findings == ()
    assert report.unchecked == ()


def test_what_could_not_be_checked_is_said(tmp_path: Path) -> None:
    """T8: rules that need a number say which."""
    report = lint(Files().write(tmp_path))
    assert report.findings == ()
    assert any("--sites" in line for line in report.unchecked)
    assert any("--bandwidth" in line for line in report.unchecked)


@pytest.mark.parametrize("template", sorted(path.name for path in templates_home().iterdir() if path.is_dir()))
def test_our_templates_have_no_finding(template: str) -> None:
    """T8, N1: none, for two sites and for fifty."""
    for num_sites in (2, 50):
        assert lint([templates_home() / template], Facts(num_sites=num_sites)).findings == ()


@pytest.mark.parametrize("num_sites", [1, 2, 12])
def test_a_rendered_job_has_no_finding(tmp_path: Path, model_def: Path, num_sites: int) -> None:
    """T8, N2"""
    job = render_job(
        out=tmp_path / "job",
        model_def=model_def,
        training=TrainingConfig(),
        federation=FederationConfig(min_clients=num_sites),
        sites=[f"site-{n}" for n in range(num_sites)],
    )
    assert lint([job], Facts(num_sites=num_sites, model_bytes=10**6, bytes_per_second=1e7)).findings == ()


@pytest.mark.parametrize("preset", builtin_presets())
@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_kits_that_a_preset_was_applied_to_have_no_finding(tmp_path: Path, preset: str, scheme: str) -> None:
    """T7, T8, T13: nothing is written that has no effect there."""
    files = Files()
    files.scheme = scheme
    targets = files.write(tmp_path)
    for kit in targets[1:]:
        plan = plan_kit(kit, apply_preset(preset, num_sites=2))
        write_comm_config(plan.kit, plan.content)
    assert lint(targets, Facts(num_sites=2)).findings == ()


def test_a_number_in_text_counts_as_the_number(tmp_path: Path) -> None:
    """T12: NVFlare converts numbers in text."""
    files = Files()
    files.client["get_task_timeout"] = "900"
    assert lint(files.write(tmp_path)).findings == ()


def test_variables_are_filled_in_as_nvflare_does(tmp_path: Path) -> None:
    """N1: what a variable holds is checked, and the variable is no unknown key."""
    files = Files()
    files.server |= {"PACE": 0, "server": {"task_request_interval": "{PACE}"}}
    (finding,) = lint(files.write(tmp_path)).findings
    assert (finding.rule, finding.found) == ("B17", 0)


def test_variables_of_hocon_are_no_unknown_keys(tmp_path: Path) -> None:
    """N1: NVFlare reads .conf where there is no .json."""
    files = Files()
    files.server |= {"pace": 0.5, "unused": 1}
    job, *_ = files.write(tmp_path)
    config = job / "app" / "config" / "config_fed_server.json"
    text = config.read_text().replace('"task_request_interval": 0.5', '"task_request_interval": ${pace}')
    config.with_suffix(".conf").write_text(text)
    config.unlink()
    (finding,) = lint([job]).findings
    assert (finding.rule, finding.key, finding.file.name) == ("B39", "unused", "config_fed_server.conf")


def test_the_jobs_own_classes_are_read_and_not_imported(tmp_path: Path) -> None:
    """T12: arguments of custom code are checked without running it."""
    files = Files()
    files.workflow.update(path="mine.Mine", args={"round": 3})
    job, *_ = files.write(tmp_path)
    custom = job / "app" / "custom"
    custom.mkdir()
    (custom / "mine.py").write_text(
        "raise SystemExit('imported')\nclass Mine:\n    def __init__(self, rounds=1): ...\n"
    )
    (finding,) = lint([job]).findings
    assert (finding.rule, finding.key) == ("B11", "workflows[0].args.round")
    assert "did you mean 'rounds'?" in finding.message


def test_one_app_for_the_server_and_one_for_sites_are_checked_together(tmp_path: Path) -> None:
    """T8: an app per site, each with its own configuration."""
    files = Files()
    files.client["tensor_download_chunk_size"] = 1 << 26
    job, *_ = files.write(tmp_path)
    (job / "app_server" / "config").mkdir(parents=True)
    shutil.move(job / "app/config/config_fed_server.json", job / "app_server/config/config_fed_server.json")
    (finding,) = lint([job]).findings
    assert finding.rule == "B24"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "neither a job"),
        (lambda folder: (folder / "meta.json").write_text("{"), "cannot be parsed"),
        (lambda folder: (folder / "meta.json").write_text("{}"), "no app with a folder config"),
        (lambda folder: (folder / "startup").mkdir(), "no startup kit"),
        (
            lambda folder: ((folder / "startup").mkdir(), (folder / "startup/fed_admin.json").write_text("{}")),
            "an administrator's kit",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, prepare: Callable[[Path], Any], message: str) -> None:
    """T13: no guess about a folder that is neither."""
    prepare(tmp_path)
    with pytest.raises(ConfigError, match=message):
        lint([tmp_path])


def test_a_job_of_nvflares_own_recipe_has_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T8: no false alarm about what others write."""
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe

    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    model = {"class_path": "torch.nn.Linear", "args": {"in_features": 2, "out_features": 2}}
    for external in (False, True):
        recipe = FedAvgRecipe(
            name=f"job-{external}",
            min_clients=2,
            num_rounds=2,
            model=model,
            train_script="train.py",
            launch_external_process=external,
        )
        recipe.add_client_config({"get_task_timeout": 600, "submit_task_result_timeout": 600})
        recipe.export(str(tmp_path / "out"))
        assert lint([tmp_path / "out" / f"job-{external}"], Facts(num_sites=2)).findings == ()


def test_a_version_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """T12"""
    with pytest.raises(ConfigError, match=r"NVFlare 3\.1: not known here, expected 2\.8 or 2\.9"):
        lint(Files().write(tmp_path), Facts(nvflare_version="3.1"))


def test_defaults_that_are_stated_are_no_mistake(tmp_path: Path) -> None:
    """T8: NVFlare refuses other values only."""
    files = Files()
    in_process(launch_timeout=300.0, heartbeat_interval=5.0, shutdown_timeout=None)(files)
    assert lint(files.write(tmp_path)).findings == ()
