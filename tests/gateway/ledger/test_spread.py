"""Tests of gateway.ledger.spread: percentiles from buckets are those of the values, to the buckets' width."""

from __future__ import annotations

import random

import pytest

from gateway.ledger.spread import BOUNDS, counted, percentiles


def test_percentiles_are_right_to_the_buckets_width() -> None:
    """Whatever the values are, p50, p95 and p99 are off by 6 % at most."""
    rng = random.Random(1)
    values = sorted(rng.lognormvariate(4, 2) for _ in range(10_001))
    found = percentiles(counted(values))
    assert found is not None
    for p in (50, 95, 99):
        assert found[f"p{p}"] == pytest.approx(values[-(-10_001 * p // 100) - 1], rel=0.06)


def test_what_is_not_known_is_not_counted() -> None:
    """No values have no percentiles; absurd ones fall into the outermost buckets."""
    assert percentiles(counted([None, None])) is None
    assert set(counted([0.0, -1.0, 1e30])) == {0, len(BOUNDS)}
