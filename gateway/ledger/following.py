"""Copies the rows of the fleet's other gateways from the stream into this one's ledger, each exactly once.

The position in the stream and the last number of every run are read and written in the transaction that writes the
rows: they say what the file holds, whatever ends in between. A file that is new reads the stream from its oldest entry,
so a machine that lost its disk gets back what the stream still has, its own rows of before included.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from caching.errors import StoreUnavailable
from gateway.ledger.blocks import unsorted
from gateway.ledger.fleet import known_id
from gateway.ledger.health import Health
from gateway.ledger.packing import FUTURE_SECONDS, Fields, Unpacked, Unpacker, Unreadable, columns, origin
from gateway.ledger.rows import COLUMNS, Row
from gateway.ledger.store import Store
from gateway.state import State

logger = logging.getLogger(__name__)

START = "0-0"
BATCH = 16  # entries read and written at once, some two thousand rows at most
IDLE_SECONDS = 1.0
CLOSING_SECONDS = 3.0
SETTLED_SECONDS = 60.0  # rows of our own that are younger may still come from the worker that holds them
FORGET_SECONDS = 40 * 86_400.0  # after which a run that says nothing is over

_TABLES = (
    "CREATE TABLE IF NOT EXISTS fleet_streams (stream TEXT PRIMARY KEY, position TEXT NOT NULL, born REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fleet_runs (run TEXT PRIMARY KEY, last INTEGER NOT NULL, at REAL NOT NULL)",
)
_GATEWAY = COLUMNS.index("gateway")


class Source(Protocol):
    """The stream as it is read. For one thread."""

    def read(self, after: str, most: int) -> list[tuple[str, Fields]]:
        """At most so many entries after this position, the oldest first. Raises StoreUnavailable."""
        ...

    def newest(self) -> str:
        """The last entry's position; START if there is none. Raises StoreUnavailable."""
        ...

    def close(self) -> None:
        """Let go of Redis."""
        ...


class Ledger(Protocol):
    """The file as it is written: `gateway.ledger.store.Store`. For one thread."""

    def write_chosen(self, choose: Callable[[sqlite3.Connection], Sequence[Row]]) -> bool:
        """Write the rows that `choose` finds, in one transaction with what it writes itself; False if nothing was."""
        ...

    def close(self) -> None:
        """Close the file; the next write would open it again."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a file has come with a stream, and since when it holds our own calls (Unix time)."""

    position: str
    born: float


class _Batch:
    """Some entries on their way into the file; called inside the transaction, again if that is done again."""

    def __init__(self, gateway: str, stream: str, now: float, place: _Place | None) -> None:
        self.place = place  # of the file, once called
        self._before = place
        self._gateway = gateway
        self._stream = stream
        self._now = now
        self._last = place.position if place else START
        self._entries: list[Unpacked] = []
        self._read = self._unreadable = self._copied = self._missed = 0

    @property
    def may_go_on(self) -> bool:
        """Say whether another batch may be ready."""
        return self._before is None or self._read == BATCH

    def counts(self) -> dict[str, int]:
        """What became of the entries' rows, and how many entries are missing; nothing if nothing was done."""
        is_done = self.place is not None and self.place.position == self._last
        skipped = self._unreadable + sum(entry.skipped for entry in self._entries)
        mended = sum(entry.mended for entry in self._entries)
        found = {"copied": self._copied, "skipped": skipped, "mended": mended, "missed": self._missed}
        return found if is_done else {}

    def rewound(self) -> _Batch:
        """The batch that sets the file back to the stream's beginning."""
        logger.warning("fleet ledger: Redis has lost the stream; it is read from its beginning")
        self._last = START
        return self

    def add(self, position: str, fields: Fields, unpacker: Unpacker, oldest: float) -> None:
        """Add the entry, if it is one to copy."""
        self._last = position
        self._read += 1
        try:
            if origin(fields)[0] != self._gateway or self._is_lost(position):
                self._entries.append(unpacker.unpack(fields, oldest, self._now + FUTURE_SECONDS))
        except Unreadable:
            self._unreadable += 1

    def __call__(self, db: sqlite3.Connection) -> list[Row]:
        """The rows that the file does not hold; none if it is not where we believe it to be."""
        self._missed = self._copied = 0
        self.place = self._found(db)
        if self.place != self._before:
            return []
        rows = [row for entry in self._entries for row in self._news(db, entry)]
        db.execute("DELETE FROM fleet_runs WHERE at < ?", (self._now - FORGET_SECONDS,))
        db.execute("UPDATE fleet_streams SET position = ? WHERE stream = ?", (self._last, self._stream))
        self.place = _Place(self._last, self.place.born)
        self._copied = len(rows)
        return rows

    def _found(self, db: sqlite3.Connection) -> _Place:
        """Where the file is; its tables are made where they are missing."""
        for table in _TABLES:
            db.execute(table)
        sql = "SELECT position, born FROM fleet_streams WHERE stream = ?"
        found = db.execute(sql, (self._stream,)).fetchone()
        if found is None:
            found = START, _born(db, self._now)
            db.execute("INSERT INTO fleet_streams VALUES (?, ?, ?)", (self._stream, *found))
        return _Place(*found)

    def _news(self, db: sqlite3.Connection, entry: Unpacked) -> Iterator[Row]:
        """The entry's rows, if its run has not come so far before."""
        known = db.execute("SELECT last FROM fleet_runs WHERE run = ?", (entry.run,)).fetchone()
        if known and entry.number <= known[0]:
            return
        self._missed += entry.number - known[0] - 1 if known else 0
        db.execute("INSERT OR REPLACE INTO fleet_runs VALUES (?, ?, ?)", (entry.run, entry.number, self._now))
        if entry.gateway == self._gateway:  # none stands for this gateway in its own file
            yield from ((*row[:_GATEWAY], "", *row[_GATEWAY + 1 :]) for row in entry.rows)
        else:
            yield from entry.rows

    def _is_lost(self, position: str) -> bool:
        """Say whether our own entry is older than the file, which then cannot hold its rows."""
        return self._before is not None and order(position)[0] / 1000 < self._before.born - SETTLED_SECONDS


