"""A job of the published SDK becomes a project; what changed is said, and nothing of it is run (M6, C6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.errors import ConfigError, JobError, RtFlareError
from rt_flare.jobs.check.offline_check import check_path
from rt_flare.jobs.check.options import CheckOptions
from rt_flare.jobs.project import read_project, render_project
from rt_flare.jobs.published.change import ChangeKind
from rt_flare.jobs.published.import_job import ImportedJob, import_job

if TYPE_CHECKING:
    from conftest import Published

MINE = Path(__file__).parents[3]


def kinds(imported: ImportedJob) -> dict[str, ChangeKind]:
    return {change.what: change.kind for change in imported.changes}


def attention(imported: ImportedJob) -> list[str]:
    return [change.what for change in imported.changes if change.needs_attention]


def test_every_setting_arrives(published: Published, tmp_path: Path) -> None:
    """C1, C2: the project's configuration, its module unchanged, and its shards under rt_flare's names."""
    imported = import_job(published.write(), tmp_path / "out")
    config = read_project(imported.project).config
    assert (config.template, config.model, config.model_args) == ("rt_custom", "Model", {"width": 3})
    training, federation = config.training, config.federation
    assert (training.local_epochs, training.batch_size, training.learning_rate) == (1, 16, 0.01)
    assert training.extra == {"window": 8}
    assert (federation.job_name, federation.num_rounds, federation.min_clients) == ("rows", 2, 2)
    assert (imported.project / "model_def.py").read_text() == published.module
    assert sorted(path.name for path in (imported.project / "shards").iterdir()) == [
        "shard_0001.zip",
        "shard_0002.zip",
    ]
    assert not imported.needs_attention
    assert set(kinds(imported).values()) == {ChangeKind.KEPT, ChangeKind.MAPPED}


def test_the_check_finds_no_mistake(published: Published, tmp_path: Path) -> None:
    """X5, M6"""
    imported = import_job(published.write(), tmp_path / "out")
    assert not check_path(imported.project, CheckOptions(dry_run=False)).findings


def test_a_job_as_nvflare_runs_it_keeps_its_data_where_it_is(published: Published, tmp_path: Path) -> None:
    """D1: sites that have their data already; or with the shards that the author has."""
    folder = published.write_for_nvflare()
    imported = import_job(folder, tmp_path / "out")
    job, sites = render_project(read_project(imported.project), tmp_path / "job")
    client = json.loads((job / "app/config/config_fed_client.json").read_text())
    assert (client["DATA_ROOT"], client["SHARDS_DIR"], sites) == ("/app/payload", "", ["site-1", "site-2"])
    report = check_path(imported.project, CheckOptions(dry_run=False))
    assert not report.findings
    assert any("/app/payload is not on this machine" in line for line in report.unchecked)
    (tmp_path / "zips").mkdir()
    (tmp_path / "zips" / "a.zip").write_bytes(b"any")
    with_shards = import_job(folder, tmp_path / "other", shards=tmp_path / "zips")
    assert (with_shards.project / "shards" / "shard_0001.zip").read_bytes() == b"any"
    assert read_project(with_shards.project).config.data_root == ""


def test_functions_of_other_names_get_the_names_that_are_looked_for(published: Published, tmp_path: Path) -> None:
    """M6: by a line at the end of the module."""
    published.arguments.update(adapter_module="mine", train_fn="one_round")
    published.module_name = "mine"
    published.module = published.module.replace("def fl_train(", "def one_round(")
    imported = import_job(published.write(), tmp_path / "out")
    text = (imported.project / "mine.py").read_text()
    assert text == f"{published.module}\n\n# The names that rt_flare looks for.\nfl_train = one_round\n"
    assert read_project(imported.project).config.model_def == "mine.py"
    assert not check_path(imported.project, CheckOptions(dry_run=False)).findings


def test_keys_of_extra_that_stood_before_settings_still_do(published: Published, tmp_path: Path) -> None:
    """M6: EPOCHS, BATCH_SIZE, LR; keys that rt_flare has a setting for; keys that it sets itself."""
    published.arguments.update(EPOCHS=3, LR=0.5, num_classes=4, img_size=8, SITE_NAME="x", DATA_ROOT="/x", flag=None)
    imported = import_job(published.write(), tmp_path / "out")
    config = read_project(imported.project).config
    assert config.template == "rt_fedavg"
    assert (config.training.local_epochs, config.training.learning_rate) == (3, 0.5)
    assert (config.training.num_classes, config.training.img_size, config.training.extra) == (4, 8, {"window": 8})
    assert attention(imported) == ["extra DATA_ROOT", "extra SITE_NAME", "extra flag = null"]


def test_weights_to_start_from_and_requirements_go_along(published: Published, tmp_path: Path) -> None:
    """K4: bytes that nobody opened."""
    folder = published.write()
    (folder / "model").mkdir()
    (folder / "model" / "weights.pt").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    (folder / "requirements").mkdir()
    (folder / "requirements" / "requirements.txt").write_text("resontech==0.3.0\nnumpy\n")
    imported = import_job(folder, tmp_path / "out")
    assert (imported.project / "requirements.txt").read_text() == "numpy\n"
    job, _ = render_project(read_project(imported.project), tmp_path / "job")
    server = json.loads((job / "app/config/config_fed_server.json").read_text())
    assert server["INITIAL_CHECKPOINT"] == "initial_model.pt"
    assert (job / "app/custom/initial_model.pt").read_bytes().startswith(b"cos")


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("workflow ", lambda job: job.workflow.update(path="nvflare.app_common.workflows.cyclic.Cyclic")),
        ("aggregator ", lambda job: job.documents["server"]["components"][1]["args"].update(exclude_vars="x")),
        ("shareable generator ", lambda job: job.documents["server"]["components"][2].update(path="a.FedOpt")),
        ("server component ", lambda job: job.documents["server"]["components"].append({"id": "x", "path": "a.B"})),
        ("filter at the sites ", lambda job: job.documents["client"]["task_result_filters"].append({"filters": []})),
        ("custom_client_executor.py", lambda job: job.documents["client"]["executors"][0]["executor"].update(
            path="custom_client_executor.Mine")),
        ("custom_persistor.py", lambda job: job.documents["server"]["components"][0].update(path="custom_persistor.A")),
        ("persistor args ", lambda job: job.documents["server"]["components"][0]["args"].update(filename="x")),
        ("start_round", lambda job: job.workflow["args"].update(start_round=3)),
        ("scatter_and_gather what", lambda job: job.workflow["args"].update(what=3)),
        ("job resource_spec", lambda job: job.documents["meta"].update(resource_spec={"site-1": {"num_of_gpus": 1}})),
        ("job deploy_map", lambda job: job.documents["meta"].update(deploy_map={"app": ["server"]})),
    ],
)  # fmt: skip
def test_what_changes_the_job_needs_attention(published: Published, tmp_path: Path, what: str, change: Any) -> None:
    """C6: dropped, with the reason."""
    change(published)
    imported = import_job(published.write(), tmp_path / "out")
    [found] = [each for each in imported.changes if each.needs_attention]
    assert found.what.startswith(what)
    assert found.kind is ChangeKind.DROPPED
    assert found.reason


def test_what_has_no_effect_is_dropped_quietly(published: Published, tmp_path: Path) -> None:
    """C6: quantization, NVFlare's own knobs, a timeout."""
    quantizer = {"path": "nvflare.app_opt.pt.quantization.quantizer.ModelQuantizer", "args": {}}
    published.documents["client"]["task_result_filters"] = [{"tasks": ["train"], "filters": [quantizer]}]
    published.documents["client"]["submit_task_result_timeout"] = 900
    published.documents["server"]["server"]["heart_beat_timeout"] = 60
    published.workflow["args"].update(persist_every_n_rounds=2, train_timeout=77)
    imported = import_job(published.write(), tmp_path / "out")
    dropped = {change.what for change in imported.changes if change.kind is ChangeKind.DROPPED}
    assert dropped == {
        "quantization at the sites",
        "submit_task_result_timeout",
        "server heart_beat_timeout",
        "scatter_and_gather persist_every_n_rounds",
    }
    assert not imported.needs_attention
    assert read_project(imported.project).config.federation.round_timeout_seconds == 77


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda job: job.arguments.update(model_class="Other"), "expected the same in both"),
        (lambda job: job.arguments.update(train_fn="x; import os"), "expected a name"),
        (lambda job: job.arguments.update(data=[None]), "no form"),
        (lambda job: job.arguments.update(text="{SEED}"), "braces"),
        (lambda job: job.arguments.update(batch_size=0), "training.batch_size"),
        (lambda job: job.arguments.update(batch_size="many"), "batch_size: Input should be a valid integer"),
        (lambda job: job.documents["client"]["executors"].append({"executor": {"path": "a.B"}}), "executors"),
        (lambda job: job.documents["client"]["executors"][0]["executor"].update(path="a.B"), "no job of the published"),
        (lambda job: job.workflow["args"].update(min_clients=0), "federation.min_clients"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    published: Published, tmp_path: Path, change: Any, message: str
) -> None:
    """C6"""
    change(published)
    with pytest.raises(ConfigError, match=message):
        import_job(published.write(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_code_of_the_job_is_run(published: Published, tmp_path: Path) -> None:
    """C6: nor is a name in it a path."""
    published.module = f"import pathlib\npathlib.Path({str(tmp_path / 'hacked')!r}).touch()\n{published.module}"
    published.documents["meta"]["name"] = "../../../etc/passwd"
    folder = published.write()
    (folder / "scripts" / "custom_client_executor.py").write_text(published.module)
    os.chdir(tmp_path)
    imported = import_job(folder)
    assert imported.project == Path("etc-passwd")
    assert not (tmp_path / "hacked").exists()
    assert attention(imported) == ["custom_client_executor.py"]


def test_modules_that_are_no_python_links_and_names_that_rt_flare_calls_are_refused(
    published: Published, tmp_path: Path
) -> None:
    """C6, M6"""
    folder = published.write()
    module = folder / "scripts" / "model_def.py"
    module.write_text("def fl_train(:\n")
    with pytest.raises(JobError, match=r"model_def\.py:1: no valid Python"):
        import_job(folder, tmp_path / "out")
    module.write_text("(" * 10_000)
    with pytest.raises(JobError, match="no valid Python"):
        import_job(folder, tmp_path / "out")
    module.write_text("def fl_train_model(): ...\n")
    with pytest.raises(JobError, match="rename it"):
        import_job(folder, tmp_path / "out")
    module.unlink()
    module.symlink_to("/etc/hostname")
    with pytest.raises(JobError, match="symbolic link"):
        import_job(folder, tmp_path / "out")
    module.unlink()
    with pytest.raises(JobError, match="no such file"):
        import_job(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_such_job_and_one_that_is_not_empty_are_refused(
    published: Published, tmp_path: Path
) -> None:
    """C6"""
    with pytest.raises(JobError, match="neither configs/ and scripts/"):
        import_job(tmp_path, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(JobError, match="not empty"):
        import_job(published.write(), tmp_path / "out")
    shard = published.folder / "shards" / "shard_1.zip"
    shard.rename(tmp_path / "elsewhere.zip")
    shard.symlink_to(tmp_path / "elsewhere.zip")
    with pytest.raises(JobError, match="symbolic link"):
        import_job(published.folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (published.folder / "configs" / "meta.json").write_text("{" * 10_000)
    with pytest.raises(ConfigError, match="no valid JSON"):
        import_job(published.folder, tmp_path / "other")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["client", "server", "meta", "args", "workflow"]), name=st.text(max_size=12), value=VALUES)
def test_whatever_a_configuration_holds_the_project_can_be_read_or_the_error_is_ours(
    published: Published, tmp_path_factory: pytest.TempPathFactory, key: str, name: str, value: Any
) -> None:
    """C6"""
    places = {**published.documents, "args": published.arguments, "workflow": published.workflow["args"]}
    before = json.dumps(published.documents)
    try:
        for each in (name, *list(places[key])[:2]):
            places[key][each] = value
        published.folder = tmp_path_factory.mktemp("fuzzed") / "job"
        try:
            imported = import_job(published.write(), published.folder.parent / "out")
        except RtFlareError:
            return
        assert read_project(imported.project).config.federation.num_rounds >= 1
    finally:
        published.documents = json.loads(before)


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.timeout(600)
def test_a_job_that_the_sdk_itself_wrote_passes_the_check_and_runs(published: Published, tmp_path: Path) -> None:
    """M6: resontech 0.3.0 from the package index; its executor and persistor as they come."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "model_def.py").write_text(
        published.module.replace("def __init__(self, width)", "def __init__(self, width=3)")
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.json").write_text(json.dumps([[1.0, 2.0, 3.0]] * 5))
    arguments = ["published", str(tmp_path / "job"), str(work / "model_def.py"), "--data-root", str(tmp_path / "data")]
    command = ["uv", "run", "--no-sync", "--with", "resontech==0.3.0", "python", "-m", "benchmarks.peer_jobs"]
    numbers = ["--num-rounds", "2", "--num-sites", "2"]
    subprocess.run([*command, *arguments, *numbers], cwd=MINE, check=True)
    out = str(tmp_path / "project")
    for words in (["import", str(tmp_path / "job"), "--out", out], ["check", out], ["run", out]):
        program = [sys.executable, "-c", "from rt_flare.cli.app import main; main()", *words]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "FINISHED: 2 of 2 rounds" in done.stdout
