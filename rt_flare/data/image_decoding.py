"""Decode one image to a square of pixels, with the size known before a pixel is allocated."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

from rt_flare.errors import DataError

__all__ = ["DECODING_VERSION", "MAX_PIXELS", "decode_pixels", "decode_square"]

DECODING_VERSION = 2
"""Goes up with every change of this module that may change a pixel: what was decoded before is then out of date."""

MAX_PIXELS = 178_956_970
"""Largest image, in pixels: Pillow's own limit for certain decompression bombs."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def decode_square(content: bytes, channels: int, size: int) -> torch.Tensor:
    """Return the image ``content`` as float32 of shape (channels, size, size) with values in [0, 1].

    Arguments and errors are those of `decode_pixels`.
    """
    scaled: torch.Tensor = functional.to_dtype(decode_pixels(content, channels, size), torch.float32, scale=True)
    return scaled


def decode_pixels(content: bytes, channels: int, size: int) -> torch.Tensor:
    """Return the image ``content`` in shape (channels, size, size): uint8, or float32 in [0, 1] if it has 16 bits.

    JPEG goes through torchvision, PNG, WebP, BMP, GIF (first frame), TIFF and PPM through Pillow: torchvision's decoder
    of PNG ends the whole process at a damaged byte. An image of another shape is stretched to the square with
    antialiasing. Alpha is dropped and an EXIF orientation is not applied.

    Args:
        content: a file's bytes.
        channels: 3 for RGB, 1 for gray.
        size: side in pixels.

    Raises:
        DataError: no image of these formats, damaged, above `MAX_PIXELS`, or of a pixel type that is none of 1, 8 and
            16 bits.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"{width}x{height} pixels, expected at most {MAX_PIXELS}. Scale the image down.")
            if image.format == "JPEG":
                mode = ImageReadMode.RGB if channels == 3 else ImageReadMode.GRAY
                pixels = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=mode)
            else:
                pixels = _decode_with_pillow(image, channels)
    except Image.DecompressionBombError as error:
        raise DataError(f"{error} Expected at most {MAX_PIXELS} pixels: scale the image down.") from error
    except UnidentifiedImageError as error:
        raise DataError(f"not an image, expected one of {', '.join(_FORMATS)}. Convert the file.") from error
    except (RuntimeError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"the image is damaged: {error}") from error
    if pixels.dtype != torch.uint8:
        pixels = functional.to_dtype(pixels, torch.float32, scale=True)
    square: torch.Tensor = pixels
    if pixels.shape[-2:] != (size, size):
        square = functional.resize(pixels, [size, size], antialias=True)
    return square


def _decode_with_pillow(image: Image.Image, channels: int) -> torch.Tensor:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion to 8 bits cuts values off at 255.
        gray = torch.from_numpy(np.array(image).astype(np.uint16)).unsqueeze(0)
        return gray.expand(channels, -1, -1).contiguous()
    if image.mode in {"I", "F"}:
        raise DataError(f"pixel type {image.mode!r}, expected 1, 8 or 16 bits. Convert the image.")
    converted = np.array(image.convert("RGB" if channels == 3 else "L"))
    return torch.from_numpy(converted).reshape(image.height, image.width, channels).permute(2, 0, 1).contiguous()
