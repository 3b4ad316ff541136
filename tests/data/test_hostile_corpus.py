"""Hostile archives, manifests, uris and images: each refused by a named error, in bounded memory (K3, K4, K5)."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_flare.data.archive import ArchiveLimits
from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.data.site_shard import prepare_shard
from rt_flare.data.verify_shards import VerifyOptions, verify_shards
from rt_flare.errors import DataError, ManifestError, RtFlareError, ShardError

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


class Case(NamedTuple):
    """What is built, and what the refusal says."""

    name: str
    build: Callable[[Path], object]
    message: str


def entry(name: str, *, mode: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def packed(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in entries:
            archive.writestr(entry(info) if isinstance(info, str) else info, content)
    return path


def edited(path: Path, *edits: tuple[bytes, int, str, int]) -> Path:
    """Overwrite fields: each behind the first place of a signature."""
    content = bytearray(path.read_bytes())
    for signature, offset, layout, value in edits:
        struct.pack_into(layout, content, content.index(signature) + offset, value)
    path.write_bytes(content)
    return path


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def twice(path: Path) -> Path:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return packed(path, ("a", b"1"), ("a", b"2"))


def bomb(path: Path, *, announced: int | None = None) -> Path:
    """100 MiB of zeros in 100 KiB; ``announced`` hides that."""
    packed(path, (entry("a", method=zipfile.ZIP_DEFLATED), bytes(100 << 20)))
    return path if announced is None else edited(path, (LOCAL, 22, "<L", announced), (CENTRAL, 24, "<L", announced))


def overlapping(path: Path) -> Path:
    """1,000 entries that share one compressed stream."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = stream.compress(bytes(1 << 20)) + stream.flush()
    crc = zlib.crc32(bytes(1 << 20))
    fields = (20, 0, 8, 0, 0, crc, len(data), 1 << 20, 6, 0)
    body = struct.pack("<4s5H3L2H", LOCAL, *fields) + b"000000" + data
    rows = b"".join(
        struct.pack("<4s6H3L5H2L", CENTRAL, 20, *fields[:-1], 0, 0, 0, 0, 0, 0) + b"%06d" % number
        for number in range(1000)
    )
    end = struct.pack("<4s4H2LH", END, 0, 0, 1000, 1000, len(rows), len(body), 0)
    path.write_bytes(body + rows + end)
    return path


def many(path: Path, count: int) -> Path:
    """``count`` empty files: cheap to send, costly to unpack."""
    names = [b"%06x" % number for number in range(count)]
    body, rows = bytearray(), bytearray()
    for name in names:
        rows += struct.pack("<4s6H3L5H2L", CENTRAL, 20, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, len(body)) + name
        body += struct.pack("<4s5H3L2H", LOCAL, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0) + name
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(rows), len(body))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body) + len(rows), 1)
    end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(bytes(body + rows) + end64 + locator + end)
    return path


def huge_directory(path: Path) -> Path:
    """A sparse file of 600 MiB that calls nearly all of itself a directory."""
    size = 600 << 20
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, size, 1)
    end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with path.open("wb") as file:
        file.write(CENTRAL)
        file.seek(size)
        file.write(end64 + locator + end)
    return path


def raw_name(path: Path, name: bytes, *, utf8: bool) -> Path:
    """An entry whose name has exactly these bytes, called UTF-8 or not."""
    packed(path, ("x" * len(name), b"1"), ("plain", b"1"))
    replaced(path, b"x" * len(name), name)
    return edited(path, (LOCAL, 6, "<H", 0x800), (CENTRAL, 8, "<H", 0x800)) if utf8 else path


