"""What finds calls in the ledger's file: blocks of neighbouring rows, and what each block holds.

An index of ids would touch a page of its own for nearly every call, and be the dearest thing the ledger does. Instead
up to `MOST` neighbours share one row that says between which times they began, what the dearest cost and how long the
slowest took, and holds four bytes of each id's checksum, in order: an id is found by searching a few megabytes of
these, and where the bytes lie says which row it is. Times need no order: a clock that jumped makes a block wide, not
wrong. What a block says is never too little; rows that were removed may make it too much.

Rows up to `backfill.upto` belong to no block yet; whoever looks for calls looks at each of those.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from zlib import crc32

from gateway.ledger.rows import COLUMNS, Row

MOST = 1000  # rows in a block: with them it still fits into one page
ID, AT, COST, MS = (COLUMNS.index(name) for name in ("id", "at", "cost_usd", "total_ms"))

_LAST = "SELECT first, last FROM blocks ORDER BY first DESC LIMIT 1"
_NEW = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)"
_GROW = (
    "UPDATE blocks SET last = ?, min_at = min(min_at, ?), max_at = max(max_at, ?), max_usd = max(max_usd, ?), "
    "max_ms = max(max_ms, ?), ids = CAST(ids || ? AS BLOB) WHERE first = ?"
)


def append(db: sqlite3.Connection, rows: Sequence[Row], first: int) -> None:
    """Put rows that were just written, the first of them as `first` and the others behind it, into the last blocks."""
    found = db.execute(_LAST).fetchone()
    if found is not None and found[1] >= first:
        found = _shortened(db, first)
    if found is not None and found[1] == first - 1:
        room = MOST - (found[1] - found[0] + 1)
        if room > 0:
            part = rows[:room]
            db.execute(_GROW, (first + len(part) - 1, *_told(part), found[0]))
            rows, first = rows[room:], first + len(part)
    for start in range(0, len(rows), MOST):
        insert(db, rows[start : start + MOST], first + start)


def _shortened(db: sqlite3.Connection, first: int) -> tuple[int, int] | None:
    """Give the last block once none reaches `first`: the newest rows were removed, as of an age they only seemed."""
    db.execute("DELETE FROM blocks WHERE first >= ?", (first,))
    db.execute("UPDATE blocks SET last = ?1 - 1, ids = substr(ids, 1, 4 * (?1 - first)) WHERE last >= ?1", (first,))
    found: tuple[int, int] | None = db.execute(_LAST).fetchone()
    return found


def insert(db: sqlite3.Connection, rows: Sequence[Row], first: int) -> None:
    """Make one block of neighbouring rows."""
    db.execute(_NEW, (first, first + len(rows) - 1, *_told(rows)))


def _told(rows: Sequence[Row]) -> tuple[float, float, float, float, bytes]:
    """Earliest, latest, dearest, slowest, and the ids' checksums."""
    times: list[float] = [row[AT] for row in rows]  # type: ignore[misc] # what this column holds
    dearest: float = max([row[COST] or 0.0 for row in rows])  # type: ignore[assignment]
    slowest: float = max([row[MS] or 0.0 for row in rows])  # type: ignore[assignment]
    sums = [crc32(row[ID].encode()) for row in rows]  # type: ignore[union-attr]
    return min(times), max(times), dearest, slowest, struct.pack(f"<{len(sums)}I", *sums)


def places(db: sqlite3.Connection, id: str) -> Iterator[int]:  # noqa: A002 - the column's name
    """Give the `seq` of every row that may bear this id, the newest first; whoever asks looks at each."""
    wanted = struct.pack("<I", crc32(id.encode("utf-8", "replace")))
    for first, ids in db.execute("SELECT first, ids FROM blocks WHERE instr(ids, ?) ORDER BY first DESC", (wanted,)):
        at = ids.rfind(wanted)
        while at >= 0:
            if at % 4 == 0:
                yield first + at // 4
            at = ids.rfind(wanted, 0, at + 3)


def unsorted(db: sqlite3.Connection) -> int:
    """The `seq` up to which rows belong to no block yet."""
    found = db.execute("SELECT max(upto) FROM backfill").fetchone()[0]
    return 0 if found is None else int(found)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring rows: from which `seq` to which, and the most any of them cost and took."""

    first: int
    last: int
    usd: float = float("inf")
    ms: float = float("inf")


def within(db: sqlite3.Connection, since: float | None, until: float | None) -> list[Stretch]:
    """Give the stretches that may hold calls which began in [since, until), the oldest first."""
    found = db.execute(
        "SELECT first, last, max_usd, max_ms FROM blocks WHERE max_at >= ? AND min_at < ? ORDER BY first",
        (float("-inf") if since is None else since, float("inf") if until is None else until),
    )
    return [*_unsorted(db), *(Stretch(*row) for row in found)]


def _unsorted(db: sqlite3.Connection) -> Iterator[Stretch]:
    upto = unsorted(db)
    oldest = db.execute("SELECT min(seq) FROM calls").fetchone()[0] if upto else None
    if oldest is not None:
        for first in range(oldest, upto + 1, MOST):
            yield Stretch(first, min(first + MOST - 1, upto))


def spread_out(stretches: Sequence[Stretch], most: int) -> list[Stretch]:
    """Choose some of these, evenly spread, that hold about `most` rows together; the newest is one of them."""
    rows = sum(stretch.last - stretch.first + 1 for stretch in stretches)
    if rows <= most:
        return list(stretches)
    share = most / rows
    chosen = [s for n, s in enumerate(reversed(stretches)) if ceil((n + 1) * share) > ceil(n * share)]
    return chosen[::-1]
