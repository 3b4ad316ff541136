"""From a uri to a file inside the shard (K5)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from rt_flare.data.uris import entry_name, is_remote, resolve_uri
from rt_flare.errors import DataError


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("images/a.png", "images/a.png"),
        ("./a:b.png", "a:b.png"),
        ("x/../a.png", "a.png"),
        ("a%20b.png", "a%20b.png"),
        ("file:images/a.png", "images/a.png"),
        ("file://images/a.png", "images/a.png"),
        ("FILE://a%20b.png", "a b.png"),
        ("file://a#1?.png", "a#1?.png"),
        ("file://100%.png", "100%.png"),
    ],
)
def test_resolves_relative_paths_inside_the_data_root(tmp_path: Path, uri: str, name: str) -> None:
    """K5"""
    assert resolve_uri(uri, tmp_path) == tmp_path.resolve() / name


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_accepts_absolute_paths_inside_the_data_root(tmp_path: Path, prefix: str) -> None:
    """K5"""
    assert resolve_uri(f"{prefix}{tmp_path}/a.png", tmp_path) == tmp_path.resolve() / "a.png"


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_refuses_absolute_paths_outside(tmp_path: Path, prefix: str) -> None:
    """K5"""
    with pytest.raises(DataError, match="an absolute path outside data_root"):
        resolve_uri(f"{prefix}/etc/passwd", tmp_path)


@pytest.mark.parametrize("uri", ["../a.png", "x/../../a.png", "file://../a.png", "file://%2e%2e/a.png", "file:..%2fa"])
def test_refuses_escapes_by_parent_folders(tmp_path: Path, uri: str) -> None:
    """K5"""
    with pytest.raises(DataError, match=r"'\.\.' that leads out of data_root"):
        resolve_uri(uri, tmp_path)


def test_refuses_a_sibling_whose_name_begins_like_the_data_root(tmp_path: Path) -> None:
    """K5"""
    root = tmp_path / "1"
    root.mkdir()
    with pytest.raises(DataError, match="leads out of data_root"):
        resolve_uri("../10/a.png", root)


@pytest.mark.parametrize("uri", ["link", "folder/secret.png", "folder/../secret.png"])
def test_refuses_links_that_lead_out(tmp_path: Path, uri: str) -> None:
    """K5: also '..' behind a link, which the text of the path does not show."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (outside / "deep").mkdir(parents=True)
    (root / "link").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside / "deep")
    with pytest.raises(DataError, match="a link that leads out of data_root"):
        resolve_uri(uri, root)


def test_follows_links_that_stay_inside(tmp_path: Path) -> None:
    """K5"""
    (tmp_path / "link").symlink_to("a.png")
    assert resolve_uri("link", tmp_path) == tmp_path.resolve() / "a.png"


def test_a_data_root_that_is_itself_a_link_works(tmp_path: Path) -> None:
    """K5"""
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    expected = tmp_path.resolve() / "real/a.png"
    assert resolve_uri("a.png", tmp_path / "root") == expected
    assert resolve_uri(f"file://{tmp_path}/root/a.png", tmp_path / "root") == expected


def test_refuses_a_loop_of_links(tmp_path: Path) -> None:
    """K5"""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DataError, match="cannot be followed"):
        resolve_uri("a", tmp_path)


@pytest.mark.parametrize("scheme", ["http", "s3", "ftp", "data", "C"])
def test_refuses_other_schemes_by_name(tmp_path: Path, scheme: str) -> None:
    """K5"""
    with pytest.raises(DataError, match=f"found the scheme '{scheme.lower()}'"):
        resolve_uri(f"{scheme}://host/a.png", tmp_path)


@pytest.mark.parametrize("uri", ["https://host/a.png?X-Amz-Signature=SECRET", "http://user:SECRET@host/a.png"])
def test_refuses_remote_files_without_showing_a_secret(tmp_path: Path, uri: str) -> None:
    """K5, C3"""
    with pytest.raises(DataError, match=r"found (a remote file|the scheme 'http')") as caught:
        resolve_uri(uri, tmp_path)
    assert "SECRET" not in str(caught.value)


def test_a_remote_uri_is_told_by_its_scheme() -> None:
    """K5"""
    assert is_remote("HTTPS://host/a.png")
    assert not any(is_remote(uri) for uri in ["http://host/a.png", "https", "a/https://x", "file://https://x"])


ROOT = PurePosixPath("/var/data/1")


@pytest.mark.parametrize(
    ("uri", "name"),
    [("a.png", "a.png"), ("file://x/../a%20b.png", "a b.png"), ("file:///var/data/1/x/a.png", "x/a.png")],
)
def test_an_entry_is_named_as_it_will_be_found_once_unpacked(uri: str, name: str) -> None:
    """K5"""
    assert entry_name(uri, ROOT) == name


@pytest.mark.parametrize(
    "uri", ["../2/a.png", "/etc/passwd", "file:///etc/passwd", "file://%2e%2e/a", ".", "https://h/a"]
)
def test_an_entry_outside_the_shard_is_refused(uri: str) -> None:
    """K5"""
    with pytest.raises(DataError):
        entry_name(uri, ROOT)


@pytest.mark.parametrize("uri", ["", "file://", "a\0b", "file://a%00b"])
def test_refuses_a_uri_without_a_usable_name(tmp_path: Path, uri: str) -> None:
    """K5"""
    with pytest.raises(DataError, match="found no file name"):
        resolve_uri(uri, tmp_path)


@pytest.mark.parametrize("uri", [".", "file://.", "x/.."])
def test_refuses_the_data_root_itself(tmp_path: Path, uri: str) -> None:
    """K5"""
    with pytest.raises(DataError, match="found data_root itself"):
        resolve_uri(uri, tmp_path)
