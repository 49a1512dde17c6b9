"""The ledger's file as one worker writes it, with its troubles and how it gets over them.

A write succeeds or says so; it never raises, for nothing above can do better than try again. After any trouble the
connection is closed and the next write opens a new one: that is how a full disk, a lock or a missing file end by
themselves. A corrupt file is moved aside, never deleted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from gateway.ledger.health import Health, is_corrupt, reason
from gateway.ledger.rows import COLUMNS, Row, cleaned
from gateway.ledger.schema import open_ledger

logger = logging.getLogger(__name__)

# Rows in one statement. The interpreter's lock is released once a statement, not once a row: a row at a time, this
# thread would ask for it back thousands of times a second and hold up the event loop each time.
WIDE = 64
_NAMES = ", ".join(COLUMNS)
_VALUES = "(" + ", ".join("?" * len(COLUMNS)) + ")"
INSERT = f"INSERT INTO calls ({_NAMES}) VALUES {_VALUES}"  # noqa: S608 - our own column names
INSERT_WIDE = f"INSERT INTO calls ({_NAMES}) VALUES {', '.join([_VALUES] * WIDE)}"  # noqa: S608 - the same

_TROUBLE = (sqlite3.Error, OSError)
_BAD_ROW = (OverflowError, UnicodeError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)

_OLD = "DELETE FROM calls WHERE seq IN (SELECT seq FROM calls WHERE at < ? ORDER BY at LIMIT ?)"
_OVER = (
    "DELETE FROM calls WHERE seq IN "
    "(SELECT seq FROM calls WHERE seq <= (SELECT max(seq) FROM calls) - ? ORDER BY seq LIMIT ?)"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept, and how many of them at most."""

    days: float = 30.0
    rows: int = 1_000_000
    batch: int = 1000  # rows removed in one transaction, so that other workers wait milliseconds
    batches: int = 20  # of these at a time


class Store:
    """Writes rows to one file. Used by one thread only; `health` may be read by any."""

    def __init__(
        self,
        path: Path,
        retention: Retention | None = None,
        *,
        connect: Callable[[Path], sqlite3.Connection] = open_ledger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.health = Health("ledger")
        self.bad_rows = 0  # rows that no retry could have written
        self._path = path
        self._retention = retention or Retention()
        self._connect = connect
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file that is, or was last, open
        self._moved_aside = 0.0

    def write(self, rows: Sequence[Row]) -> bool:
        """Write all rows in one transaction, or none and return False: then keep them and try again later."""
        return self._guarded(lambda db: self._insert(db, rows))

    def prune(self) -> None:
        """Remove some of the rows that are too old or too many."""
        self._guarded(self._delete)

    def close(self) -> None:
        """Close the file; the next write would open it again."""
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error:
                logger.debug("closing the ledger failed; whatever was committed is on disk")

    def _guarded(self, work: Callable[[sqlite3.Connection], None]) -> bool:
        """Do `work`, once more on a new file if the old one was corrupt; say whether it was done."""
        try:
            self._work(work)
        except _TROUBLE as error:
            if not (is_corrupt(error) and self._move_aside()):
                return self._failed(error)
            try:
                self._work(work)
            except _TROUBLE as again:
                return self._failed(again)
        self.health.well()
        return True

    def _work(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            work(self._opened())
        except BaseException:
            self.close()
            raise

    def _failed(self, error: Exception) -> bool:
        self.health.failing(reason(error))
        return False

    def _opened(self) -> sqlite3.Connection:
        """The connection, a new one if the file was deleted or replaced under us: SQLite itself would not notice."""
        if self._db is not None and self._identity != _identity(self._path):
            logger.warning("ledger: its file was removed or replaced; a new one is begun where it is missing")
            self.close()
        if self._db is None:
            with _alone(self._path):
                self._identity = _identity(self._path)
                self._db = self._connect(self._path)
                self._identity = _identity(self._path)
        return self._db

    def _move_aside(self) -> bool:
        """Move a corrupt file out of the way; False if that may not help.

        Another worker may have done so already: then the file that is there now is a good one and stays. Not more than
        once a minute, or a dying disk would be filled with bad files.
        """
        now = self._clock()
        if now - self._moved_aside < 60:
            return False
        aside = self._path.with_name(f"{self._path.name}.corrupt-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S%f}")
        try:
            with _alone(self._path):
                if _identity(self._path) == self._identity:
                    _rename(self._path, aside)
                    logger.warning("ledger: corrupt; moved to %s, a new one is begun", aside.name)
        except OSError:
            return False
        self._moved_aside = now
        return True

    def _insert(self, db: sqlite3.Connection, rows: Sequence[Row]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            _insert_wide(db, rows)
        except _BAD_ROW:
            db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            self._insert_each(db, rows)
        db.execute("COMMIT")

    def _insert_each(self, db: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """One bad row must not cost the others: clean each, and leave out what still cannot be written."""
        for row in rows:
            try:
                db.execute(INSERT, cleaned(row))
            except _BAD_ROW:
                self.bad_rows += 1

    def _delete(self, db: sqlite3.Connection) -> None:
        keep = self._retention
        oldest = self._clock() - keep.days * 86400
        for statement, bound in ((_OLD, oldest), (_OVER, keep.rows)):
            for _ in range(keep.batches):
                if db.execute(statement, (bound, keep.batch)).rowcount < keep.batch:
                    break


def _insert_wide(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    wide = len(rows) - len(rows) % WIDE
    for start in range(0, wide, WIDE):
        db.execute(INSERT_WIDE, tuple(chain.from_iterable(rows[start : start + WIDE])))
    db.executemany(INSERT, rows[wide:])


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at this path, if any."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other worker opens the file or moves it aside meanwhile; one that did would meet half of a change."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _rename(path: Path, aside: Path) -> None:
    """Move the file and what belongs to it; a WAL left behind would be read into the new file."""
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
