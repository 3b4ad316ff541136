"""The benchmark of decoding runs, and compares like with like (X9)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.decoding import TARGETS
from benchmarks.figures import read_figures
from rt_flare.data.image_batches import normalize_images

ROOT = Path(__file__).parents[2]


def test_every_ratio_has_its_bound(tmp_path: Path) -> None:
    """X9"""
    options = ["--files", "6", "--size", "16", "--batch-size", "4", "--repeats", "2", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.decoding", *options, "--json", str(tmp_path / "figures.json")]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    bounds = {}
    for figure in read_figures(tmp_path / "figures.json"):
        assert len(figure.values) == 2
        assert figure.name[:20] in text
        bounds[figure.name] = figure.at_least
    assert {name.removeprefix("plain dataset / "): least for name, least in bounds.items() if least} == TARGETS
    assert "later epochs, uint8 / a plain memory copy" in bounds


def test_the_index_benchmark_reads_nothing_when_warm(tmp_path: Path) -> None:
    """X9"""
    manifest = tmp_path / "manifest.ndjson"
    manifest.write_text("".join(f'{{"id":"{n}","uri":"{n}.png","y":[0]}}\n' for n in range(2000)))
    command = [sys.executable, "-m", "benchmarks.index", "--open-once", str(manifest), str(tmp_path)]
    made, opened = (json.loads(subprocess.check_output(command, cwd=ROOT)) for _ in range(2))
    assert made["read"] > manifest.stat().st_size > opened["read"]


def test_normalised_uint8_batches_are_what_the_plain_loop_makes() -> None:
    """K6: the benchmark's last step is the same work."""
    from torchvision import transforms

    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = transforms.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))(pixels / 255)
    torch.testing.assert_close(normalize_images(pixels, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), plain)
