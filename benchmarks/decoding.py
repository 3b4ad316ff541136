"""Images from disk to batches: rt_flare against the reading loop that most training scripts have.

Run with ``uv run python -m benchmarks.decoding``. Files are crops of scikit-learn's two sample photos. Every repeat
measures all variants one after the other, with the same DataLoader settings, and starts the decoded cache anew; what
counts are the ratios within a repeat. A later epoch takes a moment only: its figure is the median of five.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.figures import Figure, command, spread
from rt_flare.data.image_batches import normalize_images
from rt_flare.data.manifest import MANIFEST_NAME
from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.data.manifest_images import ManifestImageDataset

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TARGETS = {
    "first epoch": 1.5,
    "later epochs, float32": 10.0,
    "later epochs, uint8, normalised on the device": 20.0,
}


class PlainDataset(Dataset[tuple[torch.Tensor, int]]):
    """One image per item: Pillow, then torchvision's transforms one after the other."""

    def __init__(self, root: Path, size: int) -> None:
        lines = (root / MANIFEST_NAME).read_text().splitlines()
        self.samples = [(root / entry["uri"], entry["y"][0]) for entry in map(json.loads, lines)]
        self.transform = transforms.Compose(
            [
                transforms.Resize(max(size, 256)),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        return self.transform(Image.open(path).convert("RGB")), label


def write_photos(root: Path, count: int, seed: int = 0) -> int:
    """Write ``count`` JPEG files of 256 to 512 pixels on the longer side, with a manifest; return their bytes."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    random = np.random.default_rng(seed)
    total = 0
    with (root / MANIFEST_NAME).open("w") as manifest:
        for number in range(count):
            photo = photos[number % len(photos)]
            width, height = (int(side * random.uniform(0.4, 1.0)) for side in photo.size)
            left, top = (int(random.integers(0, a - b + 1)) for a, b in zip(photo.size, (width, height), strict=True))
            scale = random.integers(256, 513) / max(width, height)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            path = root / f"{number:05d}.jpg"
            photo.crop((left, top, left + width, top + height)).resize(size).save(path, quality=90)
            total += path.stat().st_size
            manifest.write(json.dumps({"id": str(number), "uri": path.name, "y": [number % len(photos)]}) + "\n")
    return total


def seconds_per_epoch(batches: Iterable[Any], step: Callable[[torch.Tensor], Any], clock: Clock) -> float:
    """Return the time to go through ``batches`` once, with ``step`` on the images of each."""
    start = clock()
    for images, _ in batches:
        step(images)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def seconds_per_later_epoch(batches: Iterable[Any], step: Callable[[torch.Tensor], Any], clock: Clock) -> float:
    """Return the median time of five passes through ``batches``."""
    return median(seconds_per_epoch(batches, step, clock) for _ in range(5))


def open_dataset(root: Path, size: int) -> ManifestImageDataset:
    """Open the photos as a job does."""
    return ManifestImageAdapter().open(root, manifest_file=MANIFEST_NAME, env={"img_size": size, "num_classes": 0})


def measure(root: Path, device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of one epoch of each variant."""
    settings = {"batch_size": options.batch_size, "num_workers": options.workers, "pin_memory": device.type == "cuda"}

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def to_device(images: torch.Tensor) -> torch.Tensor:
        return images.to(device, non_blocking=True)

    normal = torch.empty((options.batch_size, 3, options.size, options.size), device=device)

    def normalized(images: torch.Tensor) -> torch.Tensor:
        return normalize_images(to_device(images), MEAN, STD, out=normal[: len(images)])

    seconds = {}
    clock = CLOCKS[options.clock]
    plain = PlainDataset(root, options.size)
    seconds["plain"] = seconds_per_epoch(
        DataLoader(plain, shuffle=True, generator=generator(), **settings), to_device, clock
    )

    shutil.rmtree(Path(os.environ["RT_FLARE_DECODED_CACHE_DIR"]), ignore_errors=True)
    dataset = open_dataset(root, options.size)
    assert dataset.cache is not None
    loader: DataLoader[Any] = dataset.loader(shuffle=True, generator=generator(), **settings)
    seconds["first epoch"] = seconds_per_epoch(loader, to_device, clock)
    dataset = open_dataset(root, options.size)  # as the next job does
    loader = dataset.loader(shuffle=True, generator=generator(), **settings)
    seconds["second epoch, of another job"] = seconds_per_epoch(loader, to_device, clock)
    seconds["later epochs, float32"] = seconds_per_later_epoch(loader, to_device, clock)
    loader = DataLoader(dataset, shuffle=True, generator=generator(), **settings)
    seconds["later epochs, float32, default collate"] = seconds_per_later_epoch(loader, to_device, clock)
    loader = dataset.loader(shuffle=True, generator=generator(), uint8=True, **settings)
    seconds["later epochs, uint8"] = seconds_per_later_epoch(loader, to_device, clock)
    seconds["later epochs, uint8, normalised on the device"] = seconds_per_later_epoch(loader, normalized, clock)

    for name, dtype in (("copy of float32 batches", torch.float32), ("copy of uint8 batches", torch.uint8)):
        batch = torch.ones((options.batch_size, 3, options.size, options.size), dtype=dtype)
        batches = [(batch, None)] * (len(dataset) // options.batch_size)
        seconds[name] = seconds_per_later_epoch(batches, lambda images: to_device(images.clone()), clock)
    return seconds


def compare(options: argparse.Namespace) -> list[Figure]:
    """Measure all variants, again and again."""
    if options.clock == "cpu" and options.workers:
        raise SystemExit("the cpu clock does not see worker processes")
    warnings.simplefilter("ignore")
    logging.basicConfig()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photos")
        root.mkdir()
        os.environ["RT_FLARE_DECODED_CACHE_DIR"] = str(Path(folder, "cache"))
        num_bytes = write_photos(root, options.files)
        time.sleep(0.1)
        accelerator = torch.cuda.get_device_name() if device.type == "cuda" else "none, device is the CPU"
        print(f"accelerator: {accelerator}; {options.files} JPEG files of", end=" ")
        print(f"{num_bytes / options.files / 1e3:.0f} kB on average, img_size", end=" ")
        print(f"{options.size}, batch_size {options.batch_size}, num_workers {options.workers}, ", end="")
        print(f"{torch.get_num_threads()} threads, {options.repeats} repeats, {options.clock} time")
        runs = [measure(root, device, options) for _ in range(options.repeats)]
    print("microseconds per image:")
    for name in runs[0]:
        print(f"{name:50} {spread(run[name] / options.files * 1e6 for run in runs)}")
    epochs = [name for name in runs[0] if "epoch" in name]
    figures = [
        Figure(f"plain dataset / {name}", tuple(run["plain"] / run[name] for run in runs), at_least=TARGETS.get(name))
        for name in epochs
    ]
    for name, copy in (("float32", "copy of float32 batches"), ("uint8", "copy of uint8 batches")):
        ratios = tuple(run[f"later epochs, {name}"] / run[copy] for run in runs)
        figures.append(Figure(f"later epochs, {name} / a plain memory copy", ratios))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves its default")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a busy machine; without workers")
    command(parser, compare)


if __name__ == "__main__":
    main()
