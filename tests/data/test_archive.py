"""Unpacking: a corpus of hostile and broken ZIPs, each refused with its own message, nothing left behind (K2, K3)."""

from __future__ import annotations

import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_flare.data.archive import ArchiveContents, ArchiveLimits, check_archive, unpack_archive
from rt_flare.errors import ShardError

LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
NOISE = bytes((number * 7919) % 251 for number in range(4000))


def entry(name: str, mode: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def make_zip(folder: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    path = folder / "shard_0001.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in entries:
            archive.writestr(entry(info) if isinstance(info, str) else info, content)
    return path


def patch(path: Path, signature: bytes, offset: int, layout: str, value: int) -> Path:
    """Overwrite one field of the first header that starts with ``signature``."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, content.index(signature) + offset, value)
    path.write_bytes(content)
    return path


def patch_both(path: Path, local_offset: int, central_offset: int, layout: str, value: int) -> Path:
    return patch(patch(path, LOCAL, local_offset, layout, value), CENTRAL, central_offset, layout, value)


def unicode_flag_on_bad_bytes(folder: Path) -> Path:
    path = make_zip(folder, ("é.png", b"x"))
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    return path


def hidden_behind_a_nul(folder: Path) -> Path:
    path = make_zip(folder, ("a.pngX../b", b"x"))
    path.write_bytes(path.read_bytes().replace(b"a.pngX", b"a.png\0"))
    return path


def overlapping(folder: Path) -> Path:
    """Two entries that share one stream, as zip bombs do."""
    path = make_zip(folder, ("a", NOISE), ("b", b""))
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()
    content = path.read_bytes()
    place = content.rindex(CENTRAL)
    twin = bytearray(content[place : place + 46])
    struct.pack_into("<LLL", twin, 16, first.CRC, first.compress_size, first.file_size)
    struct.pack_into("<L", twin, 42, second.header_offset)
    path.write_bytes(content[:place] + bytes(twin) + content[place + 46 :])
    return path


class Case(NamedTuple):
    name: str
    build: Callable[[Path], Path]
    message: str


DEFLATED = zipfile.ZIP_DEFLATED
HEADER_CASES = [
    Case("missing", lambda f: f / "nowhere.zip", "no such file"),
    Case("not a zip", lambda f: _raw(f, b"hello"), "truncated or corrupt ZIP"),
    Case("empty file", lambda f: _raw(f, b""), "truncated or corrupt ZIP"),
    Case("truncated", lambda f: _cut(make_zip(f, ("a", NOISE))), "truncated or corrupt ZIP"),
    Case("bad name bytes", unicode_flag_on_bad_bytes, "truncated or corrupt ZIP"),
    Case("no entry", lambda f: make_zip(f), "found no file in the ZIP"),
    Case("only folders", lambda f: make_zip(f, ("a/", b"")), "found no file in the ZIP"),
    Case("wrapper", lambda f: make_zip(f, ("w/manifest.ndjson", b"x"), ("w/a.png", b"x")), "a wrapper folder: .*'w/'"),
    Case("mac wrapper", lambda f: make_zip(f, ("w/a", b"x"), ("__MACOSX/w/._a", b"x")), "a wrapper folder: .*'w/'"),
    Case("absolute", lambda f: make_zip(f, ("/a", b"x")), "an absolute path"),
    Case("parent", lambda f: make_zip(f, ("../a", b"x")), r"'\.\.' in the path"),
    Case("backslash", lambda f: make_zip(f, ("..\\a", b"x")), "a backslash in the name"),
    Case("nul", hidden_behind_a_nul, "a control character in the name"),
    Case("link", lambda f: make_zip(f, (entry("a", stat.S_IFLNK | 0o777), b"/etc/passwd")), "entry 'a': a link"),
    Case("link to folder", lambda f: make_zip(f, (entry("a/", stat.S_IFLNK), b"")), "entry 'a/': a link"),
    Case("device", lambda f: make_zip(f, (entry("a", stat.S_IFCHR | 0o666), b"")), "a device or other special file"),
    Case("pipe", lambda f: make_zip(f, (entry("a", stat.S_IFIFO | 0o666), b"")), "a device or other special file"),
    Case("encrypted", lambda f: patch_both(make_zip(f, ("a", b"x")), 6, 8, "<H", 1), "encrypted"),
    Case("duplicate", lambda f: _twice(f), "duplicate entry 'a'"),
    Case("case collision", lambda f: make_zip(f, ("a", b"x"), ("A", b"x")), "case collision: 'a' and 'A'"),
    Case("bzip2", lambda f: make_zip(f, (entry("a", 0, zipfile.ZIP_BZIP2), NOISE)), "compression method 12"),
    Case("folder with bytes", lambda f: _folder_with_bytes(f), "a folder that holds bytes"),
    Case("overlap", overlapping, "entries overlap"),
    Case("ratio", lambda f: make_zip(f, (entry("a", 0, DEFLATED), bytes(1 << 20))), "expansion ratio: "),
]
CONTENT_CASES = [
    Case("bad crc", lambda f: patch_both(make_zip(f, ("a", NOISE)), 14, 16, "<L", 1), "truncated or corrupt ZIP.*CRC"),
    Case("bad stream", lambda f: _damage_stream(f), "truncated or corrupt ZIP"),
    Case("names differ", lambda f: patch(make_zip(f, ("a", b"x")), LOCAL, 30, "<B", 98), "truncated or corrupt ZIP"),
    Case("announces less", lambda f: _announce(f, 10), "announces 10 bytes and holds more"),
    Case("announces more", lambda f: _announce(f, 5000), "announces 5000 bytes and holds 4000"),
]


def _raw(folder: Path, content: bytes) -> Path:
    path = folder / "shard_0001.zip"
    path.write_bytes(content)
    return path


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _twice(folder: Path) -> Path:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return make_zip(folder, ("a", b"x"), ("a", b"y"))


def _folder_with_bytes(folder: Path) -> Path:
    path = make_zip(folder, ("a_", b"x"), ("b", b"x"))
    path.write_bytes(path.read_bytes().replace(b"a_", b"a/"))
    return path


def _damage_stream(folder: Path) -> Path:
    path = make_zip(folder, (entry("a", 0, DEFLATED), NOISE))
    return patch(path, LOCAL, 31, "<Q", 0xFFFFFFFFFFFFFFFF)


def _announce(folder: Path, size: int) -> Path:
    return patch_both(make_zip(folder, (entry("a", 0, DEFLATED), NOISE)), 22, 24, "<L", size)


def assert_refused(action: Callable[..., Any], case: Case, *arguments: Any) -> None:
    with pytest.raises(ShardError, match=case.message):
        action(*arguments)


@pytest.mark.parametrize("case", HEADER_CASES, ids=lambda case: case.name)
def test_a_check_refuses_it_with_its_own_message(tmp_path: Path, case: Case) -> None:
    """K3"""
    assert_refused(check_archive, case, case.build(tmp_path))


@pytest.mark.parametrize("case", HEADER_CASES + CONTENT_CASES, ids=lambda case: case.name)
def test_unpacking_refuses_it_and_leaves_nothing(tmp_path: Path, case: Case) -> None:
    """K3"""
    data = tmp_path / "data"
    data.mkdir()
    assert_refused(unpack_archive, case, case.build(tmp_path), data / "1")
    assert list(data.iterdir()) == []


def test_unpacks_flat_with_plain_modes(tmp_path: Path) -> None:
    """K2"""
    setuid = entry("run.sh", stat.S_IFREG | 0o4777, DEFLATED)
    path = make_zip(tmp_path, (setuid, NOISE), ("images/", b""), ("images/deep/a.png", b"xy"), ("empty/", b""))
    target = tmp_path / "data" / "1"
    assert unpack_archive(path, target) == ArchiveContents(num_files=2, total_bytes=4002)
    assert check_archive(path) == ArchiveContents(num_files=2, total_bytes=4002)
    files = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert files == {"run.sh": NOISE, "images/deep/a.png": b"xy"}
    assert (target / "empty").is_dir()
    assert not (target / "run.sh").stat().st_mode & 0o7111
    assert target.stat().st_mode & 0o777 == 0o755
    assert [p.name for p in target.parent.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ArchiveLimits(max_entries=1), "too many entries: found 2, expected at most 1"),
        (ArchiveLimits(max_total_bytes=4000), "expands to 4001 bytes, expected at most 4000"),
        (ArchiveLimits(max_ratio=0.5), "expansion ratio: .* expected at most 0.5 times"),
    ],
)
def test_each_limit_has_its_own_message(tmp_path: Path, limits: ArchiveLimits, message: str) -> None:
    """K3"""
    path = make_zip(tmp_path, ("a", NOISE), ("b", b"x"))
    check_archive(path)
    with pytest.raises(ShardError, match=message):
        unpack_archive(path, tmp_path / "1", limits)


def test_too_little_disk_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K3"""
    path = make_zip(tmp_path, ("a", NOISE))
    usage = shutil.disk_usage(tmp_path)._replace(free=4000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ShardError, match=r"too little disk: .* has 4000 bytes free, the shard needs 8096"):
        unpack_archive(path, tmp_path / "data" / "1")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_disk_that_refuses_a_write_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """K3: a name that fits the rule and not the path limit of the system."""
    path = make_zip(tmp_path, ("/".join(["d" * 250] * 20), b"x"), ("a", b"x"))
    with pytest.raises(ShardError, match=r"cannot write .*File name too long"):
        unpack_archive(path, tmp_path / "data" / "1")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    """K3: an empty folder too, which a rename would replace."""
    target = tmp_path / "1"
    target.mkdir()
    with pytest.raises(ShardError, match="exists already"):
        unpack_archive(make_zip(tmp_path, ("a", b"x")), target)


VALID = (("manifest.ndjson", b'{"id":"a"}\n'), (entry("a.txt", 0, DEFLATED), NOISE), ("b/c", b"12"))


@settings(deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_change_nothing_outside(data: st.DataObject) -> None:
    """K3: flipped, cut or inserted bytes give a ShardError or a folder of plain files, never another error."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make_zip(folder, *VALID)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.none() | st.integers(0, len(content)))])
        target = folder / "data" / "1"
        try:
            unpack_archive(path, target)
        except ShardError:
            assert not target.parent.exists() or list(target.parent.iterdir()) == []
        else:
            assert {p.name for p in folder.iterdir()} == {"data", path.name}
            assert not any(p.is_symlink() for p in target.rglob("*"))