SMALL = ArchiveLimits(max_total_bytes=64 << 20, max_entries=50_000)
ARCHIVES = [
    Case("no file", lambda p: p, "no such file"),
    Case("empty", lambda p: p.write_bytes(b""), "truncated or corrupt ZIP"),
    Case("html", lambda p: p.write_bytes(b"<html>404</html>"), "truncated or corrupt ZIP"),
    Case("gzip", lambda p: p.write_bytes(b"\x1f\x8b" + bytes(100)), "truncated or corrupt ZIP"),
    Case("cut", lambda p: p.write_bytes(packed(p, ("a", bytes(99))).read_bytes()[:-8]), "truncated or corrupt ZIP"),
    Case("nothing in it", lambda p: packed(p), "found no file in the ZIP"),
    Case("folders only", lambda p: packed(p, ("a/", b""), ("b/", b"")), "found no file in the ZIP"),
    Case("wrapper", lambda p: packed(p, ("w/manifest.ndjson", b"1"), ("w/a.png", b"1")), "a wrapper folder"),
    Case("mac wrapper", lambda p: packed(p, ("w/a", b"1"), ("__MACOSX/._a", b"1")), "a wrapper folder"),
    Case("absolute", lambda p: packed(p, ("/etc/cron.d/x", b"1"), ("a", b"1")), "an absolute path"),
    Case("drive", lambda p: packed(p, ("C:/x", b"1"), ("a", b"1")), "an absolute path"),
    Case("parent", lambda p: packed(p, ("../x", b"1"), ("a", b"1")), r"'\.\.' in the path"),
    Case("deep parent", lambda p: packed(p, ("a/b/../../../x", b"1"), ("c", b"1")), r"'\.\.' in the path"),
    Case("windows parent", lambda p: packed(p, ("..\\..\\x", b"1"), ("a", b"1")), "a backslash"),
    Case("nul", lambda p: replaced(packed(p, ("a.pngX../../x", b"1")), b"gX", b"g\0"), "a control character"),
    Case("newline", lambda p: packed(p, ("a\nb", b"1"), ("c", b"1")), "a control character"),
    Case("link", lambda p: packed(p, (entry("a", mode=stat.S_IFLNK | 0o777), b"/etc/passwd")), "a link"),
    Case(
        "link through ..",
        lambda p: packed(p, (entry("d", mode=stat.S_IFLNK | 0o777), b"../../.."), ("d/x", b"1"), ("a", b"1")),
        "a link",
    ),
    Case("device", lambda p: packed(p, (entry("a", mode=stat.S_IFBLK | 0o666), b"")), "a device"),
    Case("character device", lambda p: packed(p, (entry("a", mode=stat.S_IFCHR), b"")), "a device"),
    Case("fifo", lambda p: packed(p, (entry("a", mode=stat.S_IFIFO), b"")), "a device"),
    Case("socket", lambda p: packed(p, (entry("a", mode=stat.S_IFSOCK), b"")), "a device"),
    Case(
        "encrypted",
        lambda p: edited(packed(p, ("a", b"1")), (LOCAL, 6, "<H", 1), (CENTRAL, 8, "<H", 1)),
        "encrypted",
    ),
    Case("duplicate", twice, "duplicate entry 'a'"),
    Case("case collision", lambda p: packed(p, ("A/x", b"1"), ("a/y", b"1")), "case collision"),
    Case("unicode collision", lambda p: packed(p, ("\u00e9", b"1"), ("e\u0301", b"2")), "case collision"),
    Case("file and folder", lambda p: packed(p, ("a", b"1"), ("a/b", b"1")), "both a file and a folder"),
    Case("long name", lambda p: packed(p, ("x" * 256, b"1"), ("a", b"1")), "longer than 255 bytes"),
    Case("empty name part", lambda p: packed(p, ("a//b", b"1"), ("c", b"1")), "an empty or '.' part"),
    Case("bzip2", lambda p: packed(p, (entry("a", method=zipfile.ZIP_BZIP2), bytes(99))), "compression method 12"),
    Case("lzma", lambda p: packed(p, (entry("a", method=zipfile.ZIP_LZMA), bytes(99))), "compression method 14"),
    Case("no method", lambda p: edited(packed(p, ("a", b"1")), (CENTRAL, 10, "<H", 99)), "compression method 99"),
    Case("zip bomb", bomb, "expands to|expansion ratio"),
    Case("bomb in disguise", lambda p: bomb(p, announced=1000), "announces 1000 bytes and holds more"),
    Case("overlapping bomb", overlapping, "expands to|entries overlap"),
    Case("100k entries", lambda p: many(p, 100_000), "too many entries: found 100000, expected at most 50000"),
    Case("huge directory", huge_directory, "too many entries: found a directory of 629145600 bytes"),
    Case(
        "directory elsewhere",
        lambda p: edited(packed(p, ("a", b"1"), ("b", b"1")), (END, 16, "<L", 5)),
        "truncated or corrupt ZIP",
    ),
    Case(
        "directory too large",
        lambda p: edited(packed(p, ("a", b"1")), (END, 12, "<L", 1 << 20)),
        "truncated or corrupt ZIP",
    ),
    Case(
        "directory of other names",
        lambda p: edited(packed(p, ("a", b"1"), ("b", b"1")), (CENTRAL, 46, "<B", 99)),
        "is called 'a' in its local header",
    ),
    Case(
        "entry behind the end",
        lambda p: edited(packed(p, ("a", b"1")), (CENTRAL, 42, "<L", 1 << 30)),
        "truncated or corrupt ZIP",
    ),
    Case(
        "entry in the directory",
        lambda p: edited(packed(p, ("a", b"1")), (CENTRAL, 42, "<L", 40)),
        "truncated or corrupt ZIP",
    ),
    Case("wrong crc", lambda p: edited(packed(p, ("a", b"1")), (CENTRAL, 16, "<L", 1)), "CRC-32"),
    Case("short", lambda p: edited(packed(p, ("a", b"1234")), (CENTRAL, 24, "<L", 9)), "announces 9 bytes and holds 4"),
    Case("bad utf-8 name", lambda p: raw_name(p, b"\xff\xfe\xfd", utf8=True), "truncated or corrupt ZIP"),
    Case("overlong utf-8 slash", lambda p: raw_name(p, b"..\xc0\xafx", utf8=True), "truncated or corrupt ZIP"),
    Case("utf-16 name", lambda p: raw_name(p, "a/b".encode("utf-16-le"), utf8=False), "a control character"),
    Case("utf-7 parent", lambda p: raw_name(p, b"../+AC8-x", utf8=False), r"'\.\.' in the path"),
]


