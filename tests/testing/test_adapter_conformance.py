"""The adapter suite: the built-in adapter keeps every rule, and each rule catches an adapter that breaks it."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rt_flare.data.adapter import DatasetAdapter
from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.testing import DatasetAdapterConformance

# torchvision 0.29 announces that image decoding moves to another package.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")


class TestManifestAdapter(DatasetAdapterConformance):
    """P3: what is asked of strangers holds for what rt_flare brings."""

    uses_manifest = True

    @pytest.fixture
    def adapter(self) -> ManifestImageAdapter:
        return ManifestImageAdapter()

    @pytest.fixture
    def data_root(self, tmp_path: Path) -> Path:
        root = tmp_path / "shard"
        root.mkdir()
        for name in ("a", "b"):
            Image.fromarray(np.full((8, 8, 3), ord(name), np.uint8)).save(root / f"{name}.png")
        lines = [f'{{"id": "{name}", "uri": "{name}.png", "y": [{y}]}}' for y, name in enumerate("ab")]
        (root / self.manifest_file).write_text("\n".join(lines))
        return root

    @pytest.fixture
    def damaged_file(self, data_root: Path) -> Path:
        (data_root / "b.png").write_bytes(b"\x89PNG broken")
        return data_root / "b.png"


# Small adapters in a module of their own: a DataLoader's worker process must be able to import it.
SOURCE = '''
import os
from pathlib import Path

import torch
from torch.utils.data import Dataset, IterableDataset

from rt_flare.data.adapter import DatasetAdapter
from rt_flare.data.uris import resolve_uri
from rt_flare.errors import DataError


class Bytes(Dataset):
    """The bytes of data.bin, one per item."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def item(self, index):
        return torch.tensor(self.values[index])

    def __getitem__(self, index):
        return self.item(index)


class Sound(DatasetAdapter):
    name = "bytes"
    dataset = Bytes

    def __init__(self, *, limit=10):
        self.limit = limit

    def content(self, data_root):
        path = resolve_uri("data.bin", data_root)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error}") from error
        if not content or content[0] == 0:
            raise DataError(f"{path}: damaged")
        return list(content)

    def open(self, data_root, *, manifest_file, env):
        return self.dataset(self.content(data_root))

    def count_samples(self, data_root, *, manifest_file):
        return len(self.content(data_root))


class Positional(Sound):
    def __init__(self, limit=10):
        super().__init__(limit=limit)


class Numbers(Sound):
    class dataset(Bytes):
        def item(self, index):
            return self.values[index]


class Ragged(Sound):
    class dataset(Bytes):
        def item(self, index):
            return torch.zeros(index)


class Tuples(Sound):
    class dataset(Bytes):
        def __getitem__(self, index):
            return {"x": [torch.tensor(self.values[index])], "y": ()}


class Stream(Sound):
    class dataset(IterableDataset):
        def __init__(self, values):
            self.values = values

        def __iter__(self):
            return iter([torch.tensor(value) for value in self.values])


class NoEnd(Sound):
    class dataset(Bytes):
        def __getitem__(self, index):
            return self.item(index % len(self.values))


class Miscounted(Sound):
    def count_samples(self, data_root, *, manifest_file):
        return len(self.content(data_root)) + 1


class Random(Sound):
    class dataset(Bytes):
        def item(self, index):
            return torch.rand(())


class Unpicklable(Sound):
    class dataset(Bytes):
        def __init__(self, values):
            super().__init__(values)
            self.read = lambda: None


class PerProcess(Sound):
    class dataset(Bytes):
        def item(self, index):
            return torch.tensor(os.getpid())


class Writing(Sound):
    def open(self, data_root, *, manifest_file, env):
        (data_root / "cache").write_text("x")
        return super().open(data_root, manifest_file=manifest_file, env=env)


class Empty(Sound):
    def content(self, data_root):
        return super().content(data_root) if (data_root / "data.bin").exists() else []


class Blunt(Sound):
    def content(self, data_root):
        return list((data_root / "data.bin").read_bytes())


class Vague(Sound):
    def content(self, data_root):
        try:
            return super().content(data_root)
        except DataError:
            raise DataError("something is wrong") from None


class WithManifest(Sound):
    def open(self, data_root, *, manifest_file, env):
        if not (data_root / manifest_file).exists():
            raise DataError(f"{manifest_file}: missing")
        return super().open(data_root, manifest_file=manifest_file, env=env)


for adapter in list(vars().values()):
    if isinstance(adapter, type) and "dataset" in vars(adapter):
        adapter.dataset.__qualname__ = f"{adapter.__name__}_dataset"
        vars()[adapter.dataset.__qualname__] = adapter.dataset
