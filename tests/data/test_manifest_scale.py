"""Manifests of many lines: bounded memory, flat cost per line, and an index that opens without reading (K4)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json, sys, time
from pathlib import Path
from rt_flare.data.manifest_index import open_index

def peak():
    # Not getrusage, which counts the memory of the process that started this one.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10

def write(path, count):
    with path.open("wb") as file:
        for n in range(count):
            file.write(b'{"id":"sample-%d","uri":"file://images/%08d.jpg","y":[%d]}\\n' % (n, n, n % 1000))

def small(path):
    write(path, 10_000)
    start = time.process_time()
    open_index(path, folder)
    return (time.process_time() - start) / 10_000

path, count = Path(sys.argv[1]), int(sys.argv[2])
folder = path.parent / 'index'
folder.mkdir()
each = min(small(path.with_name("small.ndjson")) for _ in range(3))
write(path, count)
time.sleep(0.1)  # A file that was written just now is not vouched for.
start = time.process_time()
open_index(path, folder)
seconds = time.process_time() - start
read = int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])
start = time.process_time()
entries = open_index(path, folder)
warm = time.process_time() - start
last = entries[count - 1]
again = int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0]) - read
print(json.dumps({"small": each, "large": seconds / count, "warm": warm, "read": again, "peak": peak(),
                  "last": [last.id, len(entries), entries.max_label]}))
"""


LARGE = pytest.param(5_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])


@pytest.mark.parametrize("count", [200_000, LARGE])
def test_a_large_manifest_is_checked_in_bounded_memory_at_a_flat_cost(tmp_path: Path, count: int) -> None:
    """K4, X9"""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "manifest.ndjson"), str(count)],
        env={"RT_FLARE_CACHE_DIR": str(tmp_path / "cache"), "PATH": ""},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    print(found)
    assert found["last"] == [f"sample-{count - 1}", count, 999]
    assert found["peak"] < 500 << 20
    assert found["large"] < 1.5 * found["small"]
    assert found["warm"] < 0.1
    assert found["read"] < 100_000