def line(**fields: Any) -> bytes:
    return json.dumps({"id": "a", "uri": "a.png", "y": [0], **fields}).encode() + b"\n"


MANIFESTS = [
    Case("empty", lambda p: p.write_bytes(b""), "an empty file"),
    Case("blank line", lambda p: p.write_bytes(line() + b"\n" + line(id="b")), "a blank line"),
    Case("byte order mark", lambda p: p.write_bytes(b"\xef\xbb\xbf" + line()), "a byte order mark"),
    Case("utf-16", lambda p: p.write_bytes(line().decode().encode("utf-16")), "not UTF-8"),
    Case("latin-1", lambda p: p.write_bytes(line(id="x").replace(b"x", b"\xe9")), "not UTF-8"),
    Case("lone surrogate", lambda p: p.write_bytes(b'{"id":"\\ud800","uri":"u","y":[0]}\n'), "a non-empty Unicode"),
    Case("duplicate ids", lambda p: p.write_bytes(line() * 3), "the id of line 1 already"),
    Case("line of 50 MB", lambda p: p.write_bytes(b" " * (50 << 20) + line()), "an over-long line"),
    Case("deep nesting", lambda p: p.write_bytes(b"[" * 500_000), "no valid JSON"),
    Case("deep meta", lambda p: p.write_bytes(b'{"meta":' * 100_000), "no valid JSON"),
    Case("huge number", lambda p: p.write_bytes(line().replace(b"[0]", b"[" + b"9" * 10_000 + b"]")), "no valid JSON"),
    Case("infinite number", lambda p: p.write_bytes(line(meta={"k": 1}).replace(b"1", b"1e999")), "fit a float"),
    Case("nan", lambda p: p.write_bytes(b'{"id":"a","uri":"u","y":[0],"meta":{"k":NaN}}\n'), "NaN"),
    Case("key twice", lambda p: p.write_bytes(b'{"id":"a","id":"b","uri":"u","y":[0]}\n'), "this key 2 times"),
    Case("bool label", lambda p: p.write_bytes(line(y=[True])), "found true"),
    Case("negative label", lambda p: p.write_bytes(line(y=[-1])), "found -1"),
    Case("float label", lambda p: p.write_bytes(line(y=[1.0])), r"found 1\.0"),
    Case("label beyond 31 bits", lambda p: p.write_bytes(line(y=[2**31])), "found 2147483648"),
    Case("label as text", lambda p: p.write_bytes(line(y="0")), "a list of integers"),
    Case("id as number", lambda p: p.write_bytes(line(id=1)), "id: found 1"),
    Case("empty uri", lambda p: p.write_bytes(line(uri="")), "uri: found"),
    Case("meta as list", lambda p: p.write_bytes(line(meta=[1])), "meta: found a list"),
    Case("a list", lambda p: p.write_bytes(b'["a","u",[0]]\n'), "found a list"),
    Case("two objects", lambda p: p.write_bytes(line().strip() * 2), "no valid JSON"),
    Case("python", lambda p: p.write_bytes(b"__import__('os').system('true')\n"), "no valid JSON"),
]

