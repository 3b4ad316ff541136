"""The whole path from a shard in a storage to batches in a training loop, one benchmark after the other.

``uv run python -m benchmarks.data`` runs all of them, ``uv run python -m benchmarks.data decoding throttled`` some.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = {
    "decoding": ["benchmarks.decoding"],
    "fetch": ["benchmarks.shards", "fetch"],
    "throttled": ["benchmarks.shards", "throttled"],
    "manifest": ["benchmarks.shards", "manifest", "--lines", "5000000"],
    "index": ["benchmarks.index"],
}


def main() -> None:
    """Run the parts, each in a process of its own, so that memory counts from its start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"found {', '.join(unknown)}, expected some of {', '.join(PARTS)}")
    for part in parts:
        print(f"== {part}", flush=True)
        subprocess.run([sys.executable, "-m", *PARTS[part]], check=True)


if __name__ == "__main__":
    main()
