"""The ledger's tables, how the file is opened for writing, and the steps from one version of it to the next."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

BUSY_SECONDS = 1.0  # how long one statement waits for another worker's transaction

# `seq` orders and names rows. `id` cannot: a client may have chosen it, and must not overwrite another's record.
_FIRST = """
CREATE TABLE calls (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    answered_model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    rule TEXT NOT NULL,
    policy TEXT NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    streamed INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cached_tokens INTEGER,
    reasoning_tokens INTEGER,
    estimated INTEGER NOT NULL,
    total_ms REAL,
    first_byte_ms REAL,
    upstream_ms REAL NOT NULL,
    overhead_ms REAL,
    story TEXT NOT NULL
);
CREATE INDEX calls_by_at ON calls (at);
CREATE INDEX calls_by_id ON calls (id);
"""

# Calls recorded before had no cache to ask.
_CACHES = """
ALTER TABLE calls ADD COLUMN cache TEXT NOT NULL DEFAULT 'bypass';
ALTER TABLE calls ADD COLUMN age_s INTEGER;
ALTER TABLE calls ADD COLUMN saved_tokens INTEGER NOT NULL DEFAULT 0;
"""

# Money, teams and sums. Two indexes go: keeping them up to date cost more than writing the row; see `blocks`.
# Calls recorded before are summed little by little; `backfill` says up to which `seq` that is to be done.
_MONEY = """
ALTER TABLE calls ADD COLUMN gateway TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN team TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN tags TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN tier TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN cache_write_tokens INTEGER;
ALTER TABLE calls ADD COLUMN removed_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN cost_usd REAL;
ALTER TABLE calls ADD COLUMN baseline_usd REAL;
ALTER TABLE calls ADD COLUMN own_usd REAL NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN saved_usd REAL;
ALTER TABLE calls ADD COLUMN basis TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN held_out INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN lines TEXT NOT NULL DEFAULT '';
DROP INDEX calls_by_at;
DROP INDEX calls_by_id;
CREATE TABLE contents (seq INTEGER PRIMARY KEY, request BLOB NOT NULL, answer BLOB NOT NULL);
CREATE TABLE blocks (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    min_at REAL NOT NULL,
    max_at REAL NOT NULL,
    max_usd REAL NOT NULL,
    max_ms REAL NOT NULL,
    ids BLOB NOT NULL
);
CREATE INDEX blocks_by_age ON blocks (min_at);
CREATE TABLE flows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    team TEXT NOT NULL,
    key TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    answered_model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    outcome TEXT NOT NULL,
    cache TEXT NOT NULL,
    held_out INTEGER NOT NULL,
    UNIQUE (tenant, team, key, endpoint, model, answered_model, upstream, outcome, cache, held_out)
);
CREATE TABLE sums (
    span INTEGER NOT NULL,
    at INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    unknown INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    prompt_tokens REAL NOT NULL,
    completion_tokens REAL NOT NULL,
    cached_tokens REAL NOT NULL,
    reasoning_tokens REAL NOT NULL,
    saved_tokens REAL NOT NULL,
    cost_usd REAL NOT NULL,
    square_usd REAL NOT NULL,
    baseline_usd REAL NOT NULL,
    own_usd REAL NOT NULL,
    saved_usd REAL NOT NULL,
    PRIMARY KEY (span, at, flow)
) WITHOUT ROWID;
CREATE TABLE totals (
    span INTEGER NOT NULL,
    at INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    saved_usd REAL NOT NULL,
    PRIMARY KEY (span, at)
) WITHOUT ROWID;
CREATE TABLE techniques (
    span INTEGER NOT NULL,
    at INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    technique TEXT NOT NULL,
    measured REAL NOT NULL,
    estimated REAL NOT NULL,
    PRIMARY KEY (span, at, flow, technique)
) WITHOUT ROWID;
CREATE TABLE spreads (
    span INTEGER NOT NULL,
    at INTEGER NOT NULL,
    measure INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (span, at, measure, bucket)
) WITHOUT ROWID;
CREATE TABLE backfill (upto INTEGER NOT NULL);
INSERT INTO backfill SELECT seq FROM calls ORDER BY seq DESC LIMIT 1;
"""

MIGRATIONS = (
    _FIRST,
    _CACHES,
    _MONEY,
)  # step N leads from version N to N + 1; steps that were released are never edited


class LedgerTooNew(sqlite3.DatabaseError):
    """The file was written by a later release, whose rows this one must not touch."""


def open_ledger(path: Path) -> sqlite3.Connection:
    """Open the file for writing, made 0600 if need be, with its tables at our version. Raises sqlite3.Error, OSError.

    Each statement is its own transaction unless BEGIN says otherwise.
    """
    _create(path)
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA page_size = 8192")  # of a new file: rows are written with fewer pages
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _create(path: Path) -> None:
    """Make the file before SQLite does, which would follow the umask; its WAL takes over the mode.

    Never open one that exists: closing it would drop the locks of this process's connections to it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        path.chmod(0o600)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the tables to our version in one transaction. Raises LedgerTooNew, sqlite3.Error."""
    if _version(db) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")  # workers that start together take turns
    try:
        _take_steps(db)
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _take_steps(db: sqlite3.Connection) -> None:
    version = _version(db)
    if version > len(MIGRATIONS):
        raise LedgerTooNew(f"written by a later release (version {version})")
    for step in MIGRATIONS[version:]:
        for statement in filter(str.strip, step.split(";")):
            db.execute(statement)
    db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    db.execute("DELETE FROM schema_version")
    db.execute("INSERT INTO schema_version VALUES (?)", (len(MIGRATIONS),))


def _version(db: sqlite3.Connection) -> int:
    known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
    found = db.execute("SELECT version FROM schema_version").fetchone() if known else None
    return int(found[0]) if found else 0
