"""Every seeded mistake is found, by its code and place, and nothing else (C6, X5, K1)."""

from __future__ import annotations

import functools
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.builtin_plugin import templates_home
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.training_worker import InProcessWorker
from rt_flare.errors import ConfigError
from rt_flare.jobs.check import dry_run as dry_run_module
from rt_flare.jobs.check.offline_check import check_path
from rt_flare.jobs.check.options import CheckOptions, CheckReport, Target
from rt_flare.jobs.check.trial import run_trial
from rt_flare.jobs.project import read_project, render_project
from rt_flare.jobs.render import render_job

Spoil = Callable[[Path], object]
STATIC = CheckOptions(dry_run=False)
ROOT = Path(__file__).parents[3]


def _code(old: str, new: str, file: str = "model_def.py") -> Spoil:
    def spoil(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))

    return spoil


def _config(old: str, new: str) -> Spoil:
    return _code(old, new, "rt_flare.toml")


def _write(name: str, text: str) -> Spoil:
    return lambda folder: (folder / name).write_text(text)


def _zip(change: Callable[[dict[str, bytes]], object], index: int = 2) -> Spoil:
    """Change the files of one shard."""

    def spoil(folder: Path) -> None:
        path = folder / "shards" / f"shard_{index:04d}.zip"
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    return spoil


def _manifest(old: bytes, new: bytes) -> Spoil:
    def change(files: dict[str, bytes]) -> None:
        assert old in files["manifest.ndjson"]
        files["manifest.ndjson"] = files["manifest.ndjson"].replace(old, new, 1)

    return _zip(change)


def _at(line: int, spoil: Spoil) -> tuple[Spoil, int]:
    return spoil, line


def _found(report: CheckReport) -> set[str]:
    return {finding.code for finding in report.findings}