URIS = [
    ("file:///etc/passwd", "an absolute path outside"),
    ("/etc/passwd", "an absolute path outside"),
    ("../../etc/passwd", r"'\.\.' that leads out"),
    ("file://..%2f..%2fetc/passwd", r"'\.\.' that leads out"),
    ("file://%2e%2e/x", r"'\.\.' that leads out"),
    ("link/x", "a link that leads out"),
    ("a%00.png\0", "no file name"),
    ("file://", "no file name"),
    (".", "data_root itself"),
    ("http://93.184.215.14/a.png", "the scheme 'http'"),
    ("ftp://h/a.png", "the scheme 'ftp'"),
    ("s3://bucket/a.png", "the scheme 's3'"),
    ("gopher://127.0.0.1:6379/_x", "the scheme 'gopher'"),
    ("data:image/png;base64,AAAA", "the scheme 'data'"),
    ("javascript:alert(1)", "the scheme 'javascript'"),
    ("https://127.0.0.1/a.png", "no public address"),
    ("https://localhost/a.png", "no public address"),
    ("https://[::1]/a.png", "no public address"),
    ("https://[::ffff:169.254.169.254]/latest", "no public address"),
    ("https://169.254.169.254/latest/meta-data", "no public address"),
    ("https://2130706433/a.png", "no public address"),
    ("https://10.0.0.1:8080/a.png", "no public address"),
    ("https://metadata.example/a.png", "no public address"),
    ("https://public@10.0.0.1/a.png", "a user in the URL"),
    ("https:///a.png", "expected https:// and a host"),
    ("https://[::1/a.png", "no URL"),
]


def png(width: int, height: int) -> bytes:
    """A PNG that announces this size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


IMAGES = [
    ("image bomb", png(60_000, 60_000), "3600000000 pixels|pixels, expected at most|exceeds limit"),
    ("image of 2^31 columns", png(2**31 - 1, 1), "pixels|damaged|exceeds limit"),
    ("image without pixels", png(8, 8), "damaged"),
    ("text", b"hello", "not an image"),
    ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    ("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ("empty", b"", "not an image"),
]


def snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_corpus_is_as_large_as_promised() -> None:
    """K3, K4, K5"""
    assert len(ARCHIVES) >= 40
    assert len(ARCHIVES) + len(MANIFESTS) + len(URIS) + len(IMAGES) >= 100


@pytest.mark.parametrize("case", ARCHIVES, ids=lambda case: case.name)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path: Path, case: Case) -> None:
    """K3: nothing is unpacked, and nothing outside the site's folder changes."""
    case.build(tmp_path / "shard_0001.zip")
    before = snapshot(tmp_path)
    with pytest.raises(ShardError, match=case.message):
        prepare_shard(tmp_path / "shard_0001.zip", tmp_path / "data", 1, limits=SMALL)
    outside = {name for name in snapshot(tmp_path) if not name.startswith("data")}
    assert outside == before
    assert not (tmp_path / "data" / "1").exists()
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


@pytest.mark.parametrize("case", [case for case in ARCHIVES if case.name != "no file"], ids=lambda case: case.name)
def test_a_hostile_archive_is_found_by_verify_too(tmp_path: Path, case: Case) -> None:
    """K3: before it travels, and without an exception."""
    case.build(tmp_path / "shard_0001.zip")
    report = verify_shards(tmp_path, VerifyOptions(limits=SMALL, manifest_file="", images=False))
    assert not report.ok


@pytest.mark.parametrize("case", MANIFESTS, ids=lambda case: case.name)
def test_a_hostile_manifest_is_refused(tmp_path: Path, case: Case) -> None:
    """K4"""
    case.build(tmp_path / "manifest.ndjson")
    with pytest.raises(ManifestError, match=case.message):
        opened(tmp_path)


def opened(root: Path) -> Any:
    return ManifestImageAdapter().open(root, manifest_file="manifest.ndjson", env={"img_size": 4, "num_classes": 0})


@pytest.mark.parametrize(("uri", "message"), URIS)
def test_a_hostile_uri_is_refused_and_nothing_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    """K5"""
    connected: list[Any] = []
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        return real("10.1.2.3" if host == "metadata.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", lambda sock, place: connected.append(place))
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_bytes(b"1")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "manifest.ndjson").write_bytes(line(uri=uri))
    with pytest.raises(DataError, match=message):
        opened(root)[0]
    assert connected == []


