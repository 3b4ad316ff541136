"""The rules that every dataset adapter keeps, one test method each."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from rt_flare.catalog import load_catalog
from rt_flare.data.adapter import DatasetAdapter
from rt_flare.errors import DataError, RtFlareError

__all__ = ["DatasetAdapterConformance"]


class DatasetAdapterConformance:
    """Checks a dataset adapter against the contract of `DatasetAdapter`.

    Subclass it as ``TestMyAdapter`` and give the fixtures `adapter`, `data_root` and `damaged_file`, and `env` if the
    adapter reads more from it.

    Attributes:
        manifest_file: the manifest's name in ``data_root``.
        uses_manifest: whether the format has a manifest; if not, the suite checks that its name makes no difference.
    """

    manifest_file: ClassVar[str] = "manifest.ndjson"
    uses_manifest: ClassVar[bool] = False

    @pytest.fixture
    def adapter(self) -> DatasetAdapter:
        """The adapter, made with options that fit `data_root`."""
        raise NotImplementedError("give the fixture 'adapter'")

    @pytest.fixture
    def data_root(self, tmp_path: Path) -> Path:
        """A folder with at least two sound samples, below ``tmp_path``."""
        raise NotImplementedError("give the fixture 'data_root'")

    @pytest.fixture
    def damaged_file(self, data_root: Path) -> Path:
        """A file in `data_root` that the fixture has made unreadable for the format."""
        raise NotImplementedError("give the fixture 'damaged_file'")

    @pytest.fixture
    def env(self) -> dict[str, Any]:
        """What the training function finds in ``payload["env"]``."""
        return {"SITE_NAME": "site-1", "batch_size": 2, "img_size": 8, "num_classes": 0}

    def test_it_is_installed_under_its_name(self, adapter: DatasetAdapter) -> None:
        """A job names the adapter; every site must find that class."""
        assert load_catalog().adapter(adapter.name) is type(adapter)

    def test_its_options_have_names(self, adapter: DatasetAdapter) -> None:
        """A job gives options by name."""
        parameters = inspect.signature(type(adapter)).parameters.values()
        assert [str(p) for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY] == []

    def test_items_are_tensors_of_one_shape_and_dtype(
        self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]
    ) -> None:
        """Samples must stack to batches, whichever come together."""
        forms = [_form(item) for item in self._read(adapter, data_root, env)]
        assert len(forms) >= 2, "data_root must hold at least two samples"
        assert forms[0], "an item holds no tensor"
        assert [form for form in forms if form != forms[0]] == []

    def test_batches_form(self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]) -> None:
        """A DataLoader needs no collate function."""
        dataset = self._open(adapter, data_root, env)
        batch = next(iter(DataLoader(dataset, batch_size=2)))
        assert {tensor.shape[0] for _, tensor in _leaves(batch)} == {2}

    def test_len_and_getitem_agree(self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]) -> None:
        """Every index below the length is a sample, and the length itself is none."""
        dataset: Any = self._open(adapter, data_root, env)
        if isinstance(dataset, IterableDataset):
            pytest.skip("an iterable dataset has no index")
        assert len([dataset[index] for index in range(len(dataset))]) == len(dataset) > 0
        with pytest.raises(IndexError):
            dataset[len(dataset)]

    def test_count_samples_agrees_with_the_dataset(
        self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]
    ) -> None:
        """The site compares it with the number that the training function returns."""
        count = adapter.count_samples(data_root, manifest_file=self.manifest_file)
        assert count in {None, len(self._read(adapter, data_root, env))}

    def test_opening_again_gives_the_same_items(
        self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]
    ) -> None:
        """An adapter keeps no state, and leaves randomness to the training function."""
        torch.manual_seed(1)
        first = _digest(self._read(adapter, data_root, env))
        torch.manual_seed(2)
        assert _digest(self._read(adapter, data_root, env)) == first

    def test_dataloader_workers_read_the_same_items(
        self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]
    ) -> None:
        """The dataset reaches a worker process by pickle; no open file, lambda or `hash()` may hide in it."""
        dataset = self._open(adapter, data_root, env)
        loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
        assert _digest(list(loader)) == _digest(_items(dataset))

    def test_data_root_is_only_read(self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]) -> None:
        """Other jobs use the same folder."""
        before = _snapshot(data_root)
        self._read(adapter, data_root, env)
        adapter.count_samples(data_root, manifest_file=self.manifest_file)
        assert _snapshot(data_root) == before

    def test_an_empty_folder_is_refused(self, adapter: DatasetAdapter, tmp_path: Path, env: dict[str, Any]) -> None:
        """A site without data must not train on nothing."""
        (tmp_path / "nothing here").mkdir()
        with pytest.raises(DataError):
            self._read(adapter, tmp_path / "nothing here", env)

    def test_a_missing_folder_is_refused(self, adapter: DatasetAdapter, tmp_path: Path, env: dict[str, Any]) -> None:
        """The error is rt_flare's, so that the server learns its reason."""
        with pytest.raises(DataError):
            self._read(adapter, tmp_path / "no such folder", env)
        self._count_or_refuse(adapter, tmp_path / "no such folder")

    def test_a_missing_manifest_is_refused_or_not_needed(
        self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]
    ) -> None:
        """A format with a manifest says that it is missing; one without ignores the name."""
        if self.uses_manifest:
            with pytest.raises(DataError, match=r"no_such_manifest\.ndjson"):
                _items(adapter.open(data_root, manifest_file="no_such_manifest.ndjson", env=env))
        else:
            items = _items(adapter.open(data_root, manifest_file="no_such_manifest.ndjson", env=env))
            assert _digest(items) == _digest(self._read(adapter, data_root, env))

    def test_a_wrong_manifest_is_refused(self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any]) -> None:
        """The message names the file."""
        if not self.uses_manifest:
            pytest.skip("the format has no manifest")
        (data_root / self.manifest_file).write_bytes(b"\xff\xfe not a manifest\n")
        with pytest.raises(DataError, match=self.manifest_file.replace(".", r"\.")):
            self._read(adapter, data_root, env)

    def test_a_damaged_file_is_an_error_that_names_it(
        self, adapter: DatasetAdapter, data_root: Path, damaged_file: Path, env: dict[str, Any]
    ) -> None:
        """Whoever runs the site finds the file without a debugger."""
        with pytest.raises(DataError) as caught:
            self._read(adapter, data_root, env)
        assert damaged_file.name in str(caught.value)
        self._count_or_refuse(adapter, data_root)

    def test_links_out_of_the_folder_are_refused(
        self, adapter: DatasetAdapter, data_root: Path, env: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A shard must not make a site read its own files into a model."""
        for file in _files(data_root):
            outside = tmp_path_factory.mktemp("outside") / file.name
            file.rename(outside)
            file.symlink_to(outside)
            with pytest.raises(DataError):
                self._read(adapter, data_root, env)
            file.unlink()
            outside.rename(file)
        assert self._read(adapter, data_root, env)

    def _open(self, adapter: DatasetAdapter, data_root: Path, env: Mapping[str, Any]) -> Dataset[Any]:
        return adapter.open(data_root, manifest_file=self.manifest_file, env=env)

    def _read(self, adapter: DatasetAdapter, data_root: Path, env: Mapping[str, Any]) -> list[Any]:
        return _items(self._open(adapter, data_root, env))

    def _count_or_refuse(self, adapter: DatasetAdapter, data_root: Path) -> None:
        try:
            adapter.count_samples(data_root, manifest_file=self.manifest_file)
        except RtFlareError:
            return


def _items(dataset: Dataset[Any]) -> list[Any]:
    if isinstance(dataset, IterableDataset):
        return list(dataset)
    indexed: Any = dataset
    return [indexed[index] for index in range(len(indexed))]


def _leaves(item: Any, place: str = "item") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(item, torch.Tensor):
        yield place, item
    elif isinstance(item, Mapping):
        for key in item:
            yield from _leaves(item[key], f"{place}[{key!r}]")
    elif isinstance(item, tuple | list):
        for index, part in enumerate(item):
            yield from _leaves(part, f"{place}[{index}]")
    else:
        pytest.fail(f"{place} is {type(item).__name__}, expected a tensor, or a tuple, list or dict of tensors")


def _form(item: Any) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {place: (tensor.shape, tensor.dtype) for place, tensor in _leaves(item)}


def _digest(items: list[Any]) -> str:
    digest = hashlib.sha256(str(len(items)).encode())
    for item in items:
        for place, tensor in _leaves(item):
            digest.update(f"{place} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in _files(folder)}
