"""The class_allow_list of a kit: completed with what is missing, and nothing else changed (N7)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.fl_exception import UnsafeComponentError
from nvflare.apis.workspace import Workspace
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.app_common.widgets.component_path_authorizer import ComponentPathAuthorizer

from rt_flare.errors import KitError
from rt_flare.jobs.poc_kits import provision_kits
from rt_flare.jobs.site_allow import missing_prefixes, needed_prefixes, plan_allow
from rt_flare.jobs.site_kit import StartupKit, install_plan, read_kit

EXECUTOR = {"path": "rt_flare.components.executor.PayloadExecutor"}


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provision_kits(tmp_path_factory.mktemp("kits"), ["site-1"], class_prefixes=[], server_settings={})


@pytest.fixture
def kit_folder(provisioned: Path, tmp_path: Path) -> Path:
    """A site's kit as `nvflare provision` makes it."""
    kit = Path(shutil.copytree(provisioned / "site-1", tmp_path / "site-1"))
    (kit / "local" / "resources.json").unlink()
    return kit


def _authorize(kit: Path, component: dict[str, str]) -> None:
    """Ask NVFlare, as a site does when a job without custom code comes."""
    ComponentPathAuthorizer().authorize_component_config(component, workspace=Workspace(str(kit), "site-1", "config"))


def _kit(resources: dict[str, Any]) -> StartupKit:
    return StartupKit(Path(), "client", resources, Path("resources.json"))


def test_nvflare_refuses_our_components_before_and_takes_them_after(kit_folder: Path) -> None:
    """N7."""
    with pytest.raises(UnsafeComponentError, match="PayloadExecutor"):
        _authorize(kit_folder, EXECUTOR)
    install_plan(plan_allow(read_kit(kit_folder), needed_prefixes()))
    _authorize(kit_folder, EXECUTOR)
    _authorize(kit_folder, {"path": "rt_flare_robust.aggregators.TrimmedMeanAggregator"})
    _authorize(kit_folder, {"path": DEFAULT_CLASS_ALLOW_LIST[0]})
    with pytest.raises(UnsafeComponentError):
        _authorize(kit_folder, {"path": "rt_flare_elsewhere.thing.Thing"})


def test_the_default_is_taken_over_whole(kit_folder: Path) -> None:
    """N7: NVFlare reads resources.json instead of the default, not in addition."""
    default = json.loads((kit_folder / "local" / "resources.json.default").read_text())
    install_plan(plan_allow(read_kit(kit_folder), ["rt_flare."]))
    written = json.loads((kit_folder / "local" / "resources.json").read_text())
    assert written.pop("class_allow_list") == [*default.pop("class_allow_list"), "rt_flare."]
    assert written == default
    assert list(written) == list(default)


def test_what_the_administrator_set_stays_and_a_second_time_changes_nothing(kit_folder: Path) -> None:
    """N7: idempotent, to the byte, the mode and the time."""
    file = kit_folder / "local" / "resources.json"
    file.write_text(json.dumps({"class_allow_list": ["mine.Thing"], "own": {"k": [1, None]}}))
    file.chmod(0o600)
    install_plan(plan_allow(read_kit(kit_folder), ["rt_flare."]))
    assert json.loads(file.read_text()) == {"class_allow_list": ["mine.Thing", "rt_flare."], "own": {"k": [1, None]}}
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.stat()
    install_plan(plan_allow(read_kit(kit_folder), ["rt_flare."]))
    assert file.stat() == before


def test_a_file_behind_a_link_is_written_where_it_is(kit_folder: Path, tmp_path: Path) -> None:
    """N7: the kit keeps its link."""
    target = tmp_path / "elsewhere.json"
    target.write_text("{}")
    file = kit_folder / "local" / "resources.json"
    file.symlink_to(target)
    install_plan(plan_allow(read_kit(kit_folder), ["rt_flare."]))
    assert file.is_symlink()
    assert json.loads(target.read_text())["class_allow_list"] == [*DEFAULT_CLASS_ALLOW_LIST, "rt_flare."]


def test_without_a_list_nvflares_own_stays_in_force() -> None:
    """N7: a list takes the place of the one that NVFlare has built in."""
    assert plan_allow(_kit({}), ["rt_flare."]).resources == {
        "class_allow_list": [*DEFAULT_CLASS_ALLOW_LIST, "rt_flare."]
    }


@pytest.mark.parametrize("allowed", [["*"], ["rt_flare."], ["*", "rt_flare"]])
def test_what_is_allowed_already_is_not_missing(allowed: list[str]) -> None:
    """N7."""
    assert missing_prefixes(_kit({"class_allow_list": allowed}), ["rt_flare."]) == []


def test_a_class_of_the_package_does_not_allow_the_package() -> None:
    """N7."""
    allowed = ["rt_flare.components.executor.PayloadExecutor", "rt_flare.components."]
    assert missing_prefixes(_kit({"class_allow_list": allowed}), ["rt_flare."]) == ["rt_flare."]


@pytest.mark.parametrize(
    "resources",
    [
        {"class_allow_list": ["rt_flare"]},
        {"class_allow_list": "rt_flare."},
        {"class_allow_list": [7]},
        {"class_list_enforcement_mode": "off"},
    ],
)
def test_a_list_that_nvflare_refuses_is_an_error_and_not_added_to(resources: dict[str, Any]) -> None:
    """N7: one bad entry makes NVFlare refuse every component."""
    with pytest.raises(KitError, match="NVFlare refuses every component"):
        plan_allow(_kit(resources), ["rt_flare."])


@pytest.mark.parametrize("prefix", ["my_package", "*", "", ".", "a..b.", "a b."])
def test_a_prefix_that_is_no_package_is_refused(prefix: str) -> None:
    """N7: before anything is written."""
    with pytest.raises(KitError, match="prefix"):
        plan_allow(_kit({}), [prefix])


_PACKAGE = st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3}){0,2}", fullmatch=True)


@given(
    st.lists(_PACKAGE.map(lambda name: f"{name}."), max_size=5), st.lists(_PACKAGE.map(lambda n: f"{n}."), max_size=5)
)
def test_planning_keeps_adds_and_comes_to_rest(present: list[str], wanted: list[str]) -> None:
    """N7: whatever was there and whatever is asked for."""
    plan = plan_allow(_kit({"class_allow_list": present}), wanted)
    after = plan.resources["class_allow_list"]
    assert after[: len(present)] == present
    assert missing_prefixes(_kit(plan.resources), wanted) == []
    assert plan_allow(_kit(plan.resources), wanted).added == ()


def test_a_folder_that_is_no_kit_is_refused(tmp_path: Path, provisioned: Path) -> None:
    """N7: an administrator's kit has no list."""
    with pytest.raises(KitError, match="found none"):
        read_kit(tmp_path)
    with pytest.raises(KitError, match="administrator's kit"):
        read_kit(provisioned / "admin@example.com")


@pytest.mark.parametrize(("content", "message"), [("{", "not valid JSON"), ("[]", "found list")])
def test_resources_that_cannot_be_read_are_named(kit_folder: Path, content: str, message: str) -> None:
    """N7."""
    (kit_folder / "local" / "resources.json").write_text(content)
    with pytest.raises(KitError, match=message):
        read_kit(kit_folder)
