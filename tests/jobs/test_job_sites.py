"""Which sites a job is meant for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.job_sites import default_sites
from rt_flare.jobs.render import render_job


def test_a_job_with_shards_names_its_sites(tmp_path: Path) -> None:
    """K1: in the order of the shards."""
    (tmp_path / "model_def.py").touch()
    job = render_job(
        out=tmp_path / "job",
        model_def=tmp_path / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(min_clients=2),
        sites=["zoe", "adam"],
        shards_dir="/on/the/sites",
    )
    assert default_sites(job) == ["zoe", "adam"]


def test_another_job_gets_as_many_as_it_needs(mini_job: Callable[..., Path]) -> None:
    """N2."""
    assert default_sites(mini_job()) == ["site-1", "site-2"]


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    """C6."""
    with pytest.raises(JobError, match=r"no meta\.json"):
        default_sites(tmp_path)


@pytest.mark.parametrize("text", ["{ a = ", "[1, 2]", "\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    """C6."""
    (tmp_path / "meta.conf").write_text(text)
    with pytest.raises(ConfigError, match=r"meta\.conf: expected an object"):
        default_sites(tmp_path)
