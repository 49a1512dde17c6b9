"""Means, differences and ratios of repetitions, each with its 95 % interval.

Repetitions are few (3 to 10) and paired: in each, every target was measured once, moments apart. So differences and
ratios are taken within a repetition, and Student's t gives the interval over repetitions; ratios on logarithms, where
"twice as fast" and "half as fast" lie equally far from "the same".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % quantiles of Student's t for 1, 2, 3 ... degrees of freedom.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_T95_MORE = 2.131  # wider than the truth beyond 15 degrees, never narrower


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; without an interval (one repetition) low and high are the infinities."""

    value: float
    low: float
    high: float
    n: int


def percentile(ordered: Sequence[float], q: float) -> float:
    """Give the q-th percentile (0 to 100) of values already in order, between neighbours by straight line."""
    if not ordered:
        raise ValueError("no percentile of nothing")
    place = (len(ordered) - 1) * q / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean; raises ValueError when there are no values."""
    n = len(values)
    if not n:
        raise ValueError("no mean of nothing")
    centre = math.fsum(values) / n
    if n == 1:
        return Estimate(centre, -math.inf, math.inf, 1)
    spread = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1))
    reach = _t95(n - 1) * spread / math.sqrt(n)
    return Estimate(centre, centre - reach, centre + reach, n)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Estimate ours minus theirs over paired repetitions."""
    return mean([a - b for a, b in zip(ours, theirs, strict=True)])


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Estimate | None:
    """Estimate ours over theirs over paired repetitions (geometric mean); None if a value is not positive."""
    pairs = list(zip(ours, theirs, strict=True))
    if not pairs or any(a <= 0 or b <= 0 for a, b in pairs):
        return None
    logs = mean([math.log(a / b) for a, b in pairs])
    return Estimate(math.exp(logs.value), math.exp(logs.low), _exp(logs.high), logs.n)


def slope(times: Sequence[float], values: Sequence[float]) -> Estimate:
    """Estimate the least-squares slope of values over times, at least three of them."""
    n = len(times)
    if n < 3:
        raise ValueError("a slope with its interval needs three points")
    t0, v0 = math.fsum(times) / n, math.fsum(values) / n
    weight = math.fsum((t - t0) ** 2 for t in times)
    if weight == 0:
        raise ValueError("a slope needs different times")
    rise = math.fsum((t - t0) * (v - v0) for t, v in zip(times, values, strict=True)) / weight
    left = math.fsum((v - v0 - rise * (t - t0)) ** 2 for t, v in zip(times, values, strict=True))
    reach = _t95(n - 2) * math.sqrt(left / (n - 2) / weight)
    return Estimate(rise, rise - reach, rise + reach, n)


def _t95(freedom: int) -> float:
    return _T95[freedom - 1] if freedom <= len(_T95) else _T95_MORE


def _exp(x: float) -> float:
    return math.inf if x == math.inf else math.exp(x)
