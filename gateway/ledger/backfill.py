"""Blocks and sums for the calls that an older release wrote: a slice at a time, the newest first.

A large file is brought up to date while the gateway serves; until then its pages are right for the days done so far.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby

from gateway.ledger import blocks
from gateway.ledger.rows import COLUMNS, Row
from gateway.ledger.sums import DAY, HOUR, Sums

SLICES = 4  # at a time

_ROWS = f"SELECT seq, {', '.join(COLUMNS)} FROM calls WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608 - our own names


def step(db: sqlite3.Connection, sums: Sums, slices: int = SLICES) -> None:
    """Do some slices, each in a transaction of its own; does nothing once all is done."""
    for _ in range(slices):
        if not blocks.unsorted(db):
            return
        db.execute("BEGIN IMMEDIATE")  # workers take turns: each looks anew where the others have come to
        upto = blocks.unsorted(db)
        if upto:
            _fill(db, sums, upto)
        db.execute("COMMIT")


def _fill(db: sqlite3.Connection, sums: Sums, upto: int) -> None:
    first = upto - blocks.MOST + 1
    for start, rows in _runs(db, first, upto):
        blocks.insert(db, rows, start)
        sums.add(rows, (HOUR, DAY))
    left = db.execute("SELECT max(seq) FROM calls WHERE seq < ?", (first,)).fetchone()[0]
    db.execute("DELETE FROM backfill")
    if left is not None:
        db.execute("INSERT INTO backfill VALUES (?)", (left,))


def _runs(db: sqlite3.Connection, first: int, last: int) -> Iterator[tuple[int, list[Row]]]:
    """The rows in between, in runs without a gap; `seq` of each run's first row, and the rows."""
    found = db.execute(_ROWS, (first, last)).fetchall()
    for _, run in groupby(enumerate(found), lambda numbered: numbered[1][0] - numbered[0]):
        rows = [row for _, row in run]
        yield rows[0][0], [row[1:] for row in rows]
