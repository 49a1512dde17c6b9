"""Looking for calls: the newest, the dearest, the slowest, and one by its id."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Literal

from gateway.ledger import blocks
from gateway.ledger.blocks import Stretch
from gateway.ledger.filters import Filters
from gateway.ledger.rows import COLUMNS

Order = Literal["newest", "dearest", "slowest"]

BRIEF = ", ".join(("seq", *(c for c in COLUMNS if c not in {"story", "lines"})))
_TOGETHER = 8  # blocks looked at before asking whether the next can matter
_RANKED: dict[str, tuple[str, Callable[[Stretch], float]]] = {
    "dearest": ("cost_usd", lambda stretch: stretch.usd),
    "slowest": ("total_ms", lambda stretch: stretch.ms),
}

Row = sqlite3.Row


def search(db: sqlite3.Connection, limit: int, before: int | None, filters: Filters, order: Order) -> list[Row]:
    """Find calls in this order; `before` is the `seq` of the last one already seen."""
    if filters.q and before is None:
        found = (_at(db, seq, filters) for seq in blocks.places(db, filters.q))
        if whole := [row for row in found if row is not None and row["id"] == filters.q]:
            return whole[:limit]
    if order == "newest":
        return newest(db, limit, before, filters)
    return _ranked(db, limit, before, filters, order)


def one(db: sqlite3.Connection, id: str) -> Row | None:  # noqa: A002 - the column's name
    """One call with all that is known of it; the newest where several bear this id."""
    for seq in blocks.places(db, id):
        row: Row | None = db.execute("SELECT * FROM calls WHERE seq = ? AND id = ?", (seq, id)).fetchone()
        if row is not None:
            return row
    older = "SELECT * FROM calls WHERE seq <= ? AND id = ? ORDER BY seq DESC LIMIT 1"
    found: Row | None = db.execute(older, (blocks.unsorted(db), id)).fetchone()
    return found


def newest(db: sqlite3.Connection, limit: int, before: int | None, filters: Filters) -> list[Row]:
    """The calls that were written last."""
    conditions, values = filters.where()
    if filters.since is not None or filters.until is not None:
        stretches = blocks.within(db, filters.since, filters.until)
        conditions.append("seq BETWEEN ? AND ?")
        values += [stretches[0].first, max(s.last for s in stretches)] if stretches else [0, -1]
    if before is not None:
        conditions.append("seq < ?")
        values.append(before)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT {BRIEF} FROM calls {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - our own column names
    return db.execute(sql, [*values, limit]).fetchall()


def _at(db: sqlite3.Connection, seq: int, filters: Filters) -> Row | None:
    conditions, values = filters.where()
    sql = f"SELECT {BRIEF} FROM calls WHERE {' AND '.join(['seq = ?', *conditions])}"  # noqa: S608 - our own column names
    found: Row | None = db.execute(sql, [seq, *values]).fetchone()
    return found


def _ranked(db: sqlite3.Connection, limit: int, before: int | None, filters: Filters, order: Order) -> list[Row]:
    """The most in one column. Blocks that hold the most come first; one whose most is too little ends the search."""
    column, most = _RANKED[order]
    conditions, values = filters.where()
    conditions.append(f"{column} IS NOT NULL")
    if before is not None:
        conditions.append(f"({column}, seq) < (SELECT {column}, seq FROM calls WHERE seq = ?)")  # noqa: S608 - our own column names
        values.append(before)
    where = " AND ".join(["seq BETWEEN ? AND ?", *conditions])
    sql = f"SELECT {BRIEF} FROM calls WHERE {where} ORDER BY {column} DESC, seq DESC LIMIT ?"  # noqa: S608 - our own column names
    stretches = sorted(blocks.within(db, filters.since, filters.until), key=most, reverse=True)
    found: list[Row] = []
    for start in range(0, len(stretches), _TOGETHER):
        part = stretches[start : start + _TOGETHER]
        if len(found) == limit and found[-1][column] > most(part[0]):
            break
        for stretch in part:
            found += db.execute(sql, [stretch.first, stretch.last, *values, limit])
        found = _best(found, column, limit)
    return found


def _best(found: Sequence[Row], column: str, limit: int) -> list[Row]:
    def rank(row: Row) -> tuple[Any, ...]:
        return (row[column], row["seq"])

    return heapq.nlargest(limit, found, key=rank)
