"""Tests of gateway.ledger.schema: opening the file, and going from one version of it to the next."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger.schema import MIGRATIONS, LedgerTooNew, open_ledger


def test_file_and_its_wal_are_the_owners_alone(tmp_path: Path) -> None:
    """Every file of the ledger is 0600 even under an open umask."""
    before = os.umask(0)
    try:
        db = open_ledger(tmp_path / "new" / "ledger.sqlite")
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "new").iterdir()}
    db.close()
    assert set(modes) == {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"}
    assert set(modes.values()) == {0o600}


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    """A file at our version keeps its rows and its version."""
    for _ in range(2):
        db = open_ledger(tmp_path / "ledger.sqlite")
        assert db.execute("SELECT version FROM schema_version").fetchall() == [(len(MIGRATIONS),)]
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        db.close()


def test_a_later_releases_file_is_left_alone(tmp_path: Path) -> None:
    """A file written by a later release is refused, not overwritten."""
    path = tmp_path / "ledger.sqlite"
    open_ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE schema_version SET version = 99")
    db.close()
    with pytest.raises(LedgerTooNew, match="version 99"):
        open_ledger(path)


def test_a_failed_step_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A migration happens whole or not at all: here the table is in the way, and no version is written."""
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE calls (mine TEXT)")
    db.close()
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        open_ledger(path)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("calls",)]
    db.close()


def test_a_file_of_the_first_release_is_brought_up(tmp_path: Path) -> None:
    """Calls recorded before there was a cache stay, and count as not asked of one."""
    path = tmp_path / "ledger.sqlite"
    known = {"id": "req_1", "at": 5.0, "status": 200}
    with closing(sqlite3.connect(path)) as db:
        db.executescript(MIGRATIONS[0])
        db.executescript(
            "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (1)"
        )
        wanted = [name for _, name, _, needed, _, _ in db.execute("PRAGMA table_info(calls)") if needed]
        values = [known.get(name, 0) for name in wanted]
        holes = ", ".join("?" * len(wanted))
        db.execute(f"INSERT INTO calls ({', '.join(wanted)}) VALUES ({holes})", values)  # noqa: S608 - our own names
        db.commit()
    with closing(open_ledger(path)) as db:
        assert db.execute("SELECT id, cache, age_s, saved_tokens FROM calls").fetchall() == [
            ("req_1", "bypass", None, 0)
        ]
        assert db.execute("SELECT version FROM schema_version").fetchall() == [(len(MIGRATIONS),)]
