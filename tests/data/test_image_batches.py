"""Batches of images: values, order, memory (K6, X9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from rt_flare.data.image_batches import ImageLoader, RawBatch, normalize_images

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Numbers:
    """Ten samples of the value of their index; `warm` says that no worker is needed."""

    def __init__(self, warm: bool = False) -> None:
        self.warm = warm
        self.calls = 0

    def __len__(self) -> int:
        return 10

    def is_warm(self) -> bool:
        return self.warm

    def gather(self, indices: Sequence[int]) -> RawBatch:
        self.calls += 1
        values = torch.tensor(indices)
        return RawBatch(values.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous(), {}, (values,))


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(threads)


def order(loader: Any) -> list[list[int]]:
    return [batch[1].tolist() for batch in loader]


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("shape", [(5, 3, 4, 4), (9, 1, 300, 300), (0, 3, 4, 4), (1, 3, 600, 600)])
def test_uint8_becomes_float32_from_0_to_1(shape: tuple[int, ...]) -> None:
    """K6: bit for bit what torchvision makes of it, whatever the size."""
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    assert torch.equal(normalize_images(images), functional.to_dtype(images, torch.float32, scale=True))
    assert torch.equal(images, before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("uint8", [False, True])
def test_images_are_normalised_by_channel(uint8: bool) -> None:
    """K6"""
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, (7, 3, 200, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scaled = functional.to_dtype(images, torch.float32, scale=True)
    found = normalize_images(images if uint8 else scaled, MEAN, STD)
    torch.testing.assert_close(found, functional.normalize(scaled, MEAN, STD))
    torch.testing.assert_close(normalize_images(scaled[:, :1], [0.5], [0.5]), scaled[:, :1] * 2 - 1)


@pytest.mark.parametrize("uint8", [False, True])
def test_a_loader_yields_whole_batches(uint8: bool) -> None:
    """K6"""
    source = Numbers()
    loader = ImageLoader(source, uint8=uint8, batch_size=4)
    batches = list(loader)
    assert (len(loader), source.calls, order(loader)[2]) == (3, 3, [8, 9])
    assert batches[2][0].dtype == (torch.uint8 if uint8 else torch.float32)
    assert batches[2][0][:, 0, 0, 0].tolist() == ([8, 9] if uint8 else pytest.approx([8 / 255, 9 / 255]))


def test_deep_images_keep_their_depth_in_float32() -> None:
    """K6"""
    deep = torch.full((1, 2, 2), 0.5)
    raw = RawBatch(torch.zeros((2, 1, 2, 2), dtype=torch.uint8), {1: deep}, ())
    assert torch.equal(raw.images(uint8=False)[1], deep)
    assert raw.images(uint8=True)[1].unique().tolist() == [128]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), warm=st.booleans())
def test_the_order_is_that_of_a_plain_data_loader(seed: int, warm: bool) -> None:
    """X3, X9: with workers or without, warm or cold, in every epoch."""

    def epochs(make: Any, **options: Any) -> list[list[list[int]]]:
        loader = make(batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(seed), **options)
        return [order(loader) for _ in range(2)]

    expected = epochs(lambda **options: DataLoader([(n, n) for n in range(10)], **options))
    for workers in (0, 1):
        assert epochs(lambda **o: ImageLoader(Numbers(warm), uint8=True, **o), num_workers=workers) == expected


def test_workers_start_only_for_what_is_not_decoded() -> None:
    """X9: the calls are seen here, so they were made here."""
    for warm, calls in ((False, 0), (True, 4)):
        source = Numbers(warm)
        assert len(order(ImageLoader(source, uint8=False, batch_size=3, num_workers=2))) == 4
        assert source.calls == calls


def test_workers_that_persist_are_used_throughout() -> None:
    """X9: they would draw other random numbers if an epoch went without them."""
    source = Numbers(warm=True)
    loader = ImageLoader(source, uint8=False, batch_size=3, num_workers=1, persistent_workers=True)
    assert order(loader) == order(loader)
    assert source.calls == 0


def test_it_takes_a_data_loaders_options() -> None:
    """K6"""
    loader = ImageLoader(Numbers(), uint8=True, batch_sampler=[[3, 1], [2]])
    assert order(loader) == [[3, 1], [2]]
    assert order(ImageLoader(Numbers(), uint8=True, batch_size=4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
