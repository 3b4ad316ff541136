"""Credentials of storages in the environment: who needs them, and what others start without."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["AWS_OPTIONS", "is_credential", "without_credentials"]

AWS_OPTIONS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "AWS_SECURITY_TOKEN": "token",
}
"""Amazon's variables, and what fsspec's ``s3`` calls them."""


def is_credential(name: str) -> bool:
    """Whether the environment variable ``name`` is one that credentials of a storage come in."""
    return name.startswith("FSSPEC_") or name in AWS_OPTIONS


def without_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` for a process that reads no storage: user code, and sites that get signed URLs."""
    return {name: value for name, value in environment.items() if not is_credential(name)}
