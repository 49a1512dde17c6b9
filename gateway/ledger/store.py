"""The ledger's file as the recorder writes it, with its troubles and how it gets over them.

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
from datetime import UTC, datetime
from pathlib import Path

from gateway.ledger import backfill, blocks, retention, wide
from gateway.ledger.health import Health, is_corrupt, reason
from gateway.ledger.retention import Retention, SteadyClock
from gateway.ledger.rows import COLUMNS, Content, Row, cleaned
from gateway.ledger.schema import open_ledger
from gateway.ledger.sums import SPANS, Sums

logger = logging.getLogger(__name__)

INTO = f"calls ({', '.join(COLUMNS)})"
_LAST = "SELECT max(seq) FROM calls"

_TROUBLE = (sqlite3.Error, OSError)
_BAD_ROW = (OverflowError, UnicodeError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class Store:
    """Writes rows to one file. Used by one thread only; `health` may be read by any."""

    def __init__(
        self,
        path: Path,
        keep: Retention | None = None,
        *,
        connect: Callable[[Path], sqlite3.Connection] = open_ledger,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float | None] | None = None,
    ) -> None:
        """`steady` gives the time by which old rows are known, or None while it is not to be trusted."""
        self.health = Health("ledger")
        self.bad_rows = 0  # rows that no retry could have written
        self._path = path
        self.retention = keep or Retention()  # the next `prune` goes by it
        self._connect = connect
        self._clock = clock
        self._steady = steady or SteadyClock(clock)
        self._db: sqlite3.Connection | None = None
        self._sums: Sums | None = None  # of this connection
        self._identity: tuple[int, int] | None = None  # of the file that is, or was last, open
        self._moved_aside = 0.0

    def write(self, rows: Sequence[Row], contents: Sequence[Content | None] = ()) -> bool:
        """Write all rows in one transaction, or none and return False: then keep them and try again later.

        `contents`, if there are any, are as many as rows: the request and the answer of each, or None.
        """
        return self._guarded(lambda db: self._insert(db, lambda _: rows, contents))

    def write_chosen(
        self, choose: Callable[[sqlite3.Connection], Sequence[Row]], contents: Sequence[Content | None] = ()
    ) -> bool:
        """Write the rows that `choose` finds, in one transaction with what it writes itself; False if nothing was.

        It is asked again where a transaction is done again. `contents` as in `write`, of all the rows it may find.
        """
        return self._guarded(lambda db: self._insert(db, choose, contents))

    def prune(self) -> None:
        """Remove some of the rows that are too old or too many, and sum some of those that an older release wrote."""
        self._guarded(self._tidy)

    def close(self) -> None:
        """Close the file; the next write would open it again."""
        db, self._db, self._sums = self._db, None, None
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

    def _insert(
        self,
        db: sqlite3.Connection,
        choose: Callable[[sqlite3.Connection], Sequence[Row]],
        contents: Sequence[Content | None] = (),
    ) -> None:
        db.execute("BEGIN IMMEDIATE")
        rows = choose(db)
        try:
            wide.insert(db, INTO, rows)
        except _BAD_ROW:
            db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            rows, contents = self._insert_each(db, choose(db), contents)
        account(db, self._summed(db), rows, contents)
        db.execute("COMMIT")

    def _insert_each(
        self, db: sqlite3.Connection, rows: Sequence[Row], contents: Sequence[Content | None]
    ) -> tuple[list[Row], list[Content | None]]:
        """One bad row must not cost the others: clean each, and leave out what still cannot be written."""
        written: list[Row] = []
        with_them: list[Content | None] = []
        for number, row in enumerate(map(cleaned, rows)):
            try:
                wide.insert(db, INTO, [row])
            except _BAD_ROW:
                self.bad_rows += 1
            else:
                written.append(row)
                with_them.append(contents[number] if contents else None)
        return written, with_them

    def _summed(self, db: sqlite3.Connection) -> Sums:
        if self._sums is None:
            self._sums = Sums(db)
        return self._sums

    def _tidy(self, db: sqlite3.Connection) -> None:
        retention.prune(db, self.retention, self._steady())
        backfill.step(db, self._summed(db))


def account(
    db: sqlite3.Connection,
    sums: Sums,
    rows: Sequence[Row],
    contents: Sequence[Content | None] = (),
    spans: Sequence[int] = SPANS,
) -> None:
    """Put rows that were just written into blocks and sums, and their contents beside them, in the same transaction."""
    if not rows:
        return
    first = db.execute(_LAST).fetchone()[0] - len(rows) + 1
    blocks.append(db, rows, first)
    sums.add(rows, spans)
    if any(contents):
        kept = [(first + n, *content) for n, content in enumerate(contents) if content is not None]
        db.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", kept)


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
