"""Which variables of the environment are credentials, and that user code does not get them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from rt_flare.core import training_worker
from rt_flare.core.credentials import is_credential, without_credentials
from rt_flare.core.task_runner import UserCodeConfig
from rt_flare.core.training_worker import TrainingWorker

SECRETS = {
    "FSSPEC_S3_KEY": "k",
    "FSSPEC_S3_SECRET": "s",
    "FSSPEC_GS": '{"token": "t"}',
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_SESSION_TOKEN": "t",
}
OTHERS = {"PATH": "/bin", "AWS_REGION": "eu", "HF_TOKEN": "the site's own", "RT_FLARE_CACHE_DIR": "/c"}


def test_credentials_of_storages_are_told_from_other_variables() -> None:
    """C3, K9."""
    assert all(map(is_credential, SECRETS))
    assert without_credentials(SECRETS | OTHERS) == OTHERS


def test_user_code_starts_without_the_credentials_of_a_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """C3, K9: what it needs is in data_root."""
    for name, value in (SECRETS | OTHERS).items():
        monkeypatch.setenv(name, value)
    started: dict[str, str] = {}

    def popen(command: list[str], **options: Any) -> None:
        started.update(options["env"])
        raise OSError("not now")

    monkeypatch.setattr(training_worker.subprocess, "Popen", popen)
    with pytest.raises(OSError, match="not now"):
        TrainingWorker(UserCodeConfig(), lambda level, text: None).start()
    assert not [name for name in started if is_credential(name)]
    assert started["HF_TOKEN"] == os.environ["HF_TOKEN"]
