"""Another aggregator in a job, by name (M12, P5)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rt_flare.components.aggregator import SampleWeightedAggregator
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.errors import ConfigError
from rt_flare.jobs.aggregator_component import use_aggregator
from rt_flare.jobs.render import render_job
from rt_flare.jobs.template import load_template

OURS = "rt_flare.components.aggregator.SampleWeightedAggregator"


def rendered(folder: Path, deterministic: bool = True, **options: Any) -> dict[str, Any]:
    (folder / "model_def.py").write_text("class Model: ...\n")
    job = render_job(
        out=folder / "job",
        model_def=folder / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(min_clients=2, deterministic=deterministic),
        sites=["site-1", "site-2"],
        **options,
    )
    config = json.loads((job / "app/config/config_fed_server.json").read_text())
    (aggregator,) = (component for component in config["components"] if component["id"] == "aggregator")
    return dict(aggregator)


def test_the_templates_aggregator_stays_unless_another_is_asked_for(tmp_path: Path) -> None:
    """M12: its variables too."""
    found = rendered(tmp_path)
    assert (found["path"], found["args"]["deterministic"]) == (OURS, "{DETERMINISTIC}")


def test_arguments_reach_it_beside_the_templates_variables(tmp_path: Path) -> None:
    """M12"""
    args = rendered(tmp_path, aggregator_args={"max_held_bytes": 5})["args"]
    assert args == {
        "deterministic": "{DETERMINISTIC}",
        "max_held_bytes": 5,
        "max_samples_per_site": "{MAX_SAMPLES_PER_SITE}",
    }


def test_a_plugins_aggregator_takes_its_place(tmp_path: Path) -> None:
    """P5: by the path that NVFlare imports, with the template's variables that it knows."""
    pytest.importorskip("rt_flare_robust")
    found = rendered(tmp_path, aggregator="trimmed_mean", aggregator_args={"trim_fraction": 0.3})
    assert found["path"] == "rt_flare_robust.aggregators.TrimmedMeanAggregator"
    assert found["args"]["trim_fraction"] == 0.3
    assert set(found["args"]) <= {"trim_fraction", "max_held_bytes"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregator": "sample_weighted_men"}, "Did you mean 'sample_weighted_mean'"),
        ({"aggregator": "manifest"}, "aggregator component 'manifest' is not installed"),
        (
            {"aggregator_args": {"max_bytes": 5}},
            "keyword argument 'max_bytes'. Its options: deterministic, max",
        ),
        ({"aggregator_args": {"max_held_bytes": {1, 2}}}, "aggregator_args.max_held_bytes: found"),
    ],
)
def test_what_cannot_work_is_refused_when_the_job_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """C6: not on the server, when the job starts."""
    with pytest.raises(ConfigError, match=message):
        rendered(tmp_path, **options)
    assert not (tmp_path / "job").exists()


def test_an_aggregators_own_refusal_is_shown(tmp_path: Path) -> None:
    """C6"""
    pytest.importorskip("rt_flare_robust")
    with pytest.raises(ConfigError, match=r"aggregator 'trimmed_mean': aggregator_args: .*trim_fraction: found 0\.7"):
        rendered(tmp_path, aggregator="trimmed_mean", aggregator_args={"trim_fraction": 0.7})


def test_a_deterministic_job_refuses_an_aggregator_that_does_not_promise_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """X3: said before the job runs, not found out afterwards."""
    monkeypatch.setattr(SampleWeightedAggregator, "__init__", lambda self: None)
    job = load_template("rt_fedavg")
    with pytest.raises(ConfigError, match="does not promise the same bytes for any order"):
        use_aggregator(job, "sample_weighted_mean", None, deterministic=True)
    monkeypatch.setattr(SampleWeightedAggregator, "order_independent", True)
    changed = use_aggregator(job, "sample_weighted_mean", None, deterministic=True)
    (aggregator,) = (component for component in changed.server["components"] if component["id"] == "aggregator")
    assert aggregator["args"] == {}
    assert changed.client == job.client


def test_a_template_without_an_aggregator_is_refused() -> None:
    """C6"""
    job = load_template("rt_fedavg")
    with pytest.raises(ConfigError, match=r"rt_fedavg/.*: found no component with id 'aggregator'"):
        use_aggregator(replace(job, server={"components": []}), "sample_weighted_mean", None, deterministic=False)
