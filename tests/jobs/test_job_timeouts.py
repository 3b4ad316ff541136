"""The timeout preset of a job (T9)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rt_flare.builtin_plugin import templates_home
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.errors import ConfigError
from rt_flare.jobs.job_timeouts import with_timeouts
from rt_flare.jobs.render import render_job
from rt_flare.jobs.template import load_template
from rt_flare.timeouts import presets
from rt_flare.timeouts.finding import Facts
from rt_flare.timeouts.lint import lint

TEMPLATES = sorted(path.name for path in templates_home().iterdir() if (path / "info.conf").is_file())
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


def render(folder: Path, template: str, num_sites: int = 2, **federation: Any) -> Path:
    (folder / "model_def.py").write_text("import torch\n")
    return render_job(
        out=folder / "job",
        model_def=folder / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(min_clients=num_sites, **federation),
        sites=[f"site-{number}" for number in range(num_sites)],
        template=template,
    )


def server_of(job: Path) -> dict[str, Any]:
    return json.loads((job / "app/config/config_fed_server.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_states_the_values_of_its_preset(template: str) -> None:
    """T9, N1: who uses the template alone has the same job."""
    as_it_is = load_template(template)
    assert as_it_is.info["timeouts"] in presets.builtin_presets()
    assert with_timeouts(as_it_is, None, num_sites=2) == as_it_is


@pytest.mark.parametrize(
    ("template", "preset"),
    [
        *((template, None) for template in TEMPLATES),
        *((template, preset) for template in ("rt_fedavg", "rt_sag") for preset in presets.builtin_presets()),
    ],
)
def test_a_rendered_job_is_sound_with_every_preset(tmp_path: Path, template: str, preset: str | None) -> None:
    """T8, T9"""
    job = render(tmp_path, template, timeouts=preset)
    assert lint([job], Facts(num_sites=2, model_bytes=10**6, bytes_per_second=1e7)).findings == ()


def test_what_is_given_goes_before_the_preset(tmp_path: Path) -> None:
    """T9"""
    job = render(tmp_path, "rt_fedavg", timeouts="large_model", task_request_interval=0.25, round_timeout_seconds=77)
    server = server_of(job)
    assert (server["TASK_REQUEST_INTERVAL"], server["ROUND_TIMEOUT_SECONDS"]) == (0.25, 77)
    assert server["WAIT_TIME_AFTER_MIN_RECEIVED"] == 60
    assert server["tensor_download_chunk_size"] == 16777216


def test_a_preset_of_ones_own_file_is_rendered(tmp_path: Path) -> None:
    """T9"""
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(OURS))
    job = render(tmp_path, "rt_fedavg", timeouts=str(mine))
    assert json.loads((job / "app/config/config_fed_client.json").read_text())["get_task_timeout"] == 777


def test_a_template_that_names_no_preset_stays_as_it_is() -> None:
    """T9: a plugin's template may do without."""
    template = load_template("rt_fedavg")
    without = dataclasses.replace(template, info={})
    assert with_timeouts(without, None, num_sites=400) is without
