"""The catalog: plugins isolated from each other, names refused when two claim them (P1, P2, P5)."""

from __future__ import annotations

import importlib.metadata
import itertools
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

import rt_flare
from rt_flare.builtin_plugin import templates_home
from rt_flare.catalog import ENTRY_POINT_GROUP, PUBLISHED, Catalog, load_catalog, read_catalog
from rt_flare.components.aggregator import SampleWeightedAggregator
from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.errors import ConfigError
from rt_flare.hookspecs import COMPONENT_BASES, HOOKS, AdapterEntry, ComponentEntry, PresetEntry, TemplateEntry

Install = Callable[..., str]
_numbers = itertools.count()

HEAD = """
from pathlib import Path
from rt_flare.hookspecs import AdapterEntry, ComponentEntry, PresetEntry, TemplateEntry, hookimpl
"""
REGISTERS = HEAD + "@hookimpl\ndef {hook}():\n    return {{{name!r}: {entry}}}\n"
ADAPTER = """
from rt_flare.data.adapter import DatasetAdapter

class Rows(DatasetAdapter):
    name = "rows"

    def open(self, data_root, *, manifest_file, env):
        return []
"""


def registers(name: str, path: str = "nowhere:Adapter") -> str:
    entry = f"AdapterEntry({path!r}, 'pip install {name}')"
    return REGISTERS.format(hook="rt_flare_dataset_adapters", name=name, entry=entry)


def registers_component(name: str, path: str, kind: str = "aggregator") -> str:
    entry = f"ComponentEntry({kind!r}, {path!r}, 'pip install {name}')"
    return REGISTERS.format(hook="rt_flare_components", name=name, entry=entry)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution of one module, a plugin unless said otherwise; returns the module's name."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(distribution: str, source: str, requires: str = "", *, is_plugin: bool = True) -> str:
        module = f"plugin_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(source)
        if not is_plugin:
            return module
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{needs}")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nmain = {module}\n")
        return module

    return add


def installed() -> Catalog:
    return read_catalog(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))


def only_problem(catalog: Catalog) -> tuple[str, str]:
    assert "manifest" in catalog.adapters
    (problem,) = catalog.problems
    return problem.distribution, problem.message


def test_what_rt_flare_brings_enters_by_the_entry_point() -> None:
    """P1"""
    catalog = load_catalog()
    assert catalog.adapters["manifest"].distribution == "rt-flare"
    assert catalog.adapter("manifest") is ManifestImageAdapter
    assert catalog.component("sample_weighted_mean", kind="aggregator") is SampleWeightedAggregator
    assert catalog.job_template("rt_fedavg") == templates_home() / "rt_fedavg"
    points = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points[ENTRY_POINT_GROUP]["builtin"] == "rt_flare.builtin_plugin"


def test_what_this_checkout_installs_can_all_be_used() -> None:
    """P1, P5"""
    assert installed().check() == ()


def test_every_package_of_this_project_is_named_for_what_it_brings() -> None:
    """P5: the hint of an unknown name is right."""
    catalog = load_catalog()
    adapters = {name: found.distribution for name, found in catalog.adapters.items()}
    aggregators = {name: found.distribution for name, found in catalog.components.items()}
    del adapters["manifest"], aggregators["sample_weighted_mean"]
    assert {"dataset adapter": adapters, "aggregator component": aggregators} == PUBLISHED


def test_it_is_read_once_and_cannot_be_changed() -> None:
    """P1"""
    assert load_catalog() is load_catalog()
    catalog = load_catalog()
    for names in (catalog.adapters, catalog.components, catalog.job_templates, catalog.timeout_presets):
        with pytest.raises(TypeError):
            names["x"] = None  # type: ignore[index]


