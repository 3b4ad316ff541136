"""A manifest's images through the decoded cache: the same as decoded anew, always, and faster (K6, X9)."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from rt_flare.data import manifest_images as subject
from rt_flare.data.image_decoding import decode_square
from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.data.manifest_images import ManifestImageDataset
from rt_flare.errors import DataError

NAME = "manifest.ndjson"
COUNT = 9


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A shard with images of several kinds and sizes, written long enough ago to be kept."""
    folder = tmp_path / "1"
    folder.mkdir()
    lines = []
    for number in range(COUNT):
        name = f"{number}.{('png', 'jpg', 'webp')[number % 3]}"
        noise(number).save(folder / name)
        lines.append(
            json.dumps({"id": f"s{number}", "uri": f"file://{name}", "y": [number % 4], "meta": {"n": number}})
        )
    (folder / NAME).write_text("\n".join(lines))
    time.sleep(0.03)
    return folder


def noise(seed: int, side: int = 0) -> Image.Image:
    shape = (side or 12 + seed, side or 20 - seed, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def opened(root: Path, size: int = 12, **options: Any) -> ManifestImageDataset:
    return ManifestImageAdapter(**options).open(root, manifest_file=NAME, env={"img_size": size, "num_classes": 0})


def anew(root: Path, dataset: ManifestImageDataset, size: int = 12, channels: int = 3) -> torch.Tensor:
    files = [root / entry.uri.removeprefix("file://") for entry in dataset.entries]
    return torch.stack([decode_square(file.read_bytes(), channels, size) for file in files])


def every(dataset: ManifestImageDataset) -> torch.Tensor:
    """All images, as one batch."""
    images: torch.Tensor = next(iter(dataset.loader(len(dataset))))[0]
    return images


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every image that is decoded in this process."""
    calls: list[int] = []

    def decode(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return original(*arguments)

    original = subject.decode_pixels
    monkeypatch.setattr(subject, "decode_pixels", decode)
    return calls


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 12, 40])
def test_cached_images_are_those_that_are_decoded_anew(
    root: Path, size: int, channels: int, decoded: list[int]
) -> None:
    """X9: bit for bit, in every epoch, by the next job, as items and as batches."""
    for _ in range(2):
        dataset = opened(root, size, channels=channels)
        expected = anew(root, dataset, size, channels)
        for _ in range(2):
            assert torch.equal(every(dataset), expected)
            assert torch.equal(torch.stack([dataset[n][0] for n in range(COUNT)]), expected)
    assert len(decoded) == COUNT


def test_nothing_is_written_into_the_shard(root: Path) -> None:
    """X9"""
    before = sorted(root.iterdir())
    every(opened(root))
    assert sorted(root.iterdir()) == before
    assert sorted(path.suffix for path in (root.parent / "decoded_cache").iterdir() if path.name[0] != ".") == [
        ".index",
        ".lock",
        ".pixels",
    ]


def test_the_next_job_decodes_nothing(root: Path, decoded: list[int]) -> None:
    """X9"""
    every(opened(root))
    decoded.clear()
    for size in (12, 12):
        every(opened(root, size))
    assert not decoded


@pytest.mark.parametrize("restored", [False, True], ids=["", "with its old date"])
def test_a_changed_image_is_decoded_again(root: Path, restored: bool, decoded: list[int]) -> None:
    """X9: of the same size in bytes too; the others stay. An open dataset notices."""
    (root / "0.png").unlink()
    noise(0).save(root / "0.bmp")
    (root / NAME).write_text((root / NAME).read_text().replace("0.png", "0.bmp"))
    time.sleep(0.03)
    dataset = opened(root)
    every(dataset)
    decoded.clear()
    before = (root / "0.bmp").stat()
    noise(0).transpose(Image.Transpose.ROTATE_180).save(root / "0.bmp")
    if restored:
        os.utime(root / "0.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (root / "0.bmp").stat().st_size == before.st_size
    time.sleep(0.03)
    for again in (dataset, opened(root)):
        assert torch.equal(every(again), anew(root, again))
    assert len(decoded) == 1


def test_a_touched_image_is_read_but_not_decoded(root: Path, decoded: list[int]) -> None:
    """X9: an unpacked copy with the same contents is warm."""
    expected = every(opened(root))
    decoded.clear()
    for path in root.iterdir():
        path.touch()
    time.sleep(0.03)
    dataset = opened(root)
    for _ in range(2):
        assert torch.equal(every(dataset), expected)
    assert not decoded


def test_an_image_that_was_just_written_is_not_kept(
    root: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """X9: it might change once more within a tick of the clock."""
    monkeypatch.setattr(time, "time_ns", lambda: (root / "0.png").stat().st_ctime_ns)
    dataset = opened(root)
    every(dataset)
    assert not dataset.is_warm()
    monkeypatch.undo()
    every(dataset)
    assert dataset.is_warm()


@pytest.mark.parametrize("change", ["code", "torchvision", "manifest", "size"])
def test_another_code_size_or_manifest_is_decoded_anew(
    root: Path, change: str, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """X9"""
    every(opened(root))
    decoded.clear()
    if change == "code":
        monkeypatch.setattr(subject, "DECODING_VERSION", 99)
    if change == "torchvision":
        monkeypatch.setattr(subject.torchvision, "__version__", "99")
    if change == "manifest":
        lines = (root / NAME).read_text().splitlines()
        (root / NAME).write_text("\n".join(reversed(lines)))
    size = 13 if change == "size" else 12
    dataset = opened(root, size)
    assert torch.equal(every(dataset), anew(root, dataset, size))
    assert len(decoded) == COUNT


def test_a_missing_image_is_not_served_from_the_cache(root: Path) -> None:
    """X9"""
    dataset = opened(root)
    every(dataset)
    (root / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"manifest\.ndjson:2: sample 's1'.*No such file"):
        every(dataset)


def test_a_link_that_leads_out_is_not_served_from_the_cache(root: Path) -> None:
    """K5, X9"""
    dataset = opened(root)
    every(dataset)
    (root / "1.jpg").rename(root.parent / "1.jpg")
    (root / "1.jpg").symlink_to("../1.jpg")
    with pytest.raises(DataError, match="a link that leads out of data_root"):
        every(dataset)


def test_images_of_16_bits_keep_their_depth(root: Path) -> None:
    """K6: they are decoded each time, since the cache holds 8 bits."""
    deep = np.random.default_rng(0).integers(0, 65536, (12, 12), dtype=np.uint16)
    Image.fromarray(deep).save(root / "0.png")
    time.sleep(0.03)
    dataset = opened(root, channels=1)
    for _ in range(2):
        images = every(dataset)
        assert torch.equal(images, anew(root, dataset, channels=1))
        torch.testing.assert_close(images[0, 0], torch.from_numpy(deep.astype(np.float32)) / 65535)
    rounded = next(iter(dataset.loader(2, uint8=True)))[0][0]
    torch.testing.assert_close(rounded / 255.0, images[0], atol=0.5001 / 255, rtol=0)


@pytest.mark.parametrize("multi_label", [False, True])
def test_batches_hold_the_items(root: Path, multi_label: bool) -> None:
    """K6: images, targets and meta, as float32 and as uint8."""
    dataset = opened(root, multi_label=multi_label, with_meta=True)
    for uint8 in (False, True):
        for start, (images, targets, metas) in enumerate(dataset.loader(4, uint8=uint8)):
            items = [dataset[n] for n in range(4 * start, min(4 * start + 4, COUNT))]
            scaled = images * torch.tensor(1 / 255) if uint8 else images
            assert torch.equal(scaled, torch.stack([item[0] for item in items]))
            assert torch.equal(targets, torch.stack([item[1] for item in items]))
            assert targets.dtype == items[0][1].dtype
            assert metas == [item[2] for item in items]


@pytest.mark.parametrize("uint8", [False, True])
def test_batches_that_are_held_keep_their_values(root: Path, uint8: bool) -> None:
    """X9: memory is used again, but not theirs."""
    dataset = opened(root, 12)
    every(dataset)
    held, copies = [], []
    for _ in range(3):
        for images, _targets in dataset.loader(3, uint8=uint8):
            held.append(images[1:])
            copies.append(images[1:].clone())
        for start in range(0, COUNT, 3):
            held.append(dataset.__getitems__(range(start, start + 3))[1][0])
            copies.append(held[-1].clone())
    assert all(torch.equal(one, other) for one, other in zip(held, copies, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_default_collate_works(root: Path, workers: int) -> None:
    """K6: a plain DataLoader; its workers fill the cache."""
    dataset = opened(root)
    expected = anew(root, dataset)
    for _ in range(2):
        batches = list(DataLoader(dataset, batch_size=4, num_workers=workers))
        assert torch.equal(torch.cat([images for images, _ in batches]), expected)
        assert torch.cat([targets for _, targets in batches]).tolist() == [n % 4 for n in range(COUNT)]
    assert dataset.is_warm()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_the_loader_fill_the_cache(root: Path, context: str, decoded: list[int]) -> None:
    """X9: the next epoch needs none of them."""
    dataset = opened(root)
    loader = dataset.loader(5, num_workers=1, multiprocessing_context=context, shuffle=True)
    for _ in range(2):
        assert sum(len(targets) for _, targets in loader) == COUNT
        assert dataset.is_warm()
    assert not decoded
    assert torch.equal(every(dataset), anew(root, dataset))


def test_a_copy_in_another_process_reads_the_same_cache(root: Path, decoded: list[int]) -> None:
    """K6, X9"""
    dataset = opened(root)
    expected = every(dataset)
    decoded.clear()
    assert torch.equal(every(pickle.loads(pickle.dumps(dataset))), expected)
    assert not decoded


def test_indices_count_from_the_end_too_and_have_an_end(root: Path) -> None:
    """K6"""
    dataset = opened(root)
    assert torch.equal(dataset[-1][0], dataset[COUNT - 1][0])
    with pytest.raises(IndexError):
        dataset[COUNT]


def test_without_room_every_epoch_decodes(
    root: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """X9: and says so."""
    monkeypatch.setenv("RT_FLARE_DECODED_CACHE_BYTES", "100")
    dataset = opened(root)
    for _ in range(2):
        assert torch.equal(every(dataset), anew(root, dataset))
    assert (dataset.cache, dataset.is_warm(), len(decoded)) == (None, False, 2 * COUNT)
    assert caplog.text.count("every epoch decodes them") == 1


def test_without_a_folder_it_works_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """X9"""
    monkeypatch.setenv("RT_FLARE_DECODED_CACHE_DIR", "/dev/null/cache")
    dataset = opened(root)
    assert torch.equal(every(pickle.loads(pickle.dumps(dataset))), anew(root, dataset))
    assert "cannot be written" in caplog.text


def test_percent_escapes_and_absolute_paths_are_cached_too(root: Path, decoded: list[int]) -> None:
    """K5, X9: and names with a colon."""
    (root / "0.png").rename(root / "a b.png")
    (root / "1.jpg").rename(root / "b:c.jpg")
    text = (root / NAME).read_text().replace("file://0.png", "file:a%20b.png").replace("file://1.jpg", "./b:c.jpg")
    (root / NAME).write_text(text.replace("file://2.webp", f"file://{root}/2.webp"))
    time.sleep(0.03)
    dataset = opened(root)
    for _ in range(2):
        every(dataset)
    assert len(decoded) == COUNT


def _train_for_ever(root: Path, started: Any) -> None:
    torch.set_num_threads(1)
    dataset = opened(root, 512)
    started.set()
    while True:
        for _ in dataset.loader(2, shuffle=True):
            pass


def test_jobs_that_are_killed_while_they_decode_leave_only_what_is_right(root: Path) -> None:
    """X9: two jobs at once, killed at any moment; images change in between."""
    context = multiprocessing.get_context("fork")
    chance = random.Random(0)
    for version in range(6):
        for number in range(COUNT):
            noise(100 * version + number, 12).save(root / f"{number}.{('png', 'jpg', 'webp')[number % 3]}")
        time.sleep(0.03)
        started = [context.Event(), context.Event()]
        jobs = [context.Process(target=_train_for_ever, args=(root, event)) for event in started]
        for job, event in zip(jobs, started, strict=True):
            job.start()
            assert event.wait(60)
        time.sleep(chance.uniform(0, 0.08))
        for job in jobs:
            assert job.exitcode is None
            os.kill(job.pid or 0, signal.SIGKILL)
            job.join()
        dataset = opened(root, 512)
        assert torch.equal(every(dataset), anew(root, dataset, 512))
