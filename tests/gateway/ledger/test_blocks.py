"""Tests of gateway.ledger.blocks: every call is found by its id, and by the time at which it began."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.ledger import blocks
from gateway.ledger.reader import LedgerReader
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from tests.gateway.ledger.traces import answered


def test_every_id_is_found_however_it_was_written(tmp_path: Path) -> None:
    """One at a time or thousands at once, in growing blocks or whole ones."""
    store = Store(tmp_path / "ledger.sqlite")
    sizes, number = (1, 1, 2, 500, 1, 2500, 3), 0
    for size in sizes:
        assert store.write([row(answered(f"req_{i}")) for i in range(number, number + size)])
        number += size
    reader = LedgerReader(tmp_path / "ledger.sqlite")
    with reader.connection() as db:
        found = [db.execute("SELECT id FROM calls WHERE seq = ?", (seq,)).fetchone()[0]
                 for i in range(number) for seq in blocks.places(db, f"req_{i}")]  # fmt: skip
        kept = db.execute("SELECT first, last, typeof(ids), length(ids) FROM blocks ORDER BY first").fetchall()
    assert set(found) == {f"req_{i}" for i in range(number)}
    assert tuple(kept[0]) == (1, 1000, "blob", 4000)
    assert all(length == 4 * (last - first + 1) for first, last, _, length in kept)
    assert len(kept) == 4


def test_the_newest_of_an_id_comes_first(tmp_path: Path) -> None:
    """A client may use an id over and over: its newest call is the one."""
    store = Store(tmp_path / "ledger.sqlite")
    store.write([row(answered("same", status=200 + i)) for i in range(5)])
    found = LedgerReader(tmp_path / "ledger.sqlite").one("same")
    assert found is not None
    assert found["status"] == 204


def test_stretches_hold_what_began_within(tmp_path: Path) -> None:
    """A range leads to the blocks that may hold its calls, and to no others."""
    store = Store(tmp_path / "ledger.sqlite")
    store.write([row(answered(str(i), at=1000.0 + i)) for i in range(3000)])
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        assert [s.first for s in blocks.within(db, 2500.0, 2501.0)] == [1001]
        assert [s.first for s in blocks.within(db, 0.0, 1000.0)] == []
        assert len(blocks.within(db, None, None)) == 3
        assert [s.first for s in blocks.spread_out(blocks.within(db, None, None), 1000)][-1] == 2001
