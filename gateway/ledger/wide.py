"""Many rows in few statements.

The interpreter's lock is released once a statement, not once a row: a row at a time, the journal's thread would ask for
it back thousands of times a second and hold up the event loop each time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

WIDE = 64  # rows in the widest statement


def insert(db: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]], otherwise: str = "") -> None:
    """Insert rows of equal length `into` a table (its name, perhaps with columns), doing `otherwise` on a conflict."""
    start, size = 0, WIDE
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        part = rows[start : start + size]
        db.execute(_statement(into, len(part[0]), size, otherwise), tuple(chain.from_iterable(part)))
        start += size


@lru_cache(maxsize=64)
def _statement(into: str, columns: int, rows: int, otherwise: str) -> str:
    values = "(" + ", ".join("?" * columns) + ")"
    return f"INSERT INTO {into} VALUES {', '.join([values] * rows)} {otherwise}"  # noqa: S608 - our own names
