"""The quickstart's data: scikit-learn's scanned digits as shards for the sites, and a held-out part."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.manifest import MANIFEST_NAME, load_manifest, write_manifest
from rt_flare.data.site_shard import prepare_shard
from rt_flare.data.splits import split_dirichlet, split_stratified
from rt_flare.errors import ConfigError, DataError

__all__ = ["IMG_SIZE", "NUM_CLASSES", "Digits", "pool_shards", "write_digits"]

IMG_SIZE = 8
NUM_CLASSES = 10
_HELD_OUT_PARTS = 5
_ALPHA = 1.0
_MAX_SITES = 50
_LARGEST_PIXEL = 16


@dataclass(frozen=True)
class Digits:
    """Where the data stands.

    Attributes:
        shards_dir: one shard per site.
        num_samples: samples of every shard.
        held_out: unpacked samples that no site has seen, with their manifest.
    """

    shards_dir: Path
    num_samples: tuple[int, ...]
    held_out: Path


def write_digits(shards_dir: Path, held_out_dir: Path, *, num_sites: int, seed: int) -> Digits:
    """Write the 1,797 digits: four fifths as shards, unevenly (Dirichlet, alpha 1), one fifth held out, stratified.

    The same seed gives the same bytes.

    Raises:
        ConfigError: more sites than the data is good for.
        DataError: scikit-learn is not installed.
    """
    if not 1 <= num_sites <= _MAX_SITES:
        raise ConfigError(f"sites: found {num_sites}, expected 1 to {_MAX_SITES}: there are 1,797 digits to share")
    samples, labels = _load()
    held_out, *rest = split_stratified(labels, _HELD_OUT_PARTS, seed)
    training = sorted(index for part in rest for index in part)
    parts = split_dirichlet([labels[index] for index in training], num_sites, _ALPHA, seed)
    # An earlier quickstart in this folder may have had more sites.
    for archive in shards_dir.glob("shard_*.zip"):
        archive.unlink()
    build_shards([samples[index] for index in training], parts, shards_dir)
    [archive] = build_shards(samples, [held_out], held_out_dir)
    unpacked = prepare_shard(archive, held_out_dir / "unpacked", 1)
    return Digits(shards_dir, tuple(len(part) for part in parts), unpacked)


def pool_shards(data_dir: Path, num_sites: int) -> Path:
    """Write one manifest over the sites' unpacked shards, ``{data_dir}/pooled.ndjson``, and return it.

    Raises:
        ManifestError: a shard's manifest is missing: the sites have not unpacked their shards.
    """
    pooled = []
    for index in range(1, num_sites + 1):
        for entry in load_manifest(data_dir / str(index) / MANIFEST_NAME):
            pooled.append(replace(entry, uri=entry.uri.replace("file://", f"file://{index}/", 1)))
    manifest = data_dir / "pooled.ndjson"
    write_manifest(manifest, pooled)
    return manifest


def _load() -> tuple[list[ShardSample], list[int]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("the quickstart's digits come with scikit-learn: pip install 'rt-flare[quickstart]'") from error
    from PIL import Image

    images, targets = load_digits(return_X_y=True)
    labels = [int(target) for target in targets]
    samples = []
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        gray = (pixels.reshape(IMG_SIZE, IMG_SIZE) * (255 / _LARGEST_PIXEL)).round().astype("uint8")
        png = io.BytesIO()
        Image.fromarray(gray).save(png, format="PNG")
        name = f"digit_{number:04d}"
        samples.append(ShardSample(id=name, source=png.getvalue(), name=f"images/{name}.png", y=(label,)))
    return samples, labels
