"""One pass over a manifest: in order, with places, in bounded memory (K4)."""

from __future__ import annotations

import io

from rt_flare.data.manifest_line import MAX_LINE_BYTES, ManifestEntry, ManifestProblem
from rt_flare.data.manifest_scan import ManifestScan


def line(name: str) -> bytes:
    return b'{"id":"%s","uri":"u","y":[0]}\n' % name.encode()


def test_tells_where_each_line_starts_and_how_far_it_read() -> None:
    """K4: also behind a line that is too long to keep."""
    content = line("a") + b"x" * (2 * MAX_LINE_BYTES) + b"\n" + line("b").rstrip()
    scan = ManifestScan(lambda: io.BytesIO(content))
    seen = [(type(item), item.line, scan.offset) for item in scan]
    assert seen == [
        (ManifestEntry, 1, 0),
        (ManifestProblem, 2, len(line("a"))),
        (ManifestEntry, 3, content.index(line("b").rstrip())),
    ]
    assert scan.position == len(content)


def test_a_manifest_of_repeated_ids_is_told_up_to_a_limit_and_counted() -> None:
    """K4: a hostile one must not fill the memory."""
    scan = ManifestScan(lambda: io.BytesIO(line("a") * 50), max_repeated=3)
    problems = [item for item in scan if isinstance(item, ManifestProblem)]
    assert [(problem.line, problem.found) for problem in problems] == [
        (number, '"a", the id of line 1 already') for number in (2, 3, 4)
    ]
    assert scan.num_more == 46


def test_the_first_line_counts_without_its_byte_order_mark() -> None:
    """K4"""
    scan = ManifestScan(lambda: io.BytesIO(b"\xef\xbb\xbf" + line("a") + line("a")))
    assert [problem.field for problem in scan if isinstance(problem, ManifestProblem)] == ["line", "id"]
