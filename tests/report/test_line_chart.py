"""Curves as paths (X10)."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from rt_flare.report.line_chart import line_chart
from rt_flare.report.metric_series import MetricSeries, SiteLine

points = st.lists(st.none() | st.floats(), min_size=1, max_size=8)


def _series(values: list[float | None], site: str = "a") -> MetricSeries:
    none = (None,) * len(values)
    line = SiteLine(site, tuple(values))
    return MetricSeries("m", False, tuple(range(len(values))), none, (), (), (), (line,), 1)


@given(points, st.text(max_size=5))
def test_every_finite_value_is_drawn_inside_of_the_plot(values: list[float | None], site: str) -> None:
    """X10: whatever the values; the data for the page's script is strict JSON."""
    chart = line_chart(_series(values, site), key="k", subtitle="s")
    curve = chart.curves[0] if chart.curves else None
    drawn = re.findall(r"[ML](\S+) ([-\d.e+]+)", curve.path) if curve else []
    finite = [value for value in values if value is not None and abs(value) < float("inf")]
    assert len(drawn) == len(finite)
    for x, y in drawn:
        assert chart.plot.left <= float(x) <= chart.plot.right
        assert chart.plot.top <= float(y) <= chart.plot.bottom
    json.dumps(chart.data, allow_nan=False)
    assert all(len(shown) == len(values) for shown in chart.data["values"])


def test_a_value_without_neighbours_is_a_dot_and_one_that_is_not_finite_a_mark() -> None:
    """X10: neither vanishes."""
    curve = line_chart(_series([1.0, float("nan"), 2.0, 3.0, None]), key="k", subtitle="s").curves[0]
    assert (curve.path.count("M"), curve.path.count("L")) == (2, 1)
    assert curve.dots.count("M") == 1
    assert curve.marks.count("M") == 1


def test_the_readout_names_what_json_lacks() -> None:
    """J10"""
    chart = line_chart(_series([float("inf"), None, 0.123456789]), key="k", subtitle="s")
    assert chart.data["values"] == [["Infinity", "", "0.123457"]]
    assert chart.data["labels"] == ["round 0", "round 1", "round 2"]
