"""What server and sites run on, and the file that says so (X10, J10)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from rt_flare.core.environment import (
    ENVIRONMENT_FILE,
    Environment,
    Environments,
    SiteEnvironment,
    own_environment,
    read_environments,
)


def _schema() -> dict[str, Any]:
    return json.loads(files("rt_flare").joinpath("schemas", "environment.schema.json").read_text())


def _document(site: str) -> Environments:
    own = own_environment()
    return Environments(job_id="j", server=own, sites=[SiteEnvironment(site=site, **own.model_dump())])


def test_a_process_describes_itself_without_names_of_host_or_user() -> None:
    """X10: and quickly enough to be asked in every round."""
    own = own_environment()
    assert own.python == platform.python_version()
    assert own.cpus == len(os.sched_getaffinity(0))
    assert platform.node() not in own.model_dump_json()


def test_the_file_is_read_as_it_was_written_and_keeps_to_its_schema(tmp_path: Path) -> None:
    """J10: a hostile name is a value."""
    written = _document('"},</script>')
    written.write(tmp_path)
    assert read_environments(tmp_path / ENVIRONMENT_FILE) == written
    jsonschema.Draft202012Validator(_schema()).validate(json.loads((tmp_path / ENVIRONMENT_FILE).read_bytes()))


def test_the_schema_names_exactly_the_fields() -> None:
    """J10: drift."""
    schema = _schema()
    assert list(schema["$defs"]["environment"]["properties"]) == list(Environment.model_fields)
    assert list(schema["$defs"]["site"]["properties"]) == list(SiteEnvironment.model_fields)
    assert list(schema["properties"]) == ["schema", *Environments.model_fields]


@pytest.mark.parametrize("change", [{"python": "x" * 201}, {"gpus": -1}, {"cpus": 2**40}, {"host": "me"}])
def test_a_site_cannot_say_more_than_it_is_asked(change: dict[str, Any]) -> None:
    """J10: client text is bounded."""
    with pytest.raises(ValidationError):
        Environment.model_validate(own_environment().model_dump() | change)


def test_another_document_is_refused(tmp_path: Path) -> None:
    """J10"""
    (tmp_path / "x.json").write_text('{"schema": "rt_flare.metrics/1"}')
    with pytest.raises(ValueError, match=r"x\.json: not a rt_flare\.environment/1 document"):
        read_environments(tmp_path / "x.json")


def test_reading_needs_no_pytorch() -> None:
    """X10: a report is made at once."""
    code = "import sys, rt_flare.core.environment; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