'''
BROKEN = [
    ("test_it_is_installed_under_its_name", "Positional"),
    ("test_its_options_have_names", "Positional"),
    ("test_items_are_tensors_of_one_shape_and_dtype", "Numbers"),
    ("test_items_are_tensors_of_one_shape_and_dtype", "Ragged"),
    ("test_batches_form", "Ragged"),
    ("test_len_and_getitem_agree", "NoEnd"),
    ("test_count_samples_agrees_with_the_dataset", "Miscounted"),
    ("test_opening_again_gives_the_same_items", "Random"),
    ("test_dataloader_workers_read_the_same_items", "Unpicklable"),
    ("test_dataloader_workers_read_the_same_items", "PerProcess"),
    ("test_data_root_is_only_read", "Writing"),
    ("test_an_empty_folder_is_refused", "Empty"),
    ("test_a_missing_folder_is_refused", "Blunt"),
    ("test_a_missing_manifest_is_refused_or_not_needed", "WithManifest"),
    ("test_a_wrong_manifest_is_refused", "WithManifest"),
    ("test_a_damaged_file_is_an_error_that_names_it", "Blunt"),
    ("test_a_damaged_file_is_an_error_that_names_it", "Vague"),
    ("test_links_out_of_the_folder_are_refused", "Blunt"),
]


class Suite(DatasetAdapterConformance):
    def __init__(self, *, uses_manifest: bool) -> None:
        vars(self).update(uses_manifest=uses_manifest)


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, type[DatasetAdapter]]:
    (tmp_path / "byte_adapters.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "byte_adapters", raising=False)
    return vars(importlib.import_module("byte_adapters"))


def check(
    rule: str, adapter: DatasetAdapter, tmp_path: Path, factory: pytest.TempPathFactory, *, uses_manifest: bool = False
) -> None:
    root = tmp_path / "shard"
    root.mkdir()
    damaged = rule == "test_a_damaged_file_is_an_error_that_names_it"
    (root / "data.bin").write_bytes(b"\0" if damaged else b"abc")
    suite = Suite(uses_manifest=uses_manifest)
    fixtures: dict[str, Any] = {
        "adapter": adapter,
        "data_root": root,
        "damaged_file": root / "data.bin",
        "env": {},
        "tmp_path": tmp_path,
        "tmp_path_factory": factory,
    }
    method = getattr(suite, rule)
    method(**{name: fixtures[name] for name in inspect.signature(method).parameters})


@pytest.mark.filterwarnings("ignore:Got pickle error:UserWarning")
@pytest.mark.parametrize(("rule", "name"), BROKEN)
def test_the_rule_catches_an_adapter_that_breaks_it(
    adapters: Mapping[str, type[DatasetAdapter]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    rule: str,
    name: str,
) -> None:
    """P3: a suite that passes everything checks nothing."""
    uses_manifest = rule == "test_a_wrong_manifest_is_refused"
    # pytest.fail is no Exception; what an adapter or a DataLoader raises fails a test as well.
    with pytest.raises((Exception, pytest.fail.Exception)):
        check(rule, adapters[name](), tmp_path, tmp_path_factory, uses_manifest=uses_manifest)


RULES = sorted(name for name in vars(DatasetAdapterConformance) if name.startswith("test_"))


@pytest.mark.parametrize("rule", [rule for rule in RULES if "installed" not in rule and "wrong_manifest" not in rule])
@pytest.mark.parametrize("name", ["Sound", "Tuples"])
def test_a_sound_adapter_passes_the_rule(
    adapters: Mapping[str, type[DatasetAdapter]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    rule: str,
    name: str,
) -> None:
    """P3: a suite that refuses everything is no use."""
    check(rule, adapters[name](), tmp_path, tmp_path_factory)


def test_every_rule_has_an_adapter_that_breaks_it() -> None:
    """P3"""
    assert {rule for rule, _ in BROKEN} == set(RULES)


def test_an_iterable_dataset_is_held_to_what_it_has(
    adapters: Mapping[str, type[DatasetAdapter]], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """P3"""
    adapter = adapters["Stream"]()
    with pytest.raises(pytest.skip.Exception, match="has no index"):
        check("test_len_and_getitem_agree", adapter, tmp_path / ".", tmp_path_factory)
    (tmp_path / "shard").rename(tmp_path / "other")
    check("test_items_are_tensors_of_one_shape_and_dtype", adapter, tmp_path, tmp_path_factory)
