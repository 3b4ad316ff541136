"""The timeout preset of a job (T9)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rt_flare.errors import ConfigError
from rt_flare.jobs.job_timeouts import with_timeouts
from rt_flare.jobs.template import load_template
from rt_flare.timeouts import presets

OURS = {"title": "ours", "extends": "standard", "settings": {"get_task_timeout": 777}}


def test_a_named_preset_stands_in_the_jobs_files() -> None:
    """T9: top level, section, workflow arguments and meta."""
    job = with_timeouts(load_template("rt_fedavg"), "hpc", num_sites=100)
    assert job.client["get_task_timeout"] == 600
    assert job.server["dead_client_grace_period"] == 300
    assert job.server["TASK_REQUEST_INTERVAL"] == 2
    assert (job.server["MIN_CLIENTS"], job.meta["min_clients"]) == (96, 96)
    assert job.server["ROUND_TIMEOUT_SECONDS"] == 43200


def test_the_number_of_sites_counts() -> None:
    """T6: the interval of questions grows with them."""
    for num_sites, expected in ((2, 0.5), (50, 0.5), (100, 1.0), (400, 4.0)):
        job = with_timeouts(load_template("rt_fedavg"), "standard", num_sites=num_sites)
        assert job.server["TASK_REQUEST_INTERVAL"] == expected


def test_a_plugins_preset_is_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """T9, P1"""
    catalog = presets.load_catalog()
    found = SimpleNamespace(timeout_preset=lambda name: OURS if name == "ours" else catalog.timeout_preset(name))
    monkeypatch.setattr(presets, "load_catalog", lambda: found)
    job = with_timeouts(load_template("rt_fedavg"), "ours", num_sites=2)
    assert job.client["get_task_timeout"] == 777


def test_an_unknown_preset_is_refused() -> None:
    """T9"""
    with pytest.raises(ConfigError, match=r"timeout preset 'standrad' is not installed\. Did you mean 'standard'"):
        with_timeouts(load_template("rt_fedavg"), "standrad", num_sites=2)
