"""The SQLite file that entries lie in, as the one thread that uses it sees it.

Eviction is GDSF (Cherkasova 1998): priority = L + hits * cost / size, and what has the lowest goes first. L is the
priority of what went last, so that what was once popular grows old.

Room is made before anything is written, so the file is never full by itself: by the sum of what the entries take, and
by the pages in use, because rows lie thinly where others were removed. What one transaction writes is kept below half
of what the log (SQLite's WAL) may hold, for the log counts as well.

There is one table, with two indexes: each costs as much as the row itself. So what is past its end is found by looking
at some rows with each write and now and then, and the sums are one row that each transaction brings up to date.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from caching.entry import Entry
from caching.errors import Unfaithful
from caching.stores import Cutoffs, Selection

APPLICATION = 0x534C4345
VERSION = 3
LAST_ID = 2**63 - 1  # the highest an entry may have
PAGE = 4096  # bytes
CACHE_KB = 8192  # of pages that SQLite keeps in memory
MINIMUM_PAGES = 128  # the tables' own pages, so that a tiny bound is not already passed by them
LOG_PAGES = (64, 4096)  # the log's size, at least and at most; between them a tenth of the bound
ROW_BYTES = 200  # what an entry takes beside its body: its other columns and two indexes
ROW_PAGES = 6  # pages that one entry may change: in the table, the indexes, and where another makes room for it
WIDE = 64  # rows in one statement
SLICE = 2048  # rows looked at in one piece of work, so that a call that waits for the thread waits milliseconds
READ_AT_ONCE = 256  # entries read whole
PURGED_AT_ONCE = 128  # rows, or free pages: wiping them costs ten times as much as looking
EVICTED_AT_ONCE = 1024  # entries one transaction may push out at most
LOOKED_AT = 1024  # entries looked at now and then for those past their end
OLDEST = 16  # entries that each write looks at for those past their end; and two more for each that it brings
LARGEST = 3 / 4  # of the bound; a larger entry is not kept. An answer of half of it always is, with all beside it

_TABLES = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    tags TEXT NOT NULL,
    created REAL NOT NULL,
    dies REAL NOT NULL,
    size INTEGER NOT NULL,
    cost REAL NOT NULL,
    hits INTEGER NOT NULL,
    priority REAL NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX entries_by_priority ON entries (priority);
CREATE TABLE purges (seq INTEGER PRIMARY KEY, at REAL NOT NULL, selection TEXT NOT NULL);
CREATE TABLE sums (entries INTEGER NOT NULL, bytes INTEGER NOT NULL, last_id INTEGER NOT NULL);
INSERT INTO sums VALUES (0, 0, 0);
"""
_COLUMNS = 12
_INLINE = PAGE - 35  # the longest row that lies whole in a page
_SHARED = (PAGE - 12) * 32 // 255 - 23  # of a longer row, the least that lies in a shared page
_IN_ROW = 110  # bytes of a row beside its body
_FITS = (
    "(:tenant IS NULL OR tenant = :tenant) AND (:namespace IS NULL OR namespace = :namespace) "
    "AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag)) "
    "AND (:made_by IS NULL OR created <= :made_by)"
)
_SELECTED = f"id > :after AND id <= :until AND {_FITS}"


class Foreign(sqlite3.DatabaseError):
    """The file is another program's database; it is neither used nor moved."""


