"""The public configuration of a job: what to train with, and how the sites work together."""

from __future__ import annotations

import re
import warnings
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

__all__ = ["FederationConfig", "ResonTechConfig", "TrainingConfig"]

_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(_Config):
    """What every site trains with. Each field reaches user code through ``payload["env"]``.

    Attributes:
        num_classes: width of the labels; 0 means: largest label of all shards plus one.
        local_epochs: passes over a site's data per round.
        batch_size: samples per step.
        learning_rate: step size for the optimizer.
        img_size: side of the square images in pixels.
        manifest_file: name of the manifest at the root of each shard.
        extra: further keys for ``payload["env"]``; JSON values only.
    """

    num_classes: int = Field(default=0, ge=0)
    local_epochs: int = Field(default=2, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=0.001, gt=0, allow_inf_nan=False)
    img_size: int = Field(default=224, ge=1)
    manifest_file: str = Field(default="manifest.ndjson", min_length=1)
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("manifest_file")
    @classmethod
    def _manifest_is_a_file_name(cls, value: str) -> str:
        if "/" in value or "\\" in value or value in {".", ".."}:
            raise ValueError(f"manifest_file must be a file name at the shard's root, found {value!r}")
        return value


class FederationConfig(_Config):
    """How the sites work together.

    Attributes:
        num_rounds: rounds of training.
        min_clients: accepted updates that a round needs; fewer fail the job.
        wait_time_after_min_received: seconds to wait for the other sites once ``min_clients`` updates are in.
        heart_beat_timeout: seconds after which a silent site is dropped. NVFlare 2.9 reads it from the server's
            own ``local/resources.json`` only: a job cannot set it.
        job_name: name of the job; letters, digits, ``_``, ``.`` and ``-``.
        round_timeout_seconds: deadline of a round. There is no way to turn it off.
        deterministic: add updates in site-name order, so that the global model does not depend on who came first.
        seed: seed of every site's random generators, mixed with site and round; None leaves them alone.
        num_threads: CPU threads of each training worker; 0 leaves PyTorch's default.
        keep_last: number of ``model_round_N.pt`` files to keep; 0 keeps all.
        max_samples_per_site: samples that a site counts with at most, whatever it reports; 0 sets no cap.
        task_request_interval: seconds between a site's questions for work (NVFlare's name and meaning).
        timeouts: timeout preset: its name, the path of a JSON file with one, or several joined by ``+``. None takes
            the one that the job template names. The fields above go before it where they are given.
    """

    num_rounds: int = Field(default=5, ge=1)
    min_clients: int = Field(default=1, ge=1)
    wait_time_after_min_received: int = Field(default=10, ge=0)
    heart_beat_timeout: int = Field(default=600, ge=1)
    job_name: str = "rt_job"
    round_timeout_seconds: int = Field(default=3600, ge=1)
    deterministic: bool = False
    seed: int | None = None
    num_threads: int = Field(default=0, ge=0)
    keep_last: int = Field(default=0, ge=0)
    max_samples_per_site: int = Field(default=0, ge=0)
    task_request_interval: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    timeouts: str | None = None

    @field_validator("job_name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        if not _JOB_NAME.fullmatch(value):
            raise ValueError(
                f"job_name must be 1 to 64 letters, digits, '_', '.' or '-' and start with a letter or digit, "
                f"found {value!r}"
            )
        return value


class ResonTechConfig(_Config):
    """Where jobs go, and who sends them.

    Attributes:
        base_url: ``simulator:``, ``poc:`` (a deployment of the job's own on this machine), ``poc:FOLDER`` (one that
            runs), or the folder of an administrator's startup kit.
        email: NVFlare's name of the user; chooses among several kits in a folder.
        password: accepted and not used: NVFlare knows its users by certificates.
        sftp_key_file: accepted and not used; deprecated.
        storage: where ``jobs/NAME/`` stands: a local folder, or the URL of one in a storage that fsspec knows.
    """

    # Values of a wrong type would otherwise stand in the message.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = "simulator:"
    email: str = ""
    password: SecretStr = Field(default=SecretStr(""), repr=False)
    sftp_key_file: str = Field(default="~/.ssh/id_ed25519", repr=False)
    storage: str = "."

    @field_validator("storage")
    @classmethod
    def _place_only(cls, value: str) -> str:
        parts = urlsplit(value if "://" in value else "")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                "storage: found a user, a query or a fragment in the URL, expected the place only; credentials go to "
                "the environment (FSSPEC_S3_KEY and so on) or to fsspec's own configuration file"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _no_web_address(cls, value: str) -> str:
        if "://" in value:
            raise ValueError(
                "base_url: found the address of a web service, expected simulator:, poc:, poc:FOLDER or the folder of "
                "an administrator's startup kit: jobs go to an NVFlare server, which its kit names"
            )
        return value

    @model_validator(mode="after")
    def _say_what_is_unused(self) -> Self:
        if self.password.get_secret_value():
            warnings.warn(
                "password: not used; NVFlare knows its users by the certificate in their startup kit", stacklevel=3
            )
        if "sftp_key_file" in self.model_fields_set:
            warnings.warn(
                "sftp_key_file: deprecated and not used; files go through the storage, as s3://", stacklevel=3
            )
        return self
