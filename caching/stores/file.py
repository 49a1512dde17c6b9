"""The SQLite file that entries lie in, as the one thread that uses it sees it.

Eviction is GDSF (Cherkasova 1998): priority = L + hits * seconds / size, and what has the lowest goes first. L is the
priority of what went last, so that what was once popular grows old.

Entries and their bodies are two tables: what looks at many entries (eviction, purge, the filter) reads no bodies. The
sums are kept by triggers, so they are right whoever writes, this process or the command line.
"""

from __future__ import annotations

import json
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
VERSION = 1
PAGE = 8192  # a few answers a page; with SQLite's 4096 most pages hold one, and much of them is lost
MINIMUM_PAGES = 64  # the tables' own pages, so that a tiny bound is not already passed by them
ROW_BYTES = 360  # what an entry takes beside its body: its row, three indexes, and what their pages leave free
WIDE = 64  # rows in one statement
SLICE = 2048  # rows looked at in one piece of work, so that a call that waits for the thread waits milliseconds
PURGED_AT_ONCE = 128  # rows, or free pages: wiping them costs ten times as much as looking
EVICTED_AT_ONCE = 4096  # entries one transaction may push out at most
LARGEST_SHARE = 16  # an entry above this part of the bound is not kept: it would push out too many

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
    seconds REAL NOT NULL,
    hits INTEGER NOT NULL,
    priority REAL NOT NULL
);
CREATE INDEX entries_by_priority ON entries (priority);
CREATE INDEX entries_by_dies ON entries (dies);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE purges (seq INTEGER PRIMARY KEY, at REAL NOT NULL, selection TEXT NOT NULL);
CREATE TABLE sums (entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO sums VALUES (0, 0);
CREATE TRIGGER entry_in AFTER INSERT ON entries BEGIN
    UPDATE sums SET entries = entries + 1, bytes = bytes + new.size;
END;
CREATE TRIGGER entry_out AFTER DELETE ON entries BEGIN
    UPDATE sums SET entries = entries - 1, bytes = bytes - old.size;
    DELETE FROM bodies WHERE id = old.id;
END;
"""
_COLUMNS = 11
_INLINE = PAGE - 35  # the longest row that lies whole in a page
_SHARED = (PAGE - 12) * 32 // 255 - 23  # of a longer row, the least that lies in a shared page
_FITS = (
    "(:tenant IS NULL OR tenant = :tenant) AND (:namespace IS NULL OR namespace = :namespace) "
    "AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag)) "
    "AND (:made_by IS NULL OR created <= :made_by)"
)
_SELECTED = f"FROM entries WHERE id > :after AND id <= :until AND {_FITS}"


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
        """Pages above which SQLite itself refuses: a fifth more than the bound, for what lies between the rows."""
        return max(MINIMUM_PAGES, int(1.2 * self.max_bytes) // PAGE)

    @property
    def crowded(self) -> int:
        """Pages in use above which more goes out than comes in."""
        return max(MINIMUM_PAGES // 2, int(1.1 * self.max_bytes) // PAGE)


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
        db.execute("PRAGMA journal_size_limit = 16777216")
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
        self.last_id = number(db, "SELECT max(id) FROM entries")  # of the youngest entry this table knows of
        self._bounds = bounds
        self._seen = -1  # of data_version: it changes when another connection writes
        self._purged = 0  # the number of the last purge that `cutoffs` knows
        self._hits: dict[bytes, int] = {}
        row = db.execute("SELECT min(priority) FROM entries").fetchone()
        self._age = float(row[0] or 0.0)  # GDSF's L
        limit = min(bounds.pages, number(db, "PRAGMA max_page_count"))
        db.execute(f"PRAGMA max_page_count = {limit}")
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

    def keys(self, after: int) -> tuple[list[bytes], int]:
        """The next keys of entries above this id, and the id of the last of them; none: the same id."""
        rows = self.db.execute(
            "SELECT key, id FROM entries WHERE id > ? ORDER BY id LIMIT ?", (after, SLICE)
        ).fetchall()
        return [row[0] for row in rows], rows[-1][1] if rows else after

    # One call's work.

    def get(self, key: bytes, now: float) -> Entry | None:
        """The entry under this key; whatever else lies there is removed."""
        row = self.db.execute(
            "SELECT b.value FROM entries e JOIN bodies b USING (id) WHERE e.key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        entry = Entry.loads(key, row[0]) if isinstance(row[0], bytes) else None
        if entry is None or not self._keeps(entry, now):
            self.drop([key])
            return None
        self._hits[key] = self._hits.get(key, 0) + 1
        return entry

    def drop(self, keys: Sequence[bytes]) -> None:
        """Forget these keys."""
        with transaction(self.db):
            self._delete_keys(keys)

    def put(self, entries: Sequence[Entry], now: float) -> list[bytes]:
        """Keep what can be kept, in one transaction; the keys of what was."""
        keep = self._bounds.retention
        last = {entry.key: entry for entry in entries}.values()  # of two under one key, the later
        rows = [row for entry in last if self._keeps(entry, now) and (row := _row(entry, keep)) is not None]
        try:
            return self._put(rows, now)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            with transaction(
                self.db
            ):  # at the page limit before the sum is: rows lie thinly. On a full disk it helps too.
                self._evict(self._bounds.max_bytes // 20)
            return self._put(rows, now)

    def _put(self, rows: Sequence[_Row], now: float) -> list[bytes]:
        with transaction(self.db):
            self.follow()
            rows = [row for row in rows if not self.cutoffs.refuse(row.entry)]
            self.flush()
            self._expire(now, 64 + 2 * len(rows))
            rows = self._admit(rows)
            self._delete_keys([row.entry.key for row in rows])
            self._insert(rows)
        return [row.entry.key for row in rows]

    def _keeps(self, entry: Entry, now: float) -> bool:
        return entry.usable(now) and entry.created > now - self._bounds.retention and not self.cutoffs.refuse(entry)

    def _admit(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """Those for which there is room, after what is worth least was pushed out."""
        limit = self._bounds.max_bytes
        rows = [row for row in rows if row.size <= limit // LARGEST_SHARE]
        incoming = sum(row.size for row in rows)
        over = self.sums()[1] + incoming - limit
        if over > 0:
            over = self._evict(over + limit // 20, at_least=over)
        elif self._pages_in_use() > self._bounds.crowded:
            self._evict(2 * incoming)
        return rows if over <= 0 else []

    def _insert(self, rows: Sequence[_Row]) -> None:
        """Two statements for many rows: the interpreter's lock is given up and asked for once a statement."""
        for start in range(0, len(rows), WIDE):
            some = rows[start : start + WIDE]
            first = number(self.db, "SELECT max(id) FROM entries") + 1
            ids = range(first, first + len(some))
            values = [value for id_, row in zip(ids, some, strict=True) for value in (id_, *row.values(self._age))]
            self.db.execute(f"INSERT INTO entries VALUES {_holes(len(some), _COLUMNS)}", values)  # noqa: S608 - marks
            bodies = [value for id_, row in zip(ids, some, strict=True) for value in (id_, row.data)]
            self.db.execute(f"INSERT INTO bodies VALUES {_holes(len(some), 2)}", bodies)  # noqa: S608 - marks
            self.last_id = ids[-1]

    def _delete_keys(self, keys: Sequence[bytes]) -> None:
        for start in range(0, len(keys), WIDE):
            some = keys[start : start + WIDE]
            self.db.execute(f"DELETE FROM entries WHERE key IN {_holes(1, len(some))}", some)  # noqa: S608 - marks

    # Housekeeping.

    def sums(self) -> tuple[int, int]:
        """How many entries are here, and how many bytes of the file they take."""
        entries, size = self.db.execute("SELECT entries, bytes FROM sums").fetchone()
        return entries, size

    @property
    def touched(self) -> int:
        """How many keys have hits that are not yet in the file."""
        return len(self._hits)

    def touch(self, hits: dict[bytes, int]) -> None:
        """Count hits that were served from elsewhere."""
        for key, count in hits.items():
            self._hits[key] = self._hits.get(key, 0) + count

    def flush(self) -> None:
        """Write down the hits; a popular entry rises. Inside a transaction."""
        if self._hits:
            rows = [(count, self._age, count, key) for key, count in self._hits.items()]
            self.db.executemany(
                "UPDATE entries SET hits = hits + ?, priority = ? + (hits + ?) * seconds / size WHERE key = ?", rows
            )
            self._hits.clear()

    def _expire(self, now: float, most: int) -> None:
        """Remove some of what is past its end."""
        self.db.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE dies < ? ORDER BY dies LIMIT ?)", (now, most)
        )

    def _evict(self, wanted: int, at_least: int = 0) -> int:
        """Remove what is worth least until `wanted` bytes are free, but no more entries than one call may wait for.

        Beyond `at_least` bytes it stops at 64 entries. Gives what is missing to `at_least`: 0 or less if nothing is.
        """
        freed = gone = 0
        while gone < EVICTED_AT_ONCE and (freed < at_least or (freed < wanted and gone < 64)):
            rows = self.db.execute("SELECT id, size, priority FROM entries ORDER BY priority LIMIT 64").fetchall()
            if not rows:
                break
            count, batch = 0, 0
            while count < len(rows) and (freed + batch < at_least or freed + batch < wanted):
                batch += rows[count][1]
                count += 1
            self._delete_ids([row[0] for row in rows[:count]])
            self._age = max(self._age, rows[count - 1][2])
            freed, gone = freed + batch, gone + count
        return at_least - freed

    def _delete_ids(self, ids: Sequence[int]) -> None:
        self.db.execute(
            "DELETE FROM entries WHERE id IN (SELECT value FROM json_each(?))", (orjson.dumps(ids).decode(),)
        )

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
            "until": until or 2**63 - 1,
        }
        if dry_run:
            found = self._counted(which)
        else:
            with transaction(self.db):
                found = self._counted(which)
                if found[0]:
                    self.db.execute(f"DELETE {_SELECTED}", which)
        return *found, until

    def _counted(self, which: dict[str, object]) -> tuple[int, int]:
        count, size = self.db.execute(f"SELECT count(*), coalesce(sum(size), 0) {_SELECTED}", which).fetchone()
        return count, size

    def wipe(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Overwrite what is deleted from now on, also where that costs writes: a purge leaves nothing to be read."""
        self.db.execute(f"PRAGMA secure_delete = {'ON' if on else 'FAST'}")

    def shrink(self) -> bool:
        """Give some free pages back to the file system; say whether there are more."""
        self.db.execute(f"PRAGMA incremental_vacuum({PURGED_AT_ONCE})").fetchall()
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

    def values(self, age: float) -> tuple[object, ...]:
        """The columns but the id."""
        entry = self.entry
        tags = orjson.dumps(entry.tags).decode()
        priority = age + entry.seconds / self.size
        names = (entry.key, entry.tenant, entry.namespace, tags)
        return (*names, entry.created, self.dies, self.size, entry.seconds, 1, priority)


def _holes(rows: int, columns: int) -> str:
    return ", ".join(["(" + ", ".join("?" * columns) + ")"] * rows)


def _selection(text: str) -> Selection:
    """What a purge selected; everything, if a later release wrote it in words that are not known here."""
    try:
        return Selection.of(json.loads(text))
    except (TypeError, ValueError):
        return Selection()


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
    row = length + 12
    if row <= _INLINE:
        return ROW_BYTES + PAGE // ((PAGE - 8) // row)
    shared = _SHARED + (row - _SHARED) % (PAGE - 4)
    if shared > _INLINE:
        shared = _SHARED
    return ROW_BYTES + shared + -(-(row - shared) // (PAGE - 4)) * PAGE
