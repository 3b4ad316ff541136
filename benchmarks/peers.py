"""The peers that come from the package index, each into an environment of its own.

They cannot share one with rt_flare's tests: resontech pins an older boto3 than s3fs takes, and flwr older versions of
protobuf, rich and typer. uv makes and keeps their environments.
"""

from __future__ import annotations

__all__ = ["FLOWER", "PUBLISHED"]

PUBLISHED = "resontech==0.3.0"
FLOWER = "flwr==1.41.0"
