"""Who gets the credentials of a storage, and who does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rt_flare.core.credentials import is_credential
from rt_flare.jobs.poc_kits import private_environment
from rt_flare.jobs.storage_credentials import site_environment

SECRETS = {
    "FSSPEC_S3_KEY": "k",
    "FSSPEC_S3_SECRET": "s",
    "FSSPEC_GS": '{"token": "t"}',
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_SESSION_TOKEN": "t",
}
OTHERS = {"PATH": "/bin", "AWS_REGION": "eu", "HF_TOKEN": "the site's own", "RT_FLARE_CACHE_DIR": "/c"}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, OTHERS),
        ({"data_root": "/data"}, OTHERS),
        ({"shard": "/data/shard_0001.zip"}, OTHERS),
        ({"shard": "https://host/shard_0001.zip?sig=x"}, OTHERS),
        ({"shard": "s3://own/shard_0001.zip"}, SECRETS | OTHERS),
    ],
)
def test_a_site_gets_credentials_only_for_a_shard_of_its_own(
    tmp_path: Path, own: dict[str, str] | None, expected: dict[str, str]
) -> None:
    """K2, K9: with signed URLs it needs none."""
    if own is not None:
        (tmp_path / "rt_flare_data.json").write_text(json.dumps(own))
    assert site_environment(tmp_path, SECRETS | OTHERS) == expected


def test_a_deployments_commands_keep_what_they_are_given(tmp_path: Path) -> None:
    """K9: the environment of the caller is not looked at."""
    found = private_environment(tmp_path, OTHERS)
    assert set(found) == {*OTHERS, "HOME"}


@pytest.mark.parametrize(
    "given",
    [
        {"FSSPEC_S3_KEY": "k", "FSSPEC_S3_SECRET": "s"},
        {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"},
        {"FSSPEC_S3": '{"key": "k", "secret": "s"}', "AWS_ACCESS_KEY_ID": "another"},
    ],
)
def test_a_process_keeps_credentials_that_its_children_do_not_get(given: dict[str, str]) -> None:
    """K9: the simulator's process opens storages, the sites that it starts cannot."""
    code = """if True:
        import json, os, subprocess, sys
        from rt_flare.jobs.storage_credentials import keep_credentials
        keep_credentials("none")
        import fsspec
        child = subprocess.check_output([sys.executable, "-c", "import os, json; print(json.dumps(dict(os.environ)))"])
        print(json.dumps([fsspec.config.conf["s3"], json.loads(child)]))
    """
    plain = {name: value for name, value in os.environ.items() if not is_credential(name)}
    done = subprocess.run([sys.executable, "-c", code], env=plain | given, capture_output=True, text=True, check=True)
    options, environment = json.loads(done.stdout)
    assert (options["key"], options["secret"]) == ("k", "s")
    assert not [name for name in environment if is_credential(name)]
