"""A time range in the buckets that sums are kept in: whole days where it can be, hours and minutes at its ends."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from gateway.ledger.sums import DAY, HOUR, MINUTE

POINTS = 200  # most buckets of a series
FINE = 2 * DAY  # seconds; the ends of longer ranges are told to the hour
_WIDTHS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY)


@dataclass(frozen=True, slots=True)
class Piece:
    """Buckets of one span, from `since` to before `until`."""

    span: int
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Range:
    """A time range whose ends are ends of buckets of `step` seconds."""

    since: int
    until: int
    step: int

    @classmethod
    def of(cls, db: sqlite3.Connection, since: float, until: float) -> Range:
        """The narrowest one around these times: to the minute, or to the hour where it is long or minutes are gone."""
        step = MINUTE if until - since <= FINE and _has_minutes(db, since) else HOUR
        first = int(since // step) * step
        return cls(first, max(first + step, -int(-until // step) * step), step)

    def pieces(self, width: int = DAY) -> list[Piece]:
        """The same range in few buckets that are no wider than this and fit into it; none of them is in two pieces."""
        found: list[Piece] = []
        spans = [span for span in (DAY, HOUR, MINUTE) if span >= self.step and width % span == 0]
        _cover(found, tuple(spans), self.since, self.until)
        return found

    def width(self, least: int = MINUTE) -> int:
        """Seconds of one bucket of a series of at most `POINTS`."""
        for width in _WIDTHS:
            if width >= max(self.step, least) and self._points(width) <= POINTS:
                return width
        days = -(-(self.until - self.since) // (DAY * (POINTS - 1)))
        return days * DAY

    def _points(self, width: int) -> int:
        return -(-self.until // width) - self.since // width


def _cover(found: list[Piece], spans: tuple[int, ...], since: int, until: int) -> None:
    span, *finer = spans
    first, end = -(-since // span) * span, until // span * span
    if first >= end:
        if finer and since < until:
            _cover(found, tuple(finer), since, until)
        return
    found.append(Piece(span, first, end))
    for start, stop in ((since, first), (end, until)):
        if finer and start < stop:
            _cover(found, tuple(finer), start, stop)


def _has_minutes(db: sqlite3.Connection, since: float) -> bool:
    """Say whether the sums by minute reach back as far as this, or as far as those by hour do."""
    minute, hour = (
        db.execute("SELECT min(at) FROM totals WHERE span = ?", (span,)).fetchone()[0] for span in (MINUTE, HOUR)
    )
    return minute is None or since >= minute or hour is None or hour >= minute // HOUR * HOUR