LOAD = '    model.load_state_dict(payload["initial_weights"])\n    model.train()\n'
RETURN = '{"weights": model.state_dict(), "samples": len(dataset), "metrics": {"loss": loss.item()}}'
MODULE_MISTAKES: dict[str, tuple[str, Spoil, int | None]] = {
    # the guide's own
    "training mode before the weights": (
        "train-before-weights",
        _code(LOAD, '    model.train()\n    model.load_state_dict(payload["initial_weights"])\n'),
        19,
    ),
    "training mode at once": (
        "train-before-weights",
        _code('Model(env["num_classes"])', 'Model(env["num_classes"]).train()'),
        18,
    ),
    "constant samples": ("samples-constant", _code("len(dataset), ", "1000, "), 28),
    "constant samples by a name": (
        "samples-constant",
        _code('"samples": len(dataset)', '"samples": total'),
        None,
    ),
    "imports in another cell": ("undefined-name", _code("from torch import nn\n", ""), 6),
    "a class of another cell": ("undefined-name", _code("nn.Linear(width", "MyLinear(width"), 10),
    # the contract
    "no valid Python": ("module-syntax", _code("def fl_train_model(", "def fl_train_model"), 16),
    "function missing": ("train-function-missing", _code("def fl_train_model", "def train"), None),
    "function misspelt": ("train-function-missing", _code("def fl_train_model", "def fl_trian_model"), None),
    "class missing": ("model-missing", _config("model_args", 'model = "Net"\nmodel_args'), None),
    "wrong signature": ("train-signature", _code("(payload, out_dir, logger=None)", "(payload, out_dir)"), 16),
    "too many arguments": ("train-signature", _code("out_dir, logger=None", "out_dir, seed, logger=None"), 16),
    "async": ("train-signature", _code("def fl_train_model", "async def fl_train_model"), 16),
    "wrong validate signature": (
        "validate-signature",
        lambda folder: _append(folder, "def fl_validate_model(model):\n    return {}\n"),
        None,
    ),
    "constructor arguments lost": ("model-args", _config("model_args = { num_classes = 3 }", ""), 7),
    "constructor argument unknown": ("model-args", _config("num_classes = 3 }", "num_classes = 3, depth = 2 }"), 7),
    "weights never loaded": (
        "weights-not-loaded",
        _code('    model.load_state_dict(payload["initial_weights"])\n', ""),
        16,
    ),
    "samples missing": ("samples-missing", _code('"samples": len(dataset), ', ""), 28),
    "weights missing": ("weights-missing", _code('"weights": model.state_dict(), ', ""), 28),
    "parameters for weights": ("weights-not-a-state-dict", _code("model.state_dict()", "model.parameters()"), 28),
    "nothing returned": ("result-missing", _code(f"    return {RETURN}\n", ""), 16),
    "metric beside metrics": ("result-key", _code('"samples": len', '"accuracy": 0.5, "samples": len'), 28),
    "payload key misspelt": ("payload-key", _code('payload["initial_weights"]', 'payload["initial_weight"]'), 19),
    "env key misspelt": ("env-key", _code('env["learning_rate"]', 'env["learning_rat"]'), 27),
    "env key that nobody sets": ("env-key", _code('env["learning_rate"]', 'env["momentum"]'), 27),
    # what comes along, and what does not
    "module not installed": ("import-missing", _code("import torch\n", "import torch\nimport torchy\n"), 2),
    "module that sites lack": ("import-not-on-sites", _code("import torch\n", "import torch\nimport hypothesis\n"), 2),
    "relative import": ("relative-import", _code("import torch\n", "import torch\nfrom . import net\n"), 2),
    "sibling hidden by the standard library": ("sibling-module", lambda f: _sibling(f, "statistics", "x = 1\n"), None),
    "sibling with an undefined name": ("undefined-name", lambda f: _sibling(f, "my_layers", "x = nn\n"), 1),
    "path of one machine": ("local-path", _code('env = payload["env"]', 'env = payload["env"]; x = "/home/me/a"'), 17),
    "device fixed": ("device-hard-coded", _code("model.train()", 'model.to("cuda").train()'), 20),
    "module missing": ("module-missing", lambda folder: (folder / "model_def.py").unlink(), None),
    "password in the module": (
        "secret",
        _code("import rt_flare\n", 'import rt_flare\nPASSWORD = "hunter2hunter2"\n'),
        5,
    ),
}


def _append(folder: Path, text: str) -> None:
    with (folder / "model_def.py").open("a") as file:
        file.write(f"\n\n{text}")