@pytest.mark.parametrize(("name", "content", "message"), IMAGES, ids=[name for name, _, _ in IMAGES])
def test_a_hostile_image_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """K5"""
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "manifest.ndjson").write_bytes(line())
    with pytest.raises(DataError, match=message):
        opened(tmp_path)[0]


def peak_mib(action: Callable[[], object]) -> int:
    """By how much a forked process grows while ``action`` is refused."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        before = memory_mib("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the parent
        try:
            action()
        except RtFlareError:
            os.write(writer, str(max(0, memory_mib("VmHWM") - before)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as found:
        text = found.read()
    os.waitpid(child, 0)
    return int(text)


def memory_mib(what: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0]) >> 10


@pytest.mark.parametrize("name", ["zip bomb", "bomb in disguise", "overlapping bomb", "100k entries", "huge directory"])
def test_a_hostile_archive_takes_bounded_memory(tmp_path: Path, name: str) -> None:
    """K3"""
    case = next(case for case in ARCHIVES if case.name == name)
    case.build(tmp_path / "shard_0001.zip")
    path = tmp_path / "shard_0001.zip"
    assert peak_mib(lambda: prepare_shard(path, tmp_path / "data", 1, limits=SMALL)) < 100


@pytest.mark.parametrize("name", ["line of 50 MB", "deep nesting", "a million duplicates", "image bomb"])
def test_a_hostile_manifest_or_image_takes_bounded_memory(tmp_path: Path, name: str) -> None:
    """K4, K5"""
    if name == "image bomb":
        (tmp_path / "a.png").write_bytes(IMAGES[0][1])
        (tmp_path / "manifest.ndjson").write_bytes(line())
    elif name == "a million duplicates":
        (tmp_path / "manifest.ndjson").write_bytes(line() * 1_000_000)
    else:
        next(case for case in MANIFESTS if case.name == name).build(tmp_path / "manifest.ndjson")
    assert peak_mib(lambda: opened(tmp_path)[0]) < 100


NAMES = st.text(st.sampled_from("ab./\\:\0é\n"), min_size=1, max_size=12)
MODES = st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO])


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, MODES, st.binary(max_size=20)), min_size=1, max_size=4, unique_by=lambda e: e[0]))
def test_any_names_and_kinds_unpack_inside_or_are_refused(entries: list[tuple[str, int, bytes]]) -> None:
    """K3"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for entry_name, mode, data in entries:
                with warnings.catch_warnings(action="ignore"):
                    archive.writestr(entry(entry_name, mode=mode), data)
        (folder / "shard_0001.zip").write_bytes(content.getvalue())
        try:
            root = prepare_shard(folder / "shard_0001.zip", folder / "data", 1)
        except ShardError:
            assert not (folder / "data" / "1").exists()
        else:
            assert all(path.resolve().is_relative_to(root.resolve()) for path in root.rglob("*"))
            assert not any(path.is_symlink() for path in root.rglob("*"))
        assert {path.name for path in folder.iterdir()} <= {"data", "shard_0001.zip"}


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40) | st.just(line().strip()), max_size=5), st.booleans())
def test_any_bytes_are_a_manifest_or_refused(lines: list[bytes], newline: bool) -> None:
    """K4"""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "manifest.ndjson").write_bytes(b"\n".join(lines) + b"\n" * newline)
        try:
            count = len(opened(Path(name)))
        except ManifestError:
            return
        assert count == len([text for text in lines if text.strip()])


URI_TEXT = st.text(st.sampled_from("htps:/.%2ef@[]1a?#\\ é\0"), max_size=20)


@settings(deadline=None, max_examples=200)
@given(URI_TEXT | URI_TEXT.map("https://".__add__) | URI_TEXT.map("file://".__add__))
def test_any_uri_reads_inside_or_is_refused(uri: str) -> None:
    """K5: no connection, no other error."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:

        def refuse(*arguments: Any, **options: Any) -> Any:
            raise socket.gaierror("no such host")

        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr("time.sleep", lambda seconds: None)
        root = Path(name)
        (root / "manifest.ndjson").write_text(json.dumps({"id": "a", "uri": uri or "x", "y": [0]}) + "\n")
        with pytest.raises(DataError):
            opened(root)[0]