def _born(db: sqlite3.Connection, now: float) -> float:
    """Since when the file holds our own calls: as long as it is known to hold any."""
    if unsorted(db):
        return 0.0  # of an earlier release: nothing of it went to any fleet
    told = ("SELECT min(born) FROM fleet_streams", "SELECT min(min_at) FROM blocks")
    times: list[float | None] = [db.execute(sql).fetchone()[0] for sql in told]
    return min([now, *(known for known in times if known is not None)])


class Follower:
    """One admin process's copying: a thread, or turn by turn. Any thread may ask for its status."""

    def __init__(
        self,
        gateway: str,
        source: Source,
        ledger: Ledger,
        *,
        stream: str,
        keep: float = 30 * 86_400.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`gateway` as `fleet.gateway_id` names it; `stream` names the Redis, without its password.

        Calls that are longer ago than `keep` seconds are not copied.
        """
        self.health = Health("fleet ledger, reading")
        self._fault = Health("fleet ledger, copying")
        self._gateway = gateway
        self._source = source
        self._ledger = ledger
        self._stream = stream
        self._keep = keep
        self._clock = clock
        self._unpacker = Unpacker(columns())
        self._place: _Place | None = None
        self._counts = {"copied": 0, "skipped": 0, "mended": 0, "missed": 0}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def start(self) -> None:
        """Start the thread. Once."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSING_SECONDS)

    def status(self) -> dict[str, Any]:
        """Whether the stream can be read; rows copied, skipped and mended; entries that were gone before we came."""
        reason = self.health.reason or self._fault.reason
        return {"state": "failing" if reason else "ok", "reason": reason, **self._counts}

    def turn(self) -> bool:
        """Copy one batch; say whether there may be more at once."""
        try:
            batch = self._batch(self._place)
        except StoreUnavailable as error:
            self.health.failing(str(error))
            return False
        if batch is None:
            return False
        if not self._ledger.write_chosen(batch):
            return False  # what it is, the file's own health says; the same is read again
        self._place = batch.place
        for name, count in batch.counts().items():
            self._counts[name] += count
        return batch.may_go_on

    def _batch(self, place: _Place | None) -> _Batch | None:
        """What is to be done with the file next, if anything is. Raises StoreUnavailable."""
        now = self._clock()
        batch = _Batch(self._gateway, self._stream, now, place)
        if place is None:
            return batch  # only asks the file where it is
        found = self._source.read(place.position, BATCH)
        if not found:
            # A Redis that forgot the stream may count from below. By the runs' numbers nothing is copied twice.
            is_behind = order(self._source.newest()) < order(place.position)
            self.health.well()
            return batch.rewound() if is_behind else None
        self.health.well()
        for position, fields in found:
            batch.add(position, fields, self._unpacker, now - self._keep)
        return batch

    def _run(self) -> None:
        pause = 0.0
        while not self._closing.wait(pause):
            began = time.monotonic()
            more = self._guarded()
            pause = time.monotonic() - began if more else IDLE_SECONDS  # half of the time is for who serves calls
        self._ledger.close()
        self._source.close()

    def _guarded(self) -> bool:
        try:
            more = self.turn()
        except Exception as error:  # noqa: BLE001 - a fault of our own must not end the thread: the next entry may do
            self._fault.failing(type(error).__name__, error)
            return False
        self._fault.well()
        return more


def follower(folder: Path, url: str, keep: float = 30 * 86_400.0) -> Follower | None:
    """What an admin process follows the fleet with; None, told in the log, if the state directory can hold no id.

    Calls that are longer ago than `keep` seconds are not copied. Raises ValueError for a URL that cannot be used.
    """
    from caching.connection import shown  # noqa: PLC0415 - only a gateway with Redis pays for its client
    from gateway.ledger.stream import RedisStream  # noqa: PLC0415 - the same

    name, source = known_id(folder), RedisStream(url)
    store = Store(State(folder).ledger)
    return Follower(name, source, store, stream=shown(url), keep=keep) if name else None


def order(position: str) -> tuple[int, int]:
    """A position, `milliseconds-nth`, as what positions are ordered by."""
    at, _, nth = position.partition("-")
    return int(at), int(nth or 0)