def test_reading_it_imports_neither_torch_nor_nvflare() -> None:
    """P1"""
    code = (
        "import sys; from rt_flare.catalog import load_catalog; load_catalog();"
        "sys.exit('torch' in sys.modules or 'nvflare' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_hook_has_a_place_in_the_catalog(install: Install, tmp_path: Path) -> None:
    """P1: each kind is found by name, with its distribution, and imported late."""
    source = f"{ADAPTER}\nfrom nvflare.app_common.abstract.aggregator import Aggregator\nFAST = {{}}"
    code = install("code", source, is_plugin=False)
    folder = tmp_path / "fast"
    folder.mkdir()
    for file in (templates_home() / "rt_fedavg").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    entries = {
        "rt_flare_dataset_adapters": ("rows", f"AdapterEntry('{code}:Rows', 'pip')"),
        "rt_flare_components": ("sum", f"ComponentEntry('aggregator', '{code}:Aggregator', 'pip')"),
        "rt_flare_job_templates": ("fast", f"TemplateEntry(Path({str(folder)!r}))"),
        "rt_flare_timeout_presets": ("fast", f"PresetEntry('{code}:FAST', 'pip')"),
    }
    assert set(entries) == set(HOOKS)
    parts = [REGISTERS.format(hook=hook, name=name, entry=entry) for hook, (name, entry) in entries.items()]
    install("strange", "\n".join(parts))
    catalog = installed()
    assert catalog.check() == ()
    assert catalog.adapter("rows").name == "rows"
    assert catalog.component("sum", kind="aggregator").__name__ == "Aggregator"
    assert catalog.job_template("fast") == folder
    assert catalog.timeout_preset("fast") == {}
    (plugin,) = (plugin for plugin in catalog.plugins if plugin.distribution == "strange")
    assert (plugin.version, plugin.entry_point) == ("1.0", "main")
    assert {hook: list(names) for hook, names in plugin.entries.items()} == {h: [n] for h, (n, _) in entries.items()}


def returns(hook: str, value: object) -> str:
    return HEAD + f"@hookimpl\ndef {hook}():\n    return {value!r}\n"


BROKEN = [
    ("raise RuntimeError('boom')", "RuntimeError: boom"),
    ("import sys; sys.exit(3)", "SystemExit: 3"),
    ("def broken(:", "SyntaxError"),
    ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
    ("x = 1", "implements no hook"),
    (returns("rt_flare_dataset_adaptors", {}), "adaptors'. Did you mean 'rt_flare_dataset_adapters'?"),
    (returns("something_else", {}), "unknown hook 'something_else'. The hooks are rt_flare_dataset_adapters, rt_"),
    (returns("rt_flare_components", {}).replace("@hookimpl\n", ""), "rt_flare_components is not marked with"),
    (returns("rt_flare_dataset_adapters", {}).replace("():", "(config):"), "Argument(s) {'config'} are declared"),
    (returns("rt_flare_dataset_adapters", ["rows"]), "found list, expected a mapping"),
    (returns("rt_flare_job_templates", None), "rt_flare_job_templates: found NoneType, expected a mapping"),
    (returns("rt_flare_dataset_adapters", {"rows": "m:C"}), "'rows': found str, expected rt_flare.hookspecs.Adapter"),
    (registers("rows").replace("_dataset_adapters", "_components"), "found AdapterEntry, expected rt_flare.hookspecs."),
    (registers("Rows"), "found the name 'Rows', expected lower-case letters"),
    (registers("rows", "package.Class"), "found 'package.Class', expected 'package.module:Class'"),
    (registers_component("sum", "m:C", "agregator"), "component kind: found 'agregator', expected one of aggregator"),
    (HEAD + "@hookimpl\ndef rt_flare_components():\n    raise KeyError('x')\n", "KeyError: 'x'"),
]


@pytest.mark.parametrize(("source", "message"), BROKEN)
def test_a_broken_plugin_is_named_and_the_rest_work(install: Install, source: str, message: str) -> None:
    """P2: whatever its place in the order of loading."""
    install("a-sound", registers("first"))
    install("broken", source)
    install("z-sound", registers("last"))
    catalog = installed()
    distribution, text = only_problem(catalog)
    assert distribution == "broken"
    assert message in text
    assert {"first", "last"} <= set(catalog.adapters)


def test_damaged_metadata_of_one_package_do_not_stop_the_others(install: Install, tmp_path: Path) -> None:
    """P2: a package without a name."""
    install("nameless", "raise RuntimeError('boom')")
    (tmp_path / "nameless-1.0.dist-info" / "METADATA").unlink()
    install("sound", registers("rows"))
    catalog = installed()
    assert only_problem(catalog) == ("an unknown distribution", "RuntimeError: boom")
    assert "rows" in catalog.adapters


def test_a_hook_of_a_later_rt_flare_can_be_optional(install: Install) -> None:
    """P2: pluggy's own mark for a plugin that serves several versions."""
    source = registers("rows") + returns("rt_flare_reports", {}).replace("@hookimpl", "@hookimpl(optionalhook=True)")
    install("several-versions", source)
    assert installed().problems == ()


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        ("rt-flare>=99", "it needs rt-flare>=99, found rt-flare "),
        ("RT_Flare[quickstart]<0.0.1; python_version > '3'", "it needs rt-flare<0.0.1, found"),
        ("rt-flare ~~ 1", "cannot be read"),
    ],
)
def test_a_plugin_for_another_version_is_named_and_not_imported(install: Install, requires: str, message: str) -> None:
    """P2: what it says in its distribution's metadata counts, before a line of it runs."""
    install("other-version", "raise RuntimeError('imported')", requires)
    install("sound", registers("rows"))
    catalog = installed()
    distribution, text = only_problem(catalog)
    assert distribution == "other-version"
    assert message in text
    assert "rows" in catalog.adapters


