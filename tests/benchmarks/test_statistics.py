"""Tests of the intervals that every figure carries."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import statistics


def test_percentile_lies_between_neighbours() -> None:
    """The median of an even number of values is the middle of the two in the middle."""
    assert statistics.percentile([1, 2, 3, 10], 50) == 2.5
    assert statistics.percentile([1, 2, 3, 10], 100) == 10
    assert statistics.percentile([7], 99) == 7


def test_percentile_of_nothing_is_refused() -> None:
    """A figure without samples is an error, not a zero."""
    with pytest.raises(ValueError, match="nothing"):
        statistics.percentile([], 50)


def test_mean_has_students_interval() -> None:
    """Three values 1, 2, 3: 2 plus or minus 4.303 standard errors."""
    found = statistics.mean([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(4.303 / math.sqrt(3))
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_one_repetition_has_no_interval() -> None:
    """One value says nothing of its own spread."""
    found = statistics.mean([5.0])
    assert (found.low, found.high, found.n) == (-math.inf, math.inf, 1)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 400 experiments of five repetitions, about 95 % of the intervals hold the true mean."""
    rng = random.Random(7)
    intervals = [statistics.mean([rng.gauss(10, 3) for _ in range(5)]) for _ in range(400)]
    assert 0.92 <= sum(i.low <= 10 <= i.high for i in intervals) / 400 <= 0.98


def test_paired_difference_ignores_what_disturbs_both() -> None:
    """A slow repetition that slows both targets alike leaves their difference exact."""
    found = statistics.difference([11.0, 101.0, 51.0], [10.0, 100.0, 50.0])
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def test_ratio_is_geometric() -> None:
    """Twice as fast once and half as fast once is equally fast."""
    found = statistics.ratio([2.0, 1.0], [1.0, 2.0])
    assert found is not None
    assert found.value == pytest.approx(1.0)
    assert found.low < 1 < found.high


def test_ratio_of_what_is_not_positive_is_none() -> None:
    """An added latency that came out negative has no ratio."""
    assert statistics.ratio([1.0, -1.0], [1.0, 1.0]) is None


def test_ratio_of_unpaired_series_is_refused() -> None:
    """Repetitions that do not belong together are never compared."""
    with pytest.raises(ValueError, match="zip"):
        statistics.ratio([1.0, 2.0], [1.0])


def test_slope_of_a_line_is_exact() -> None:
    """Memory that rises by 3 a call has slope 3 and no doubt about it."""
    found = statistics.slope([0.0, 1.0, 2.0, 5.0], [1.0, 4.0, 7.0, 16.0])
    assert found.value == pytest.approx(3.0)
    assert found.low == pytest.approx(3.0)
    assert found.high == pytest.approx(3.0)


def test_slope_needs_three_different_times() -> None:
    """Two points, or one moment, are no trend."""
    with pytest.raises(ValueError, match="three points"):
        statistics.slope([0.0, 1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="different times"):
        statistics.slope([1.0, 1.0, 1.0], [0.0, 1.0, 2.0])


@given(st.lists(st.floats(0.01, 1e6), min_size=2, max_size=20), st.floats(0.1, 10))
def test_scaling_all_values_scales_the_ratio(values: list[float], factor: float) -> None:
    """A target that is always `factor` times another has that ratio, whatever the values."""
    found = statistics.ratio([v * factor for v in values], values)
    assert found is not None
    assert found.value == pytest.approx(factor)