class OtherVersion(sqlite3.DatabaseError):
    """The file is ours, from another release: of a cache that is as good as corrupt."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much the file may hold, and for how long."""

    max_bytes: int
    retention: float  # seconds since it was made that an entry lies on disk at most

    @property
    def pages(self) -> int:
        """Pages the file may have. With the log it takes less than a fifth more than the bound."""
        return max(MINIMUM_PAGES, int(1.08 * self.max_bytes) // PAGE)

    @property
    def crowded(self) -> int:
        """Pages in use above which more goes out than comes in."""
        return max(MINIMUM_PAGES // 2, self.max_bytes // PAGE)

    @property
    def log_pages(self) -> int:
        """Pages the log may have."""
        least, most = LOG_PAGES
        return min(most, max(least, self.max_bytes // 10 // PAGE))


def connect(path: Path, busy: float) -> sqlite3.Connection:
    """Open the file, made 0600 in a folder of 0700 if need be; a lock is waited for `busy` seconds.

    Raises sqlite3.Error, OSError. Each statement is its own transaction unless BEGIN says otherwise.
    """
    _create(path)
    db = sqlite3.connect(path, timeout=busy, isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _check(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        with transaction(db):  # processes that start together take turns
            if _check(db) == 0:
                _build(db)
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


def _check(db: sqlite3.Connection) -> int:
    """The file's version, 0 if nothing is in it yet. Raises Foreign, OtherVersion."""
    application = number(db, "PRAGMA application_id")
    version = number(db, "PRAGMA user_version")
    if application != APPLICATION:
        if application or number(db, "SELECT count(*) FROM sqlite_master"):
            raise Foreign("another program's file")
        return 0
    if version != VERSION:
        raise OtherVersion(f"of version {version}")
    return version


def _build(db: sqlite3.Connection) -> None:
    for statement in _statements(_TABLES):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def _statements(script: str) -> Iterator[str]:
    """Its statements; executescript would end the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def number(db: sqlite3.Connection, sql: str, *values: object) -> int:
    """The one whole number this asks for; 0 for none."""
    row = db.execute(sql, values).fetchone()
    return int(row[0] or 0) if row else 0


class Table:
    """The entries in one open file."""

    def __init__(self, db: sqlite3.Connection, bounds: Bounds) -> None:
        self.db = db
        self.cutoffs = Cutoffs()
        self._bounds = bounds
        self._entries, self._bytes, self.last_id = self._sums()  # as of the last transaction; the youngest entry's id
        self._hand = 0  # the id up to which the entries were looked at for those past their end
        self._seen = -1  # of data_version: it changes when another connection writes
        self._purged = 0  # the number of the last purge that `cutoffs` knows
        self._hits: dict[bytes, int] = {}
        row = db.execute("SELECT min(priority) FROM entries").fetchone()
        self._age = float(row[0] or 0.0)  # GDSF's L
        db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {bounds.log_pages // 2}")
        db.execute(f"PRAGMA journal_size_limit = {bounds.log_pages * PAGE}")
        db.execute("PRAGMA secure_delete = FAST")
        self.follow()

    # What others did.

    def follow(self) -> bool:
        """Take note of others' purges; say whether another connection wrote since the last time."""
        version = number(self.db, "PRAGMA data_version")
        if version == self._seen:
            return False
        self._seen = version
        for seq, at, selection in self.purges(self._purged):
            self.cutoffs.add(selection, at)
            self._purged = seq
        return True

    def purges(self, after: int) -> list[tuple[int, float, Selection]]:
        """All purges with a higher number."""
        rows = self.db.execute("SELECT seq, at, selection FROM purges WHERE seq > ? ORDER BY seq", (after,))
        return [(seq, at, _selection(text)) for seq, at, text in rows]

    def younger(self, after: int) -> tuple[list[bytes], int]:
        """The next keys of entries above this id, and the id of the last of them; none: the same id."""
        rows = self.db.execute(
            "SELECT key, id FROM entries WHERE id > ? ORDER BY id LIMIT ?", (after, SLICE)
        ).fetchall()
        return [row[0] for row in rows], rows[-1][1] if rows else after

    def keys(self, after: bytes) -> list[bytes]:
        """The next keys above this one. Read from the index: the entries themselves are a hundred times as much."""
        rows = self.db.execute("SELECT key FROM entries WHERE key > ? ORDER BY key LIMIT ?", (after, SLICE))
        return [row[0] for row in rows]

    # One call's work.

    def get(self, key: bytes, now: float) -> Entry | None:
        """The entry under this key; whatever else lies there is removed."""
        row = self.db.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        entry = _entry(key, row[0])
        if entry is None or not self._keeps(entry, now):
            self.drop([key])
            return None
        self._hits[key] = self._hits.get(key, 0) + 1
        return entry

    def newest(self, before: int, now: float) -> tuple[list[Entry], int]:
        """Of the next entries below this id those that may still be used, newest first, and the last id; 0: no more."""
        self.follow()
        rows = self.db.execute(
            "SELECT id, key, value FROM entries WHERE id < ? ORDER BY id DESC LIMIT ?", (before, READ_AT_ONCE)
        ).fetchall()
        entries = [Entry.loads(key, value) for _, key, value in rows if isinstance(value, bytes)]
        usable = [entry for entry in entries if entry is not None and self._keeps(entry, now)]
        return usable, rows[-1][0] if len(rows) == READ_AT_ONCE else 0

    def drop(self, keys: Sequence[bytes]) -> None:
        """Forget these keys."""
        with self._writing():
            self._delete_keys(keys)

    def put(self, entries: Sequence[Entry], now: float) -> list[bytes]:
        """Keep what can be kept, in as few transactions as the log has room for; the keys of what was."""
        keep = self._bounds.retention
        last = {entry.key: entry for entry in entries}.values()  # of two under one key, the later
        rows = [row for entry in last if self._keeps(entry, now) and (row := _row(entry, keep)) is not None]
        kept: list[bytes] = []
        for some in _portions(rows, self._bounds.log_pages // 2):
            try:
                kept += self._put(some, now)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                self._relieve()
                kept += self._put(some, now)
        return kept

    def _put(self, rows: Sequence[_Row], now: float) -> list[bytes]:
        if len(rows) == 1 and rows[0].pages > self._bounds.log_pages // 2:
            self._make_way(rows[0])
        with self._writing():
            rows = [row for row in rows if not self.cutoffs.refuse(row.entry)]
            self._flush()
            self._expire(now, OLDEST + 2 * len(rows))
            self._delete_keys([row.entry.key for row in rows])
            rows = self._admit(rows)
            self._insert(rows)
        self._give_back()
        return [row.entry.key for row in rows]

    def _keeps(self, entry: Entry, now: float) -> bool:
        return entry.usable(now) and entry.created > now - self._bounds.retention and not self.cutoffs.refuse(entry)

    def _admit(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """Those for which there is room, after what is worth least was pushed out."""
        limit = self._bounds.max_bytes
        rows = [row for row in rows if row.size <= limit * LARGEST]
        incoming, pages = sum(row.size for row in rows), sum(row.pages for row in rows)
        left = self._evict(self._bytes + incoming - limit, EVICTED_AT_ONCE)
        if self._pages_in_use() > self._bounds.crowded:
            left = self._evict(min(2 * incoming, self._bytes), left)
        while left and self._pages_in_use() + pages > self._bounds.pages:
            left = self._evict(incoming, left)
        return rows if left else []

    def _make_way(self, row: _Row) -> None:
        """Push out what a large entry needs the room of, in steps: in one they would fill the log."""
        limit, pages = self._bounds.max_bytes, self._bounds.crowded - row.pages
        step = min(row.size, self._bounds.log_pages // 2 * PAGE)
        while row.size <= limit * LARGEST and (self._bytes + row.size > limit or self._pages_in_use() > pages):
            before = self._entries
            with self._writing():
                self._evict(step, EVICTED_AT_ONCE)
            if self._entries >= before:
                return

    def _insert(self, rows: Sequence[_Row]) -> None:
        """One statement for many rows: the interpreter's lock is given up and asked for once a statement."""
        for start in range(0, len(rows), WIDE):
            some = rows[start : start + WIDE]
            values = [
                value for id_, row in enumerate(some, self.last_id + 1) for value in (id_, *row.values(self._age))
            ]
            self.db.execute(f"INSERT INTO entries VALUES {_holes(len(some), _COLUMNS)}", values)  # noqa: S608 - marks
            self.last_id += len(some)
        self._entries += len(rows)
        self._bytes += sum(row.size for row in rows)

    def _delete_keys(self, keys: Sequence[bytes]) -> None:
        for start in range(0, len(keys), WIDE):
            some = keys[start : start + WIDE]
            self._delete(f"key IN {_holes(1, len(some))}", some)

    def _delete(self, which: str, values: Sequence[object] | dict[str, object]) -> tuple[int, int]:
        """Remove entries inside a transaction; how many, and how many bytes."""
        sizes = self.db.execute(f"DELETE FROM entries WHERE {which} RETURNING size", values).fetchall()  # noqa: S608 - marks
        count, size = len(sizes), sum(row[0] for row in sizes)
        self._entries -= count
        self._bytes -= size
        return count, size

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Change entries: all of it or nothing. What others did before is known inside, and the sums follow."""
        with transaction(self.db):
            self.follow()
            before = self._entries, self._bytes, self.last_id = self._sums()
            yield
            after = self._entries, self._bytes, self.last_id
            if after != before:
                self.db.execute("UPDATE sums SET entries = ?, bytes = ?, last_id = ?", after)

    # Housekeeping.

    def sums(self) -> tuple[int, int]:
        """How many entries are here, and how many bytes of the file they take."""
        return self._sums()[:2]

    def _sums(self) -> tuple[int, int, int]:
        entries, size, last_id = self.db.execute("SELECT entries, bytes, last_id FROM sums").fetchone()
        return entries, size, last_id

    @property
    def touched(self) -> int:
        """How many keys have hits that are not yet in the file."""
        return len(self._hits)

    def touch(self, hits: dict[bytes, int]) -> None:
        """Count hits that were served from elsewhere."""
        for key, count in hits.items():
            self._hits[key] = self._hits.get(key, 0) + count

    def flush(self) -> None:
        """Write down the hits; a popular entry rises."""
        with transaction(self.db):
            self._flush()

    def _flush(self) -> None:
        if self._hits:
            rows = [(count, self._age, count, key) for key, count in self._hits.items()]
            self.db.executemany(
                "UPDATE entries SET hits = hits + ?, priority = ? + (hits + ?) * cost / size WHERE key = ?", rows
            )
            self._hits.clear()

    def expire(self, now: float) -> None:
        """Remove what is past its end, of the oldest entries and of a slice of the others."""
        oldest, _ = self._past(0, now, OLDEST)
        past, hand = self._past(self._hand, now, LOOKED_AT)
        if oldest or past:  # else nothing is written
            with self._writing():
                self._delete_ids([*oldest, *past])
        self._hand = hand

    def clear(self) -> bool:
        """Remove some entries, whichever, or give back some of the room they took; say whether there is more."""
        if self.sums()[0]:
            self.wipe(True)
            with self._writing():
                self._delete("id IN (SELECT id FROM entries LIMIT ?)", (PURGED_AT_ONCE,))
            return True
        return number(self.db, "PRAGMA freelist_count") > 0 and self.shrink()

    def _expire(self, now: float, most: int) -> None:
        """Remove what is past its end, of the oldest entries and of the next ones in turn."""
        oldest, _ = self._past(0, now, OLDEST)  # the retention ends in the order in which entries came
        past, self._hand = self._past(self._hand, now, most)
        self._delete_ids([*oldest, *past])

    def _past(self, after: int, now: float, most: int) -> tuple[list[int], int]:
        """Of the entries above this id those past their end, and the id of the last one looked at; 0 at the end.

        The retention may have become shorter since an entry was put.
        """
        sql = "SELECT id, min(dies, created + ?) FROM entries WHERE id > ? ORDER BY id LIMIT ?"
        rows = self.db.execute(sql, (self._bounds.retention, after, most)).fetchall()
        return [id_ for id_, end in rows if end < now], rows[-1][0] if len(rows) == most > 0 else 0

    def _evict(self, wanted: int, most: int) -> int:
        """Remove what is worth least until `wanted` bytes are free; how many of these `most` could go still, then."""
        while wanted > 0 and most > 0:
            rows = self.db.execute(
                "SELECT id, size, priority FROM entries ORDER BY priority LIMIT ?", (min(WIDE, most),)
            ).fetchall()
            if not rows:
                return 0
            count = 0
            while count < len(rows) and wanted > 0:
                wanted -= rows[count][1]
                count += 1
            self._delete_ids([row[0] for row in rows[:count]])
            self._age = max(self._age, rows[count - 1][2])
            most -= count
        return most if wanted <= 0 else 0

    def _delete_ids(self, ids: Sequence[int]) -> None:
        if ids:
            self._delete("id IN (SELECT value FROM json_each(?))", (orjson.dumps(ids).decode(),))

    def _relieve(self) -> None:
        """On a full disk: give back the log's bytes, and make room in the file."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with self._writing():
            self._evict(self._bounds.max_bytes // 20, EVICTED_AT_ONCE)

    def _give_back(self) -> None:
        """Shrink a file from a larger bound, step by step."""
        if number(self.db, "PRAGMA page_count") > self._bounds.pages:
            self._vacuum()

    def _vacuum(self) -> None:
        """Give some free pages back to the file system. Only a script runs on to the end: execute frees one page."""
        self.db.executescript(f"PRAGMA incremental_vacuum({PURGED_AT_ONCE})")

    def _pages_in_use(self) -> int:
        return number(self.db, "PRAGMA page_count") - number(self.db, "PRAGMA freelist_count")

    # Purges.

    def note_purge(self, selection: Selection, now: float) -> int:
        """Record a purge before it is done, so that nothing selected is read or written from now on; its number.

        The number is the time in milliseconds where it can be: it goes on rising when the file was begun anew.
        """
        text = json.dumps(selection.as_dict())
        with transaction(self.db):
            self.follow()
            seq = max(int(now * 1000), number(self.db, "SELECT max(seq) FROM purges") + 1)
            self.db.execute("DELETE FROM purges WHERE at < ?", (now - self._bounds.retention,))  # nothing is that old
            self.db.execute("INSERT INTO purges VALUES (?, ?, ?)", (seq, now, text))
        self.cutoffs.add(selection, now)
        self._purged = seq
        return seq

    def purge(self, selection: Selection, after: int, now: float, *, dry_run: bool) -> tuple[int, int, int]:
        """Purge one slice of the entries above this id: how many, how many bytes, and the last id; 0 at the end."""
        rows = (SLICE if dry_run else PURGED_AT_ONCE) - 1
        until = number(self.db, "SELECT id FROM entries WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?", after, rows)
        made_by = None if selection.older_than is None else now - selection.older_than
        which: dict[str, object] = {
            "tenant": selection.tenant,
            "namespace": selection.namespace,
            "tag": selection.tag,
            "made_by": made_by,
            "after": after,
            "until": until or LAST_ID,
        }
        if dry_run:
            found = self._counted(which)
        else:
            with self._writing():
                found = self._delete(_SELECTED, which)
        return *found, until

    def _counted(self, which: dict[str, object]) -> tuple[int, int]:
        sql = f"SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE {_SELECTED}"  # noqa: S608 - ours
        count, size = self.db.execute(sql, which).fetchone()
        return count, size

    def wipe(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Overwrite what is deleted from now on, also where that costs writes: a purge leaves nothing to be read."""
        self.db.execute(f"PRAGMA secure_delete = {'ON' if on else 'FAST'}")

    def shrink(self) -> bool:
        """Give some free pages back to the file system; say whether there are more."""
        self._vacuum()
        if number(self.db, "PRAGMA freelist_count"):
            return True
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the log holds what was deleted, too
        return False


@dataclass(frozen=True, slots=True)
class _Row:
    entry: Entry
    data: bytes
    size: int
    dies: float

    @property
    def pages(self) -> int:
        """Pages that writing it may change."""
        return ROW_PAGES + len(self.data) // PAGE

    def values(self, age: float) -> tuple[object, ...]:
        """The columns but the id."""
        entry = self.entry
        tags = orjson.dumps(entry.tags).decode()
        priority = age + coarse(entry.cost / self.size)
        names = (entry.key, entry.tenant, entry.namespace, tags)
        return (*names, entry.created, self.dies, self.size, entry.cost, 1, priority, self.data)


def _portions(rows: Sequence[_Row], pages: int) -> Iterator[Sequence[_Row]]:
    """Cut into runs that change about this many pages each."""
    start = taken = 0
    for at, row in enumerate(rows):
        if at > start and taken + row.pages > pages:
            yield rows[start:at]
            start, taken = at, 0
        taken += row.pages
    yield rows[start:]


def coarse(value: float) -> float:
    """Round to steps of about the root of two.

    Entries put one after the other then lie side by side in the index of priorities, and a write changes few of its
    pages: a sixth of what a put costs.
    """
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(fraction * 4) / 4, exponent)


def _holes(rows: int, columns: int) -> str:
    return ", ".join(["(" + ", ".join("?" * columns) + ")"] * rows)


def _selection(text: str) -> Selection:
    """What a purge selected; everything, if a later release wrote it in words that are not known here."""
    try:
        return Selection.of(json.loads(text))
    except (TypeError, ValueError):
        return Selection()


def _entry(key: bytes, value: object) -> Entry | None:
    """What lies in a row; somebody may have written anything there."""
    return Entry.loads(key, value) if isinstance(value, bytes) else None


def _row(entry: Entry, retention: float) -> _Row | None:
    try:
        data = entry.dumps()
    except Unfaithful:
        return None
    return _Row(entry, data, disk_bytes(len(data)), min(entry.dies, entry.created + retention))


def disk_bytes(length: int) -> int:
    """How much of the file a body of this length takes, with all that belongs to it.

    A page holds only whole bodies. Of one that is larger than a page, the end or some of it shares a page and the rest
    has pages of its own (SQLite's file format, 1.6).
    """
    row = length + _IN_ROW
    beside = ROW_BYTES - _IN_ROW
    if row <= _INLINE:
        return beside + PAGE // ((PAGE - 8) // row)
    shared = _SHARED + (row - _SHARED) % (PAGE - 4)
    if shared > _INLINE:
        shared = _SHARED
    return beside + shared + -(-(row - shared) // (PAGE - 4)) * PAGE
