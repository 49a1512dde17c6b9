"""Tests of gateway.ledger.backfill: a file of an older release is summed while the gateway serves."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.ledger.reader import LedgerReader
from gateway.ledger.rows import COLUMNS, row
from gateway.ledger.schema import MIGRATIONS
from gateway.ledger.store import Store
from tests.gateway.ledger.traces import answered

OLD = ("gateway", "team", "tags", "tier", "cache_write_tokens", "removed_tokens")
NEW = (*OLD, "cost_usd", "baseline_usd", "own_usd", "saved_usd", "basis", "held_out", "lines")
STORY = '{"attempts":[{"upstream":"local","started_ms":10.000123,"usage":null}],"notes":[["cache","miss"]]}'


def older(path: Path, number: int) -> None:
    """A file as the second release left it, with so many calls a minute apart and some numbers missing."""
    names = [name for name in COLUMNS if name not in NEW]
    with closing(sqlite3.connect(path)) as db:
        for step in MIGRATIONS[:2]:
            db.executescript(step)
        db.executescript(
            "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (2)"
        )
        for i in range(number):
            told = dict(zip(COLUMNS, row(answered(f"req_{i}", at=1_800_000_000.0 + 60 * i)), strict=True))
            told["story"] = STORY
            seq = i + (1 if i < number / 2 else 3000)
            holes = ", ".join("?" * (len(names) + 1))
            values = [seq, *(told[name] for name in names)]
            db.execute(f"INSERT INTO calls (seq, {', '.join(names)}) VALUES ({holes})", values)  # noqa: S608 - our own names
        db.commit()


def test_old_calls_are_found_before_and_after(tmp_path: Path) -> None:
    """By id, by time and by rank: before they were summed as well as after; their stories read as they did."""
    path = tmp_path / "ledger.sqlite"
    older(path, 2600)
    store, reader = Store(path), LedgerReader(path)
    assert store.write([row(answered("new", at=1_800_000_000.0))])
    for _ in range(3):
        found = reader.one("req_7")
        assert found is not None
        assert found["story"]["attempts"][0]["started_ms"] == 10.0
        assert "bill" not in found["story"]
        assert reader.stats(0)["calls"] == 2601
        assert len(reader.search(3000, order="slowest")) == 2601
        store.prune()


def test_sums_grow_to_the_whole(tmp_path: Path) -> None:
    """Once all is summed the overview counts every call of before once, and its cost as unknown."""
    path = tmp_path / "ledger.sqlite"
    older(path, 2600)
    store, reader = Store(path), LedgerReader(path)
    store.write([row(answered("new", at=1_800_000_000.0))])
    for _ in range(5):
        store.prune()
    totals = reader.overview(1_799_900_000, 1_800_400_000)["totals"]
    assert (totals["calls"], totals["unknown"], totals["prompt_tokens"]) == (2601, 2601, 260_100)
    found = reader.overview(1_800_000_000 + 3600, 1_800_000_000 + 3 * 3600)
    assert found["totals"]["calls"] == 120, "to the hour: sums by minute begin with the new release"


def test_an_empty_older_file_needs_nothing(tmp_path: Path) -> None:
    """There is nothing to sum, and nothing is."""
    path = tmp_path / "ledger.sqlite"
    older(path, 0)
    Store(path).prune()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM backfill").fetchone() == (0,)