@pytest.mark.parametrize("requires", ["rt-flare", "rt-flare>=99; extra == 'x'", "rt-flare-x>=99", "rt-flare>=0.0.1"])
def test_a_plugin_for_this_version_is_used(install: Install, requires: str) -> None:
    """P2"""
    install("this-version", registers("rows"), requires)
    assert installed().problems == ()


@given(low=st.integers(0, 3), high=st.integers(0, 3))
def test_a_range_of_versions_means_what_packaging_says(low: int, high: int) -> None:
    """P2"""
    spec = f">=0.{low},<0.{high}"
    metadata = f"Metadata-Version: 2.1\nName: ranged\nVersion: 1\nRequires-Dist: rt-flare{spec}\n"

    class Ranged(importlib.metadata.Distribution):
        def read_text(self, filename: str) -> str | None:
            return metadata if filename == "METADATA" else None

        def locate_file(self, path: object) -> Path:
            raise NotImplementedError

    point = importlib.metadata.EntryPoint("main", "json", ENTRY_POINT_GROUP)
    vars(point).update(dist=Ranged())
    (problem,) = read_catalog([point]).problems
    fits = SpecifierSet(spec).contains(rt_flare.__version__)
    assert ("implements no hook" in problem.message) is fits
    assert ("it needs" in problem.message) is not fits


def test_a_name_that_two_claim_goes_to_neither(install: Install) -> None:
    """P2: a job must not depend on which of two readers happens to be found first."""
    install("one", registers("rows"))
    install("two", registers("rows"))
    catalog = installed()
    assert "the dataset adapter name 'rows' is claimed by one and two: none of them" in only_problem(catalog)[1]
    assert len(catalog.check()) == 1
    with pytest.raises(ConfigError, match=r"'rows' is not installed.*is claimed by one and two"):
        catalog.adapter("rows")


def test_the_same_name_may_stand_for_different_kinds(install: Install) -> None:
    """P2"""
    install("one", registers("rows"))
    install("two", registers_component("rows", "m:C"))
    assert installed().problems == ()


def test_a_stranger_cannot_take_a_built_in_name(install: Install) -> None:
    """P2"""
    install("aaa", registers("manifest"))
    catalog = installed()
    assert "dataset adapter name 'manifest' is claimed by aaa and rt-flare: rt-flare" in only_problem(catalog)[1]
    assert catalog.adapter("manifest") is ManifestImageAdapter


