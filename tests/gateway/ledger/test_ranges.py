"""Tests of gateway.ledger.ranges: a range in few buckets, each second of it in one."""

from __future__ import annotations

import random

from gateway.ledger.ranges import POINTS, Range
from gateway.ledger.sums import DAY, HOUR, MINUTE


def test_pieces_cover_the_range_once() -> None:
    """Laid one behind the other the pieces are the range, whatever its ends and the coarsest bucket allowed."""
    rng = random.Random(1)
    for _ in range(500):
        step = rng.choice((MINUTE, HOUR))
        since = rng.randrange(10**6) * step
        range_ = Range(since, since + rng.randint(1, 9000) * step, step)
        for width in (MINUTE, 7200, DAY, 3 * DAY):
            if width < step:
                continue
            pieces = sorted(range_.pieces(width), key=lambda piece: piece.since)
            assert [p.since for p in pieces] == [range_.since, *(p.until for p in pieces[:-1])]
            assert pieces[-1].until == range_.until
            assert all(p.since % p.span == p.until % p.span == width % p.span == 0 for p in pieces)


def test_a_series_is_never_long() -> None:
    """However long the range, its series has 200 points at most and its buckets whole minutes."""
    for seconds in (60, 3600, 86_400, 30 * 86_400, 10**9, 10**11):
        range_ = Range(120, 120 + seconds // 60 * 60, MINUTE)
        width = range_.width()
        assert -(-range_.until // width) - range_.since // width <= POINTS
        assert width % MINUTE == 0
