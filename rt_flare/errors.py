"""The error tree. Every error has one stable code, and a message that says what to do."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessError",
    "ConfigError",
    "ContractError",
    "DataError",
    "DeploymentError",
    "DownloadAbortedError",
    "JobError",
    "JobNotRunningError",
    "JobTimeoutError",
    "KitError",
    "LinkError",
    "ManifestError",
    "ModelError",
    "NoAcceptedUpdateError",
    "ResultError",
    "ResumeError",
    "RtFlareError",
    "ShardError",
    "StateDictError",
    "UnknownStatusError",
    "UpdateError",
    "WorkerDiedError",
    "WorkerError",
    "WorkerTimeoutError",
]


class RtFlareError(Exception):
    """Base of every error that rt_flare raises on purpose.

    ``code`` is stable across releases: scripts may compare it, messages may change.
    """

    code: ClassVar[str] = "rt_flare"


class ConfigError(RtFlareError):
    """A configuration value is missing, unknown or out of range."""

    code = "config"


class ContractError(RtFlareError):
    """The user's module does not offer the functions or the signature that the job needs.

    ``source`` is the file and 1-based line of the function at fault, where one is known: such an error is raised
    by rt_flare, outside of the user's code, and its traceback does not lead there.
    """

    code = "contract"
    source: tuple[str, int] | None = None


class ResultError(ContractError):
    """What the user's function returned cannot be used.

    ``reason`` names the rule that was broken (``samples_missing``, ``weights_empty``, ...).
    """

    code = "result"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ModelError(RtFlareError):
    """The model cannot be built from its path and arguments."""

    code = "model"


class StateDictError(ModelError):
    """A state dict does not fit the model: names, shapes, dtypes or values differ."""

    code = "state_dict"


class UpdateError(RtFlareError):
    """A site's update was refused. ``reason`` names the rule that was broken."""

    code = "update"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NoAcceptedUpdateError(RtFlareError):
    """A round ended without one accepted update: there is no mean to take."""

    code = "no_accepted_update"


class WorkerError(RtFlareError):
    """The training worker process could not do its task."""

    code = "worker"


class WorkerDiedError(WorkerError):
    """The training worker process ended before it replied."""

    code = "worker_died"


class WorkerTimeoutError(WorkerError):
    """The training worker process did not reply before its deadline and was killed."""

    code = "worker_timeout"


class DataError(RtFlareError):
    """Data on a site cannot be used."""

    code = "data"


class ManifestError(DataError):
    """A manifest breaks its format. The message lists each problem with its line and field."""

    code = "manifest"


class ShardError(DataError):
    """A shard ZIP is unsafe, damaged or not where it should be."""

    code = "shard"


class DownloadAbortedError(ShardError):
    """The job was ended while its shard was on its way."""

    code = "shard_aborted"


class JobError(RtFlareError):
    """A job folder cannot be rendered or run."""

    code = "job"


class JobNotRunningError(RtFlareError):
    """What was asked of a job can only be done while it runs."""

    code = "job_not_running"


class ResumeError(RtFlareError):
    """A job cannot go on from where an earlier run of it ended."""

    code = "resume"


class JobTimeoutError(RtFlareError):
    """A job did not come to its end within the time that was given for waiting; it goes on."""

    code = "job_timeout"


class UnknownStatusError(RtFlareError):
    """NVFlare reports a job's status by a name that rt_flare does not know."""

    code = "unknown_status"


class DeploymentError(RtFlareError):
    """An NVFlare deployment cannot be provisioned, started or stopped, or refuses a command."""

    code = "deployment"


class AccessError(RtFlareError):
    """A server refuses the user, or what the user asked for."""

    code = "access"


class KitError(ConfigError):
    """A startup kit of NVFlare cannot be read, or holds what NVFlare would refuse."""

    code = "kit"


class LinkError(RtFlareError):
    """The other side of a connection did not answer in time."""

    code = "link"