def test_a_plugin_that_two_entry_points_name_is_registered_once(install: Install, tmp_path: Path) -> None:
    """P2"""
    module = install("one", registers("rows"))
    install("two", "")
    (tmp_path / "two-1.0.dist-info" / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nmain = {module}\n")
    catalog = installed()
    distribution, message = only_problem(catalog)
    assert distribution == "two"
    assert "is registered by another entry point already" in message
    assert catalog.adapters["rows"].distribution == "one"


def test_an_unknown_name_suggests_and_lists(install: Install) -> None:
    """P5"""
    install("broken", "raise RuntimeError('boom')")
    with pytest.raises(ConfigError) as caught:
        installed().adapter("manifst")
    text = str(caught.value)
    assert "dataset adapter 'manifst' is not installed. Did you mean 'manifest'?" in text
    assert "Installed: " in text
    assert "main of broken: RuntimeError: boom" in text


def test_an_unknown_name_that_this_project_publishes_comes_with_its_package() -> None:
    """P5"""
    with pytest.raises(ConfigError, match=r"dataset adapter 'tabular' is not installed\. .*: pip install rt-flare-tab"):
        read_catalog([]).adapter("tabular")
    with pytest.raises(ConfigError, match=r"'tabuler' is not .* Did you mean 'tabular'\?.*: pip install rt-flare-tab"):
        read_catalog([]).adapter("tabuler")
    with pytest.raises(ConfigError, match=r"aggregator component 'trimmed_mean' is not .*: pip install rt-flare-rob"):
        read_catalog([]).component("trimmed_mean", kind="aggregator")


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("", "no_such_package_here:Rows", "cannot be imported: ModuleNotFoundError.*Install it: pip install rows"),
        ("", "{module}:Rows", "cannot be imported: AttributeError"),
        ("raise RuntimeError('boom')", "{module}:Rows", "cannot be imported: RuntimeError: boom"),
        ("raise SystemExit(2)", "{module}:Rows", "cannot be imported: SystemExit: 2"),
        ("class Rows: pass", "{module}:Rows", "expected a subclass of rt_flare.data.adapter.DatasetAdapter"),
        (ADAPTER.replace('"rows"', '"lines"'), "{module}:Rows", "the class has the name 'lines', expected 'rows'"),
        (ADAPTER.replace("name = ", "label = "), "{module}:Rows", "the class has the name None, expected 'rows'"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_named(install: Install, source: str, path: str, message: str) -> None:
    """P2, P5: when it is used, and by `check` beforehand."""
    module = install("rows-code", source, is_plugin=False)
    install("rt-rows", registers("rows", path.format(module=module)))
    catalog = installed()
    match = rf"dataset adapter 'rows' \(.*, from rt-rows\).*{message}"
    with pytest.raises(ConfigError, match=match):
        catalog.adapter("rows")
    (problem,) = catalog.check()
    assert (problem.distribution, problem.plugin) == ("rt-rows", "rows")
    assert "dataset adapter 'rows'" in problem.message


@pytest.mark.parametrize("kind", COMPONENT_BASES)
def test_a_component_of_the_wrong_class_is_named(install: Install, kind: str) -> None:
    """P2: NVFlare would say so on the server, when the job starts."""
    module = install("code", "class Sum: pass", is_plugin=False)
    install("rt-sum", registers_component("sum", f"{module}:Sum", kind))
    with pytest.raises(ConfigError, match=r"component 'sum' \(.*, from rt-sum\): found .*a subclass of nvflare"):
        installed().component("sum", kind=kind)


def test_a_component_of_another_kind_is_not_found(install: Install) -> None:
    """P5"""
    with pytest.raises(ConfigError, match=r"filter component 'sample_weighted_mean' is not installed"):
        load_catalog().component("sample_weighted_mean", kind="filter")


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [("slow", "meta.conf", r"the folder must have the template's name"), ("fast", "info.md", r"missing .*info\.conf")],
)
def test_a_template_that_cannot_be_used_is_named(
    install: Install, tmp_path: Path, name: str, file: str, message: str
) -> None:
    """P2"""
    (tmp_path / "fast").mkdir()
    (tmp_path / "fast" / file).touch()
    entry = f"TemplateEntry(Path({str(tmp_path / 'fast')!r}))"
    install("rt-fast", REGISTERS.format(hook="rt_flare_job_templates", name=name, entry=entry))
    with pytest.raises(ConfigError, match=rf"job template '{name}' \(.*, from rt-fast\): {message}"):
        installed().job_template(name)


def test_a_preset_that_cannot_be_imported_is_named(install: Install) -> None:
    """P2"""
    entry = "PresetEntry('no_such_package_here:FAST', 'pip install fast')"
    install("rt-fast", REGISTERS.format(hook="rt_flare_timeout_presets", name="fast", entry=entry))
    with pytest.raises(ConfigError, match=r"timeout preset 'fast' \(.*from rt-fast\) cannot be imported: ModuleNotF"):
        installed().timeout_preset("fast")


@pytest.mark.parametrize(
    "path", ["", "Class", "module.Class", "module:", ":Class", "a b:C", "module:Class.inner", "1a:C", None]
)
def test_an_entry_refuses_another_form_of_path(path: str) -> None:
    """P2"""
    with pytest.raises(ConfigError, match="dataset adapter path: found"):
        AdapterEntry(path, "pip install x")
    with pytest.raises(ConfigError, match="component path: found"):
        ComponentEntry("aggregator", path, "pip install x")
    with pytest.raises(ConfigError, match="timeout preset path: found"):
        PresetEntry(path, "pip install x")


@pytest.mark.parametrize("folder", [Path("relative"), "/absolute/text", None])
def test_a_template_entry_refuses_a_folder_that_depends_on_where_it_is_read(folder: Path) -> None:
    """P2"""
    with pytest.raises(ConfigError, match="expected an absolute Path"):
        TemplateEntry(folder)
