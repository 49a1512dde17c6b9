"""How long records and sums are kept, and how they are removed: a little at a time, so that nobody waits long.

Age is told by a clock that ran evenly for a while: one that jumps years ahead must not cost every record there is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.ledger.sums import DAY, HOUR, MINUTE

MINUTES_KEPT = 3 * 86_400.0  # seconds that sums by minute are kept
HOLD = 600.0  # seconds that the clock must have run evenly before age counts
JUMP = 60.0  # seconds by which a clock that runs evenly may be off
_BUCKETS = 200  # of sums removed at a time


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records are kept, how many of them at most, and how long their sums."""

    seconds: float = 30 * 86_400.0
    records: int = 1_000_000
    sums: float = 366 * 86_400.0  # seconds
    batch: int = 1000  # rows removed in one transaction, so that other workers wait milliseconds
    batches: int = 20  # of these at a time


class SteadyClock:
    """The time of the clock, once that has agreed for a while with one that nobody can set."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        hold: float = HOLD,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._hold = hold
        self._apart: float | None = None
        self._since = 0.0

    def __call__(self) -> float | None:
        """Unix time; None after a start or a jump, until `hold` seconds have passed."""
        now, elapsed = self._clock(), self._monotonic()
        apart = now - elapsed
        if self._apart is None or not abs(apart - self._apart) <= JUMP:
            self._apart, self._since = apart, elapsed
        return now if elapsed - self._since >= self._hold else None


def prune(db: sqlite3.Connection, keep: Retention, now: float | None) -> None:
    """Remove some of what is too much or, if it is known what time it is, too old."""
    _prune_count(db, keep)
    if now is not None:
        _prune_age(db, keep, now - keep.seconds)
        _prune_sums(db, keep, now)


def _prune_count(db: sqlite3.Connection, keep: Retention) -> None:
    oldest, newest = db.execute("SELECT (SELECT min(seq) FROM calls), (SELECT max(seq) FROM calls)").fetchone()
    if newest is None or newest - oldest < keep.records:
        return
    end = newest - keep.records  # this one and those before it go
    for _ in range(keep.batches):
        last = db.execute("SELECT max(seq) FROM (SELECT seq FROM calls ORDER BY seq LIMIT ?)", (keep.batch,)).fetchone()
        last = min(end, last[0])
        _in_one(db, [(f"DELETE FROM {table} WHERE seq <= ?", (last,)) for table in ("contents", "calls")])  # noqa: S608 - our own names
        if last == end:
            break
    db.execute("DELETE FROM blocks WHERE last < (SELECT min(seq) FROM calls)")


def _prune_age(db: sqlite3.Connection, keep: Retention, oldest: float) -> None:
    """Block by block, for records need not lie in the order of their times."""
    sql = "SELECT first, last FROM blocks WHERE min_at < ? ORDER BY min_at LIMIT 1"
    for _ in range(keep.batches):
        found = db.execute(sql, (oldest,)).fetchone()
        if found is None:
            break
        first, last = found
        old = "SELECT seq FROM calls WHERE seq BETWEEN ? AND ? AND at < ? LIMIT ?"
        given = (first, last, oldest, keep.batch)
        there = "SELECT min(at) FROM calls WHERE seq BETWEEN ? AND ?"
        _in_one(
            db,
            [
                (f"DELETE FROM contents WHERE seq IN ({old})", given),  # noqa: S608 - our own words
                (f"DELETE FROM calls WHERE seq IN ({old})", given),  # noqa: S608 - the same
                (f"DELETE FROM blocks WHERE first = ? AND ({there}) IS NULL", (first, first, last)),  # noqa: S608
                (f"UPDATE blocks SET min_at = ({there}) WHERE first = ?", (first, last, first)),  # noqa: S608
            ],
        )


def _prune_sums(db: sqlite3.Connection, keep: Retention, now: float) -> None:
    """Buckets that ended too long ago, the oldest first; then flows of which no sum is left."""
    for span, seconds in ((MINUTE, min(MINUTES_KEPT, keep.sums)), (HOUR, keep.sums), (DAY, keep.sums)):
        first = db.execute("SELECT min(at) FROM sums WHERE span = ?", (span,)).fetchone()[0]
        before = now - seconds - span
        if first is None or first >= before:
            continue
        before = min(before, first + _BUCKETS * span)
        orders: list[tuple[str, tuple[float, ...]]] = [
            (f"DELETE FROM {table} WHERE span = ? AND at < ?", (span, before))  # noqa: S608 - our own names
            for table in ("sums", "totals", "techniques", "spreads")
        ]
        if span == DAY:
            orders.append(("DELETE FROM flows WHERE id NOT IN (SELECT flow FROM sums WHERE span = ?)", (DAY,)))
        _in_one(db, orders)


def _in_one(db: sqlite3.Connection, orders: list[tuple[str, tuple[float, ...]]]) -> None:
    """Do these in one transaction. Whoever called closes the connection if it fails, which undoes it."""
    db.execute("BEGIN IMMEDIATE")
    for sql, values in orders:
        db.execute(sql, values)
    db.execute("COMMIT")
