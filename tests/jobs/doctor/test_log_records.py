"""NVFlare's log lines as records, in bounded memory, whatever bytes they are."""

from __future__ import annotations

import io
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from rt_flare.jobs.doctor.log_records import LogRecord, ReadLimit, read_records

STAMP = "2026-11-20 15:50:17,010"
LINE = (
    f"{STAMP} - RtFedAvg - WARNING - [identity=poc, run=4806, wf=rt_fedavg, peer=site-1, task_name=train] - no update: "
    "site-1, round 1: killed\n"
)
PIECES = st.sampled_from(
    [
        LINE.encode(),
        f"{STAMP} - ERROR - ".encode(),
        b"2026-02-31 25:61:61,999 - x - ERROR - no such day\n",
        b"Traceback (most recent call last):\n",
        b'  File "/w/custom/model_def.py", line 99999999999999999999, in f\n',
        b"\x1b[31m",
        b"\xff\xfe\x00",
        b"\r\n",
        b"[identity=, run=]: ] - ",
    ]
)


def read(data: bytes, limit: ReadLimit | None = None) -> list[LogRecord]:
    return list(read_records(io.BytesIO(data), limit or ReadLimit()))


def test_a_record_has_its_parts() -> None:
    """X6"""
    (record,) = read(LINE.encode())
    assert (record.stamp, record.level, record.logger, record.line_number) == (STAMP, "WARNING", "RtFedAvg", 1)
    assert record.context == {
        "identity": "poc",
        "run": "4806",
        "wf": "rt_fedavg",
        "peer": "site-1",
        "task_name": "train",
    }
    assert record.text == "no update: site-1, round 1: killed"
    assert record.time == 1795189817.01


def test_the_logger_may_be_left_out_and_the_level_is_the_first_one() -> None:
    """X6: a message cannot make itself louder than it is."""
    records = read(f"{STAMP} - INFO - fine - ERROR - not at all\n{STAMP} - ERROR - bad\n".encode())
    assert [(r.level, r.logger, r.text) for r in records] == [
        ("INFO", "", "fine - ERROR - not at all"),
        ("ERROR", "", "bad"),
    ]


def test_lines_without_a_time_belong_to_the_record_before_them() -> None:
    """X6"""
    first, second = read(f"{LINE}Traceback:\n  more\n{LINE}".encode())
    assert first.rest == ["Traceback:", "  more"]
    assert (second.line_number, second.rest) == (4, [])


def test_what_stands_before_the_first_record_is_kept() -> None:
    """X6: a process that dies before it can log."""
    first, _ = read(f"Traceback (most recent call last):\nKeyError: 1\n{LINE}".encode())
    assert (first.time, first.level, first.rest) == (None, "", ["KeyError: 1"])


def test_only_so_much_of_a_log_is_read() -> None:
    """X6"""
    limit = ReadLimit(bytes_left=10 * len(LINE))
    assert len(read(LINE.encode() * 100, limit)) == 10
    assert limit.met


def test_memory_does_not_grow_with_the_log() -> None:
    """X6: endless tracebacks, a line without an end, and records without number."""
    data = io.BytesIO(LINE.encode() + b"  a line of a traceback\n" * 20_000 + b"x" * (2 << 20) + LINE.encode() * 3_000)
    tracemalloc.start()
    longest = max(len(record.rest) for record in read_records(data, ReadLimit()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert longest <= 400
    assert peak < 2 << 20


@given(st.lists(PIECES | st.binary(max_size=50), max_size=30).map(b"".join))
def test_any_bytes_can_be_read(data: bytes) -> None:
    """X6"""
    records = read(data)
    assert sum(1 + len(record.rest) for record in records) <= data.count(b"\n") + 1
