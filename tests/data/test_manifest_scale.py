"""Manifests of many lines: bounded memory, flat cost per line, and an index that opens without reading (K4)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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


CALLS = """
import sys
from collections import Counter
from pathlib import Path
from rt_flare.data.manifest_index import open_index

def calls(count):
    path = folder / f"{count}.ndjson"
    line = '{{"id":"s-{0:08d}","uri":"file://images/{0:08d}.jpg","y":[0]}}\\n'
    path.write_text("".join(line.format(n) for n in range(count)))
    counted = Counter()
    sys.setprofile(lambda frame, event, argument: counted.update([event]))
    open_index(path, folder / "index")
    sys.setprofile(None)
    return counted["call"] + counted["c_call"]

folder = Path(sys.argv[1])
(folder / "index").mkdir()
first = calls(1)
print((calls(20_001) - first) / 20_000, (calls(2_001) - first) / 2_000)
"""


def _run(code: str, tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"RT_FLARE_CACHE_DIR": str(tmp_path / "cache"), "PATH": ""},
        capture_output=True,
        check=True,
        text=True,
    )
    print(done.stdout)
    return done.stdout


def test_the_calls_made_for_a_line_do_not_depend_on_the_number_of_lines(tmp_path: Path) -> None:
    """K4, X9: counted, because seconds depend on what else the machine does."""
    large, small = map(float, _run(CALLS, tmp_path, str(tmp_path)).split())
    assert 0 < large < 1.05 * small


def test_a_large_manifest_is_checked_in_bounded_memory_and_opens_without_reading_when_warm(tmp_path: Path) -> None:
    """K4, X9"""
    _check(tmp_path, 200_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_million_lines_cost_each_what_ten_thousand_do(tmp_path: Path) -> None:
    """K4, X9"""
    found = _check(tmp_path, 5_000_000)
    assert found["large"] < 1.5 * found["small"]
    assert found["warm"] < 0.1


def _check(tmp_path: Path, count: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(CODE, tmp_path, str(tmp_path / "manifest.ndjson"), str(count)))
    assert found["last"] == [f"sample-{count - 1}", count, 999]
    assert found["peak"] < 500 << 20
    assert found["read"] < 100_000
    return found
