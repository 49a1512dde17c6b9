"""Latencies as counts in buckets of equal ratio: small enough to keep for every minute, exact to the bucket's width."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

MEASURES = ("total", "first_byte", "overhead")  # in this order in the file

# Upper bounds in ms, each 12 % above the last: from 10 microseconds to more than an hour. Part of the file's format.
BOUNDS = tuple(0.01 * 1.12**step for step in range(175))


def counted(values: Iterable[float | None]) -> dict[int, int]:
    """How many of these fall into which bucket; those that are not known into none."""
    return Counter([bisect_left(BOUNDS, value) for value in values if value is not None])


def percentiles(counts: Mapping[int, int]) -> dict[str, float] | None:
    """p50, p95 and p99 in ms by nearest rank: the middle of the bucket in which that call lies. None of no calls."""
    total = sum(counts.values())
    if not total:
        return None
    return {f"p{p}": round(_middle(_bucket_of(counts, -(-total * p // 100))), 3) for p in (50, 95, 99)}


def _bucket_of(counts: Mapping[int, int], rank: int) -> int:
    passed = 0
    for bucket in sorted(counts):
        passed += counts[bucket]
        if passed >= rank:
            return bucket
    return max(counts)


def _middle(bucket: int) -> float:
    """The geometric middle; below the first bound and above the last there is none."""
    if bucket <= 0:
        return BOUNDS[0]
    return BOUNDS[min(bucket, len(BOUNDS) - 1)] / math.sqrt(1.12)
