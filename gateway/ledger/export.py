"""Records as CSV or as JSON lines, in bounded memory: a page of them at a time, each read on its own."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import orjson

from gateway.ledger import blocks, story
from gateway.ledger.filters import Filters
from gateway.ledger.rows import COLUMNS
from gateway.trace import HELD_OUT

Format = Literal["csv", "jsonl"]

PAGE = 2000  # records read at once
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

_NAMES = ("seq", *(name for name in COLUMNS if name != "story"))
_CELLS = tuple(name for name in _NAMES if name != "lines")
_FLAGS = frozenset({"streamed", "estimated"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet takes for more than text

Connect = Callable[[], AbstractContextManager[sqlite3.Connection]]


def export(connect: Connect, format: Format, filters: Filters, *, with_story: bool = False) -> Iterator[bytes]:  # noqa: A002 - the option's name
    """Give all calls that are meant, the oldest first, in pieces; `with_story` counts for JSON lines only."""
    with_story = with_story and format == "jsonl"
    ends = _ends(connect, filters)  # first of all: who cannot read the ledger learns it before the first piece
    if format == "csv":
        yield _csv([_CELLS])
    for rows in _pages(connect, filters, ends, with_story=with_story):
        yield _csv(map(_cells, rows)) if format == "csv" else _lines(rows, with_story=with_story)


def _pages(
    connect: Connect, filters: Filters, ends: tuple[int, int], *, with_story: bool
) -> Iterator[list[sqlite3.Row]]:
    """By `seq`, so that no page is read twice and none is kept open while a client reads slowly."""
    names = ", ".join((*_NAMES, "story") if with_story else _NAMES)
    conditions, values = filters.where()
    where = " AND ".join(["seq > ? AND seq <= ?", *conditions])
    sql = f"SELECT {names} FROM calls WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608 - our own column names
    after, last = ends
    while after < last:
        with connect() as db:
            rows = db.execute(sql, [after, last, *values, PAGE]).fetchall()
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        after = rows[-1]["seq"]


def _ends(connect: Connect, filters: Filters) -> tuple[int, int]:
    with connect() as db:
        stretches = blocks.within(db, filters.since, filters.until)
    return (stretches[0].first - 1, max(s.last for s in stretches)) if stretches else (0, 0)


def _csv(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _cells(row: sqlite3.Row) -> list[Any]:
    told = {**{name: row[name] for name in _CELLS}, "held_out": int(row["held_out"] == HELD_OUT)}
    return [_cell(value) for value in {**told, "tags": row["tags"].strip(",")}.values()]


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would calculate is marked as text: a client chose it, an accountant opens it."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _lines(rows: Sequence[sqlite3.Row], *, with_story: bool) -> bytes:
    return b"".join(orjson.dumps(_record(row, with_story=with_story), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _record(row: sqlite3.Row, *, with_story: bool) -> dict[str, Any]:
    record = {name: bool(row[name]) if name in _FLAGS else row[name] for name in _NAMES}
    record["held_out"] = row["held_out"] == HELD_OUT
    record["tags"] = [tag for tag in row["tags"].split(",") if tag]
    record["lines"] = story.lines_read(row["lines"], row["own_usd"])
    return {**record, "story": story.read(row["story"], record | {"lines": row["lines"]})} if with_story else record
