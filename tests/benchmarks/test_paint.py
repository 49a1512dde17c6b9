"""Tests of how the times until pages are painted are summed up."""

from __future__ import annotations

from math import inf

from benchmarks.paint import median


def test_a_median_is_as_certain_as_its_order_says() -> None:
    """Of ten values the interval leaves out the least and the largest; of five it says nothing."""
    found = median([float(n) for n in (5, 1, 9, 3, 7, 10, 2, 8, 4, 6)])
    assert (found.value, found.low, found.high) == (5.5, 2.0, 9.0)
    few = median([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (few.value, few.low, few.high) == (3.0, -inf, inf)