def _sibling(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    _code("import torch\n", f"import torch\nimport {name}\n")(folder)


def _constant_by_name(folder: Path) -> None:
    _code('"samples": len(dataset)', '"samples": total')(folder)
    _code("    model.train()\n", "    model.train()\n    total = 640\n")(folder)


MODULE_MISTAKES["constant samples by a name"] = ("samples-constant", _constant_by_name, 29)


@pytest.mark.parametrize(("code", "spoil", "line"), MODULE_MISTAKES.values(), ids=MODULE_MISTAKES)
def test_a_mistake_in_the_module_is_found(project: Path, code: str, spoil: Spoil, line: int | None) -> None:
    """C6, M2, M4, M7, M11: by reading alone."""
    spoil(project)
    report = check_path(project, STATIC)
    assert _found(report) == {code}, report.findings
    assert report.failed
    if line is not None:
        assert line in {finding.line for finding in report.findings}


def _drop_file(files: dict[str, bytes]) -> None:
    del files["images/8.png"]


def _break_image(files: dict[str, bytes]) -> None:
    files["images/8.png"] = b"\x89PNG\r\n\x1a\n but no image"


def _into_subfolder(files: dict[str, bytes]) -> None:
    files["data/manifest.ndjson"] = files.pop("manifest.ndjson")


def _wrap(files: dict[str, bytes]) -> None:
    for name in list(files):
        files[f"shard/{name}"] = files.pop(name)


SHARD_MISTAKES: dict[str, tuple[str, Spoil]] = {
    "manifest not at the root": ("manifest-missing", _zip(_into_subfolder)),
    "wrapper folder": ("shard-structure", _zip(_wrap)),
    "file missing in one shard": ("file-missing", _zip(_drop_file)),
    "image broken": ("image", _zip(_break_image)),
    "label negative": ("manifest-line", _manifest(b'"y":[0]', b'"y":[-1]')),
    "label out of range": ("label", _manifest(b'"y":[0]', b'"y":[7]')),
    "num_classes too small": ("label", _config("num_classes = 3\n", "num_classes = 2\n")),
    "label no integer": ("manifest-line", _manifest(b'"y":[0]', b'"y":["cat"]')),
    "id twice": ("manifest-line", _manifest(b'"id":"s7"', b'"id":"s6"')),
    "uri out of the shard": ("uri", _manifest(b"file://images/6.png", b"file:///etc/passwd")),
    "line that is no JSON": ("manifest-line", _manifest(b'{"id":"s7"', b'"id":"s7"')),
    "shard cut off": ("shard-structure", lambda f: _cut(f / "shards" / "shard_0002.zip")),
    "shard missing in the row": ("shard-row", lambda f: _rename(f, "shard_0001.zip", "shard_0003.zip")),
    "ZIP that is no shard": ("shard-row", lambda f: _rename(f, "shard_0002.zip", "part2.zip")),
    "more clients than shards": ("min-clients", _config("min_clients = 2", "min_clients = 3")),
    "no shards": ("shard-row", lambda f: shutil.rmtree(f / "shards")),
}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _rename(folder: Path, old: str, new: str) -> None:
    (folder / "shards" / old).rename(folder / "shards" / new)


@pytest.mark.parametrize(("code", "spoil"), SHARD_MISTAKES.values(), ids=SHARD_MISTAKES)
def test_a_mistake_in_the_shards_is_found(project: Path, code: str, spoil: Spoil) -> None:
    """K1, K3, K4, K5, C4."""
    spoil(project)
    report = check_path(project, STATIC)
    # Fewer shards than clients comes along with a shard that is not counted.
    assert _found(report) - ({"min-clients"} if code == "shard-row" else set()) == {code}, report.findings


CONFIG_MISTAKES: dict[str, tuple[str, Spoil]] = {
    "unknown field": ("project-file", _config("min_clients", "min_client")),
    "value out of range": ("project-file", _config("batch_size = 4", "batch_size = 0")),
    "no TOML": ("project-file", _config("[training]", "[training")),
    "unknown template": ("template", _config("model_args", 'template = "rt_fedavgg"\nmodel_args')),
    "value for another template": ("render", _config("model_args", 'template = "rt_site_data"\nmodel_args')),
    "unknown adapter": ("render", _config("adapter_args", 'adapter = "imagefoldr"\nadapter_args')),
    "extra that NVFlare would rewrite": (
        "render",
        _config("[federation]", '[training.extra]\nnote = "{name}"\n[federation]'),
    ),
    "timeouts that do not exist": ("render", _config("[federation]", '[federation]\ntimeouts = "fast"')),
    "requirement that does not parse": ("requirement-syntax", _write("requirements.txt", "scipy=1.2\n")),
    "requirement that no site can have": ("requirement-conflict", _write("requirements.txt", "nvflare<2.9\n")),
    "requirements that exclude each other": (
        "requirement-conflict",
        _write("requirements.txt", "scipy>=1.12\nscipy<1.12\n"),
    ),
    "requirement from an address": ("requirement-url", _write("requirements.txt", "scipy @ https://x.test/s.whl\n")),
    "requirements elsewhere": ("requirement-option", _write("requirements.txt", "-r more.txt\n")),
    "password in the project": (
        "secret",
        _config("[federation]", '[training.extra]\npassword = "hunter2hunter2"\n[federation]'),
    ),
}


@pytest.mark.parametrize(("code", "spoil"), CONFIG_MISTAKES.values(), ids=CONFIG_MISTAKES)
def test_a_mistake_in_the_project_is_found(project: Path, code: str, spoil: Spoil) -> None:
    """C6, K1: found before anything is rendered."""
    spoil(project)
    report = check_path(project, STATIC)
    assert _found(report) == {code}, report.findings


def _json(name: str, change: Callable[[dict[str, object]], object]) -> Spoil:
    def spoil(job: Path) -> None:
        path = job / name
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return spoil


SERVER, CLIENT = "app/config/config_fed_server.json", "app/config/config_fed_client.json"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
SIGNED = "https://s3.test/b/shard_0001.zip?X-Amz-Expires=3600&X-Amz-Signature=0123456789abcdef0123456789abcdef"
JOB_MISTAKES: dict[str, tuple[str, Spoil]] = {
    "arguments lost at the sites": ("model-differs", _json(CLIENT, lambda c: c.update(MODEL_ARGS=None))),
    "another model at the sites": ("model-differs", _json(CLIENT, lambda c: c.update(MODEL_PATH="model_def.Other"))),
    "arguments lost everywhere": (
        "model-args",
        lambda job: [_json(name, lambda c: c.update(MODEL_ARGS=None))(job) for name in (SERVER, CLIENT)],
    ),
    "more clients than sites": ("min-clients", _json(SERVER, lambda c: c.update(MIN_CLIENTS=5))),
    "more sites needed than there are": ("min-clients", _json("meta.json", lambda c: c.update(min_clients=5))),
    "one shard for two sites": (
        "site-shards",
        _json(CLIENT, lambda c: c.update(SITE_SHARDS={"site-1": 1, "site-2": 1})),
    ),
    "more sites than shards": (
        "shard-count",
        _json(CLIENT, lambda c: c.update(SITE_SHARDS={"site-1": 1, "site-2": 2, "site-3": 3})),
    ),
    "value out of range": ("value", _json(CLIENT, lambda c: c.update(BATCH_SIZE=0))),
    "a timeout that NVFlare does not read": ("timeouts-B39", _json(CLIENT, lambda c: c.update(get_task_timeuot=600))),
    "module missing": ("module-missing", lambda job: (job / "app/custom/model_def.py").unlink()),
    "a file that is no JSON": ("job-file", lambda job: (job / SERVER).write_text("{")),
    "a private key": ("secret", lambda job: (job / "app/custom/id_notes.txt").write_text(KEY)),
    "a signed URL": ("secret", _json(CLIENT, lambda c: c.update(EXTRA={"shard": SIGNED}))),
    "credentials of a storage": (
        "secret",
        _json(CLIENT, lambda c: c.update(EXTRA={"aws_secret_access_key": "wJalrXUtn"})),
    ),
    "requirement that does not parse": (
        "requirement-syntax",
        lambda job: (job / "app/custom/requirements.txt").write_text("scipy==\n"),
    ),
}


@pytest.fixture
def job(project: Path) -> Path:
    """The project's job."""
    return render_project(read_project(project), project.parent / "job")[0]


@pytest.mark.parametrize(("code", "spoil"), JOB_MISTAKES.values(), ids=JOB_MISTAKES)
def test_a_mistake_in_a_job_is_found(job: Path, code: str, spoil: Spoil) -> None:
    """C6, T8, T12, C3: the job folder that is about to be submitted."""
    spoil(job)
    report = check_path(job, STATIC)
    assert code in _found(report), report.findings
    assert _found(report) <= {code, "shard-count"}, report.findings


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run in this process: starting one costs seconds."""
    monkeypatch.setattr(dry_run_module, "run_trial", functools.partial(run_trial, worker_type=InProcessWorker))
    monkeypatch.setattr(sys, "path", list(sys.path))


BACKWARD = "    loss.backward()\n"
DRY_RUN_MISTAKES: dict[str, tuple[str, Spoil, int | None]] = {
    "constructor that fails": (
        "model-build",
        _code("        super().__init__()\n", "        super().__init__()\n        1 / 0\n"),
        10,
    ),
    "factory of something else": (
        "model-build",
        lambda f: (
            _append(f, "def make(num_classes):\n    return 3\n"),
            _config("model_args", 'model = "make"\nmodel_args')(f),
        ),
        None,
    ),
    "arguments lost in training": (
        "weights-do-not-fit",
        _config("num_classes = 3 }", "num_classes = 3, width = 32 }"),
        19,
    ),
    "model with too few outputs": (
        "label-beyond-model",
        lambda f: (
            _code('Model(env["num_classes"])', "Model(2)")(f),
            _config("num_classes = 3 }", "num_classes = 2 }")(f),
        ),
        23,
    ),
    "training diverged": ("result", _code(BACKWARD, BACKWARD + "    env['learning_rate'] = float('nan')\n"), None),
    "samples counted wrongly": (
        "samples-differ",
        _code('"samples": len(dataset)', '"samples": 2 * len(dataset)'),
        None,
    ),
    "weights not trained": ("weights-unchanged", _code("weights -= env", "weights - env"), None),
    "weights of another dtype": (
        "weights-do-not-fit",
        _code("model.state_dict(), ", "{k: v.double() for k, v in model.state_dict().items()}, "),
        None,
    ),
    "samples no integer": ("result", _code("len(dataset), ", "len(dataset) / 1, "), 16),
    "file that the author alone has": (
        "dry-run-data",
        lambda f: ((f / "vocabulary.txt").touch(), _code(BACKWARD, BACKWARD + "    open('vocabulary.txt')\n")(f)),
        25,
    ),
    "exception": ("dry-run-exception", _code(BACKWARD, BACKWARD + "    [][1]\n"), 25),
}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("code", "spoil", "line"), DRY_RUN_MISTAKES.values(), ids=DRY_RUN_MISTAKES)
def test_a_mistake_that_only_shows_when_the_code_runs_is_found(
    project: Path, code: str, spoil: Spoil, line: int | None
) -> None:
    """X5: one batch."""
    spoil(project)
    report = check_path(project)
    assert _found(report) == {code}, report.findings
    (finding,) = report.findings
    assert Path(finding.file).name == "model_def.py"
    assert line is None or finding.line == line


def test_a_first_batch_that_does_not_fit_in_memory_is_found(project: Path) -> None:
    """X5: in a process of its own, which is given 1 GiB."""
    # Before the dataset is opened: the child is spared importing what decodes images.
    _code("    model.train()\n", "    model.train()\n    torch.zeros(1 << 30)\n")(project)
    report = check_path(project, CheckOptions(memory_limit_bytes=1 << 30))
    (finding,) = report.findings
    assert (finding.code, finding.line) == ("first-batch-memory", 21)
    assert "batch_size (it is 4)" in finding.fix


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "statement"),
    [("dry-run-timeout", "while True: pass"), ("dry-run-died", "import os; os._exit(3)")],
    ids=["hangs", "ends its process"],
)
def test_code_that_hangs_or_ends_its_process_is_found(project: Path, code: str, statement: str) -> None:
    """X5."""
    _code(BACKWARD, f"{BACKWARD}    {statement}\n")(project)
    report = check_path(project, CheckOptions(deadline_seconds=20))
    assert _found(report) == {code}


@pytest.mark.usefixtures("in_process")
def test_a_project_without_a_mistake_has_no_finding(project: Path) -> None:
    """X5."""
    report = check_path(project)
    assert (report.kind, report.findings, report.unchecked) == (Target.PROJECT, (), ())


@pytest.mark.usefixtures("in_process")
def test_the_projects_job_has_no_finding(job: Path) -> None:
    """X5."""
    report = check_path(job)
    assert (report.kind, report.findings, report.unchecked) == (Target.JOB, (), ())


def test_shards_alone_are_checked(project: Path) -> None:
    """X5, K1."""
    assert check_path(project / "shards").findings == ()
    report = check_path(project / "shards", CheckOptions(num_sites=3))
    assert (report.kind, _found(report)) == (Target.SHARDS, {"shard-count"})


def test_shards_of_other_data_need_no_manifest(tmp_path: Path) -> None:
    """K10."""
    for index in (1, 2):
        with zipfile.ZipFile(tmp_path / f"shard_{index:04d}.zip", "w") as archive:
            archive.writestr("rows.csv", "a,b\n1,2\n")
    assert check_path(tmp_path).findings == ()


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(path.name, marks=[] if path.name == "rt_fedavg" else pytest.mark.slow)
        for path in sorted(templates_home().iterdir())
        if path.is_dir()
    ],
)
def test_our_templates_have_no_finding(template: str) -> None:
    """C6: no false alarm."""
    assert check_path(templates_home() / template).findings == ()


MODULES = [
    (ROOT / "rt_flare/quickstart/model_def.py", {}),
    (ROOT / "plugins/rt-flare-imagefolder/example/model_def.py", {"num_classes": 2}),
    (ROOT / "plugins/rt-flare-jsonl/example/model_def.py", {"num_classes": 2}),
    (ROOT / "plugins/rt-flare-tabular/example/model_def.py", {"num_features": 2, "num_classes": 2}),
    (ROOT / "plugins/rt-flare-robust/example/model_def.py", {}),
]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("path", "args"), MODULES, ids=[str(path.relative_to(ROOT)) for path, _ in MODULES])
def test_our_examples_have_no_finding(path: Path, args: dict[str, int]) -> None:
    """C6: no false alarm; the model is built as well."""
    sys.modules.pop("model_def", None)
    report = check_path(path, CheckOptions(model_args=args))
    sys.modules.pop("model_def", None)
    assert report.findings == ()


def test_what_cannot_be_checked_is_named(tmp_path: Path) -> None:
    """N6: the message says what is expected."""
    with pytest.raises(ConfigError, match="no such file or folder, expected a module"):
        check_path(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"rt_flare\.toml"):
        check_path(tmp_path)


def test_a_secret_is_named_and_never_shown(job: Path) -> None:
    """C3."""
    _json(CLIENT, lambda c: c.update(EXTRA={"url": SIGNED, "api_key": "s3cr3ts3cr3t"}))(job)
    text = io.StringIO()
    for finding in check_path(job, STATIC).findings:
        text.write(str(finding))
    assert "secret" in {finding.code for finding in check_path(job, STATIC).findings}
    assert "0123456789abcdef" not in text.getvalue()
    assert "s3cr3t" not in text.getvalue()


def test_at_least_thirty_mistakes_are_seeded() -> None:
    """C6: the figure that the check is held to."""
    tables = (MODULE_MISTAKES, SHARD_MISTAKES, CONFIG_MISTAKES, JOB_MISTAKES, DRY_RUN_MISTAKES)
    codes = {entry[0] for table in tables for entry in table.values()}
    assert sum(map(len, tables)) >= 85
    assert len(codes) >= 40


def test_the_page_names_every_code() -> None:
    """X5: docs/check.md."""
    tables = (MODULE_MISTAKES, SHARD_MISTAKES, CONFIG_MISTAKES, JOB_MISTAKES, DRY_RUN_MISTAKES)
    page = (ROOT / "docs/check.md").read_text()
    codes = {entry[0] for table in tables for entry in table.values()}
    assert [code for code in sorted(codes) if f"`{code}`" not in page and not code.startswith("timeouts-")] == []


def test_a_job_of_the_quickstart_has_no_finding(project: Path, tmp_path: Path) -> None:
    """C6: with the module as it is shipped."""
    job = render_job(
        out=tmp_path / "digits",
        model_def=ROOT / "rt_flare/quickstart/model_def.py",
        training=TrainingConfig(img_size=8, num_classes=10),
        federation=FederationConfig(min_clients=2),
        sites=["a", "b"],
        shards_dir=project / "shards",
        adapter_args={"channels": 1},
    )
    assert check_path(job, STATIC).findings == ()
