"""Images to tensors: exact pixels, honest refusals, no bomb (K5, K6)."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rt_flare.data.image_decoding import decode_square
from rt_flare.errors import DataError

# torchvision 0.29 announces that image decoding moves to another package.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")

RAMP = np.arange(12 * 12 * 3, dtype=np.uint16).reshape(12, 12, 3).astype(np.uint8)


def encoded(pixels: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("PPM", {})]
)
def test_lossless_formats_give_the_exact_pixels(kind: str, options: dict[str, Any]) -> None:
    """K6"""
    image = decode_square(encoded(RAMP, kind, **options), 3, 12)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, torch.from_numpy(RAMP).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_come_close(kind: str) -> None:
    """K6"""
    smooth = np.repeat(np.linspace(0, 255, 12).astype(np.uint8)[None, :, None], 12, 0).repeat(3, 2)
    image = decode_square(encoded(smooth, kind), 3, 12)
    assert (image - torch.from_numpy(smooth).permute(2, 0, 1) / 255).abs().max() < 0.05


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_gray_images_come_in_either_number_of_channels(kind: str, channels: int) -> None:
    """K6"""
    image = decode_square(encoded(RAMP[:, :, 0], kind), channels, 12)
    torch.testing.assert_close(image, (torch.from_numpy(RAMP[:, :, 0]) / 255).expand(channels, -1, -1))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
def test_color_becomes_gray(kind: str) -> None:
    """K6"""
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    image = decode_square(encoded(red, kind), 1, 4)
    assert image.shape == (1, 4, 4)
    assert (image - 76 / 255).abs().max() < 0.12  # decoders weigh red with 0.21 to 0.30


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_their_scale(kind: str, channels: int) -> None:
    """K6"""
    deep = np.array([[0, 255], [40000, 65535]], np.uint16)
    image = decode_square(encoded(deep, kind), channels, 2)
    torch.testing.assert_close(image, (torch.from_numpy(deep.astype(np.float32)) / 65535).expand(channels, -1, -1))


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "LA", "CMYK"])
def test_other_pixel_modes_become_rgb(mode: str) -> None:
    """K6"""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    torch.testing.assert_close(decode_square(buffer.getvalue(), 3, 4), torch.ones(3, 4, 4))


@pytest.mark.parametrize("shape", [(5, 9), (64, 48), (16, 16)])
def test_another_size_is_stretched_to_the_square(shape: tuple[int, int]) -> None:
    """K6"""
    image = decode_square(encoded(np.full((*shape, 3), 200, np.uint8), "PNG"), 3, 16)
    torch.testing.assert_close(image, torch.full((3, 16, 16), 200 / 255))


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    """K6: one-pixel stripes become gray."""
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    image = decode_square(encoded(stripes, "PNG"), 1, 8)
    assert (image - 0.5).abs().max() < 0.1


def test_sixteen_bits_can_be_resized() -> None:
    """K6"""
    image = decode_square(encoded(np.full((6, 6), 30000, np.uint16), "PNG"), 1, 4)
    torch.testing.assert_close(image, torch.full((1, 4, 4), 30000 / 65535))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header announces width x height pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))

    header = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("width", [20_000, 60_000])
def test_a_decompression_bomb_is_refused(width: int) -> None:
    """K5"""
    with pytest.raises(DataError, match="at most 178956970"):
        decode_square(bomb(width, 10_000), 3, 8)


def test_a_bomb_is_refused_where_pillow_was_told_not_to_care(monkeypatch: pytest.MonkeyPatch) -> None:
    """K5"""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="60000x10000 pixels, expected at most 178956970"):
        decode_square(bomb(60_000, 10_000), 3, 8)


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    """K5: PostScript too, which Pillow would hand to another program."""
    with pytest.raises(DataError, match="not an image, expected one of JPEG"):
        decode_square(content, 3, 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    """K5"""
    content = encoded(RAMP.repeat(4, 0).repeat(4, 1), kind)
    with pytest.raises(DataError, match=r"damaged|not an image"):
        decode_square(content[: len(content) // 2], 3, 8)


def test_pixels_without_a_known_scale_are_refused() -> None:
    """K6"""
    with pytest.raises(DataError, match="pixel type 'F', expected 1, 8 or 16 bits"):
        decode_square(encoded(np.zeros((4, 4), np.float32), "TIFF"), 1, 4)


@settings(deadline=None)
@given(st.data())
def test_damaged_images_are_refused_or_decoded_and_never_end_the_process(data: st.DataObject) -> None:
    """K5: bytes overwritten and cut off, in every format."""
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]))
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        decode_square(bytes(content[: data.draw(st.none() | st.integers(1, len(content)))]), 3, 8)
