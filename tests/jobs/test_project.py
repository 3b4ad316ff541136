"""Projects: their file is checked when it is read, and they render like any job (C1, C2, K1)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rt_flare.core.durable_io import read_json
from rt_flare.errors import ConfigError, JobError, ShardError
from rt_flare.jobs.project import is_project, read_project, render_project

FILE = """\
template = "rt_custom"
model = "make"
model_args = { width = 3 }
extra_files = ["words.txt"]

[training]
batch_size = 7

[training.extra]
window = 5

[federation]
job_name = "mine"
min_clients = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with two shards."""
    (tmp_path / "shards").mkdir()
    for number in (1, 2):
        with zipfile.ZipFile(tmp_path / "shards" / f"shard_{number:04d}.zip", "w") as archive:
            archive.writestr("rows.csv", "a\n1\n")
    (tmp_path / "rt_flare.toml").write_text(FILE)
    (tmp_path / "model_def.py").write_text("def make(width): ...\n")
    (tmp_path / "words.txt").write_text("a\n")
    return tmp_path


def test_a_project_renders_its_job(folder: Path) -> None:
    """C1, C2, K1: every value arrives, one site for each shard."""
    assert is_project(folder)
    job, sites = render_project(read_project(folder), folder / "run" / "job", data_dir=folder / "data")
    client = read_json(job / "app/config/config_fed_client.json")
    server = read_json(job / "app/config/config_fed_server.json")
    assert sites == ["site-1", "site-2"]
    assert (client["MODEL_PATH"], client["MODEL_ARGS"], client["BATCH_SIZE"]) == ("model_def.make", {"width": 3}, 7)
    assert (client["EXTRA"], client["DATA_DIR"]) == ({"window": 5}, str(folder / "data"))
    assert client["SITE_SHARDS"] == {"site-1": 1, "site-2": 2}
    assert (server["MODEL_ARGS"], server["MIN_CLIENTS"]) == ({"width": 3}, 2)
    assert read_json(job / "meta.json")["name"] == "mine"
    assert (job / "app/custom/words.txt").is_file()


def test_a_number_of_sites_that_is_not_that_of_the_shards_is_refused(folder: Path) -> None:
    """K1: with both numbers."""
    with pytest.raises(JobError, match="found 2 shards for 3 sites"):
        render_project(read_project(folder), folder / "job", sites=["a", "b", "c"])
    (folder / "shards" / "shard_0001.zip").unlink()
    with pytest.raises(ShardError, match=r"shard_0001\.zip is missing"):
        render_project(read_project(folder), folder / "job")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size", "batchsize", r"training\.batchsize: Extra inputs"),
        ("min_clients = 2", "min_clients = 0", r"federation\.min_clients: Input should be greater"),
        ('"make"', '"model_def.make"', "expected the name of a class"),
        ("[training]", "[training", "expected TOML"),
        ('model = "make"', 'data_root = "data"', "expected an absolute path"),
        ('model = "make"', 'data_root = "/data"\nshards = "shards"', "expected one of them"),
    ],
)
def test_a_mistake_in_the_file_is_named_by_its_field(folder: Path, old: str, new: str, message: str) -> None:
    """C6."""
    (folder / "rt_flare.toml").write_text(FILE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_project(folder)


def test_shards_in_a_storage_need_the_names_of_the_sites(folder: Path) -> None:
    """J7: nobody counts them there."""
    (folder / "rt_flare.toml").write_text(f'shards = "s3://bucket/shards"\n{FILE}')
    with pytest.raises(ConfigError, match="name the sites"):
        render_project(read_project(folder), folder / "job")
    job, _ = render_project(read_project(folder), folder / "job", sites=["a", "b"])
    assert read_json(job / "app/config/config_fed_server.json")["SHARDS_URL"] == "s3://bucket/shards"


def test_data_that_is_at_the_sites_needs_no_shards(folder: Path) -> None:
    """K1: as many sites as a round needs, each with the same folder."""
    (folder / "rt_flare.toml").write_text(f'data_root = "/data"\n{FILE}')
    project = read_project(folder)
    job, sites = render_project(project, folder / "job")
    client = read_json(job / "app/config/config_fed_client.json")
    assert (sites, project.shards_dir) == (["site-1", "site-2"], None)
    assert (client["DATA_ROOT"], client["SHARDS_DIR"], client["SHARDS_FROM_SERVER"]) == ("/data", "", False)


def test_a_checkpoint_goes_to_the_server(folder: Path) -> None:
    """K4: and one that is missing is named."""
    (folder / "rt_flare.toml").write_text(f'checkpoint = "start.pt"\n{FILE}')
    with pytest.raises(JobError, match=r"start\.pt: no such file"):
        render_project(read_project(folder), folder / "job")
    (folder / "start.pt").write_bytes(b"weights")
    job, _ = render_project(read_project(folder), folder / "job")
    assert read_json(job / "app/config/config_fed_server.json")["INITIAL_CHECKPOINT"] == "start.pt"
    assert (job / "app/custom/start.pt").read_bytes() == b"weights"
