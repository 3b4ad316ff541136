"""Secrets in what is about to travel (C3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.jobs.check.secrets_in_files import check_secrets, files_that_travel, secrets_in_text

SECRETS = [
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----",
    "key AKIAIOSFODNN7EXAMPLE here",
    "https://h.test/a?X-Amz-Signature=00112233445566778899aabb",
    "https://h.test/a?sv=2024&sig=00112233445566778899aabb%3D",
    "s3://user:p4ssw0rd@h.test/bucket",
    "ghp_" + "a1" * 18,
    "glpat-" + "a1" * 10,
    "hf_" + "a1" * 17,
    "sk-proj-" + "a1" * 20,
    "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4fw".replace("OiJI.", "OiJIUzI1NiJ9.").replace("Ix.", "IxMjM0NTY3."),
    'password = "hunter2hunter2"',
    '{"aws_secret_access_key": "abcdefgh"}',
    "api_key: hunter2hunter2",
    "export DB_PASSWORD=hunter2hunter2",
]
HARMLESS = [
    'password = ""',
    'password = "..."',
    'password = "<your password>"',
    'password = "${PASSWORD}"',
    "password = os.environ['PASSWORD']",
    "api_key: null",
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "https://h.test/a?page=2",
    "http://h.test:8080/a@b",
    "num_tokens = 512",
    'secret_name = "prod/db"',
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_found_in_its_line(text: str) -> None:
    """C3."""
    ((_, line, _),) = secrets_in_text(f"# first\n\n{text}\n")
    assert line == 3


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    """C3: no false alarm."""
    assert secrets_in_text(f"# first\n\n{text}\n") == []


def test_source_code_is_read_as_such() -> None:
    """C3: names of arguments and keys count, comparisons and texts that only mention one do not."""
    code = 'login(password="hunter2hunter2")\nconfig["api_key"] = "hunter2hunter2"\nprint("password: see the notes")\n'
    assert [line for _, line, _ in secrets_in_text(code, code=True)] == [1, 2]


def test_a_file_that_is_made_for_secrets_is_named(tmp_path: Path) -> None:
    """C3: and what does not travel is not looked at."""
    (tmp_path / "id_ed25519").write_text("x")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "notes.txt").write_text(SECRETS[0])
    (tmp_path / "weights.pt").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    (finding,) = check_secrets(files_that_travel(tmp_path))
    assert finding.file.endswith("id_ed25519")


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=40))
def test_no_finding_shows_what_it_found(secret: str) -> None:
    """C3."""
    found = secrets_in_text(f'password = "{secret}!"\nhttps://u:{secret}@h.test/\n')
    assert not any(f"{secret}!" in f"{what}{name}" for what, _, name in found)


@given(st.text(max_size=200))
def test_no_text_breaks_the_scan(text: str) -> None:
    """C3."""
    for _, line, _ in [*secrets_in_text(text), *secrets_in_text(text, code=True)]:
        assert 1 <= line <= text.count("\n") + 1
