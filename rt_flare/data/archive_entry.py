"""The contents of one entry of a shard ZIP, exactly as announced, or refused."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator

from isal import isal_zlib

from rt_flare.data.positioned_file import PositionedFile
from rt_flare.errors import ShardError

__all__ = ["damaged", "read_entry"]

_CHUNK_BYTES = 1 << 20
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_UTF8_NAME = 0x800
_USUAL_EXTRA_BYTES = 64


def read_entry(file: PositionedFile, info: zipfile.ZipInfo, end: int, archive: str) -> Iterator[bytes | memoryview]:
    """Yield the contents of a stored or deflated entry, in pieces of at most 1 MiB.

    Nothing at or behind ``end``, where the next entry or the directory begins, is read.

    When the last one has been taken, size and CRC are checked; before that, nothing says that they are right.

    Raises:
        ShardError: the entry is damaged, or larger or smaller than announced. ``archive`` is the archive's name.
    """
    pieces = _stored(file, info, end, archive)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        pieces = _inflated(pieces, info, archive)
    size = crc = 0
    for piece in pieces:
        size += len(piece)
        if size > info.file_size:
            break
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    if size != info.file_size:
        found = "more" if size > info.file_size else f"{size}"
        raise ShardError(
            f"{archive}: entry {info.filename!r}: the ZIP announces {info.file_size} bytes and holds {found}. "
            f"Build the shard again."
        )
    if crc != info.CRC:
        raise damaged(archive, f"entry {info.filename!r}: CRC-32 is {crc:08x}, announced {info.CRC:08x}")


def damaged(archive: str, why: Exception | str) -> ShardError:
    """Return the error for an archive that is not what its writer wrote."""
    return ShardError(f"{archive}: truncated or corrupt ZIP ({why}). Build or download the shard again.")


def _stored(file: PositionedFile, info: zipfile.ZipInfo, end: int, archive: str) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an entry as they lie in the file."""
    name_bytes = info.orig_filename.encode(errors="surrogatepass")
    guess = _LOCAL_HEADER.size + len(name_bytes) + _USUAL_EXTRA_BYTES + info.compress_size
    # Header and contents of a small entry in one read.
    content = file.read_at(info.header_offset, min(guess, _CHUNK_BYTES, end - info.header_offset))
    if len(content) < _LOCAL_HEADER.size or content[:4] != _LOCAL_SIGNATURE:
        raise damaged(archive, f"entry {info.filename!r} has no local header")
    flags, *_, name_length, extra_length = _LOCAL_HEADER.unpack_from(content)[2:]
    skipped = _LOCAL_HEADER.size + name_length + extra_length
    if info.header_offset + skipped + info.compress_size > end:
        raise damaged(archive, f"entry {info.filename!r} reaches into the next one")
    if len(content) < skipped:
        content = bytes(content)
        content += file.read_at(info.header_offset + len(content), skipped - len(content))
    raw_name = bytes(content[_LOCAL_HEADER.size : _LOCAL_HEADER.size + name_length])
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8_NAME else "cp437")
    except UnicodeDecodeError as error:
        raise damaged(archive, error) from error
    if name != info.orig_filename:
        raise damaged(archive, f"entry {info.orig_filename!r} is called {name!r} in its local header")
    rest, position = info.compress_size, info.header_offset + len(content)
    piece = content[skipped : skipped + rest]
    while True:
        if piece:
            yield piece
        rest -= len(piece)
        if not rest:
            return
        piece = file.read_at(position, min(rest, _CHUNK_BYTES))
        if not piece:
            raise damaged(archive, f"entry {info.filename!r} goes on behind the end of the file")
        position += len(piece)


def _inflated(
    pieces: Iterator[bytes | memoryview], info: zipfile.ZipInfo, archive: str
) -> Iterator[bytes | memoryview]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest: bytes | memoryview = b""
    try:
        for rest in pieces:
            while rest and not inflater.eof:
                yield inflater.decompress(rest, _CHUNK_BYTES)
                rest = inflater.unconsumed_tail
            if rest:
                break
    except zlib.error as error:
        raise damaged(archive, error) from error
    if not inflater.eof or inflater.unused_data or rest:
        raise damaged(archive, f"entry {info.filename!r}: the compressed stream ends elsewhere than announced")
