"""Entries in one SQLite file, for one gateway: they outlive a restart, and memory may be small.

All of SQLite runs in one thread of the store's own. Long work (a purge, filling the filter) goes through it in slices,
so that a call waits for one slice at most. Whether a key may be in the file is answered on the event loop by a Bloom
filter; most misses never reach the thread.

Any trouble closes the connection, and the next call opens a new one: that is how a full disk, a lock or a missing file
end by themselves. A corrupt file is moved aside and a new one begun.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from caching.bloom import Bloom
from caching.entry import Entry
from caching.errors import StoreUnavailable
from caching.stores import Purged, Selection
from caching.stores.file import LAST_ID, Bounds, Foreign, OtherVersion, Table, connect, transaction

logger = logging.getLogger("sluice.caching")

BUSY_SECONDS = 0.25  # how long one statement waits for another process's transaction
SMALLEST_FILTER = 1 << 14  # keys
ASKED_AT_ONCE = 64  # keys looked up in one piece of work
PUT_AT_ONCE = 64  # entries
CLEARED_AT_ONCE = 16  # slices, each time a store without room is tidied
HITS_HELD = 256  # keys whose hits wait for the next write, until they are written for their own sake
MOVED_SECONDS = 60.0  # not more than once in this time is a file moved aside: a dying disk would make every one corrupt

_BY_CODE = {
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_LOCKED: "locked by another process",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "no permission",
    sqlite3.SQLITE_IOERR: "input/output error",
}
_BY_ERRNO = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk full",
    errno.EFBIG: "disk full",
    errno.EROFS: "read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}
# Beside SQLite's and the system's: a name or a number that SQLite cannot hold.
_TROUBLE = (sqlite3.Error, OSError, ValueError, OverflowError)

T = TypeVar("T")


class SqliteStore:
    """A Store in the file at `path`; it takes at most about 1.2 times `max_bytes` of disk, and a large entry once more.

    With no bytes at all it keeps nothing, and is there for processes to hear of each other's purges. No entry is kept
    longer than `retention` seconds after it was made. Opening starts at once, in the thread. With `repairs` false a
    corrupt file is left where it is.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        *,
        retention: float = 30 * 86400.0,
        repairs: bool = True,
        clock: Callable[[], float] = time.time,
        connect: Callable[[Path, float], sqlite3.Connection] = connect,
    ) -> None:
        self._path = path
        self._bounds = Bounds(max_bytes, retention)
        self._repairs = repairs
        self._clock = clock
        self._connect = connect
        self._thread = ThreadPoolExecutor(1, "cache-file")
        self._closed = False
        self._own: set[int] = set()  # the numbers of our own purges
        self._asked: list[tuple[bytes, asyncio.Future[Entry | None]]] = []  # in this turn of the event loop
        self._looking: set[asyncio.Task[list[Entry | None]]] = set()
        # From here on the thread's alone.
        self._table: Table | None = None
        self._identity: tuple[int, int] | None = None  # of the file that is, or was last, open
        self._moved_aside = -MOVED_SECONDS
        self._filling: Bloom | None = None
        self._learned = 0  # the id up to which the filter knows the entries, when it is filled
        self._walked: bytes | None = None  # the key up to which the new filter was filled; None at the end
        # Written by the thread, read by the event loop.
        self._filter: Bloom | None = None
        self._thread.submit(self._open_quietly)

    # The protocol.

    def may_hold(self, key: bytes) -> bool:
        """False only if the key is surely not in the file; entries of another process are known within a second."""
        known = self._filter
        return self._bounds.max_bytes > 0 and (known is None or key in known)

    async def get(self, key: bytes) -> Entry | None:
        """The entry under this key, if it is here and may still be used."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Entry | None] = loop.create_future()
        self._asked.append((key, found))
        if len(self._asked) == 1:
            loop.call_soon(self._ask, loop)
        return await found

    async def put(self, entries: Sequence[Entry]) -> None:
        """Keep these entries, all but those that cannot be kept; slice by slice, so that calls may look in between."""
        if not self._bounds.max_bytes:
            return
        for start in range(0, len(entries), PUT_AT_ONCE):
            await self._run(self._put, entries[start : start + PUT_AT_ONCE])

    async def drop(self, keys: Sequence[bytes]) -> None:
        """Forget these keys."""
        await self._run(lambda table: table.drop(keys))

    async def purge(self, selection: Selection, *, dry_run: bool) -> Purged:
        """Remove what is selected, slice by slice; from the first on nothing selected is read or written any more."""
        now = self._clock()
        if not dry_run:
            self._own.add(await self._run(lambda table: table.note_purge(selection, now)))
            await self._run(lambda table: table.wipe(True))
        try:
            return await self._purge(selection, now, dry_run=dry_run)
        finally:
            if not dry_run:
                await self._run(self._purge_done)

    async def _purge(self, selection: Selection, now: float, *, dry_run: bool) -> Purged:
        entries = size = after = 0
        while True:
            slice_ = partial(Table.purge, selection=selection, after=after, now=now, dry_run=dry_run)
            found = await self._run(slice_)
            entries, size, after = entries + found[0], size + found[1], found[2]
            if not after:
                break
        while not dry_run and await self._run(Table.shrink):
            pass
        return Purged(entries, size, dry_run)

    async def purges(self, after: int) -> list[tuple[int, Selection]]:
        """The purges other processes made whose number is above `after`."""
        found = await self._run(self._purges, after)
        return [(seq, selection) for seq, _, selection in found if seq not in self._own]

    async def newest(self, most: int) -> list[Entry]:
        """At most so many entries that may still be used, the one put last first."""
        found: list[Entry] = []
        before = LAST_ID
        while before and len(found) < most:
            some, before = await self._run(Table.newest, before, self._clock())
            found += some
        return found[:most]

    async def ping(self) -> None:
        """Return if the file can be read and written."""
        await self._run(_write_nothing)

    async def usage(self) -> tuple[int, int]:
        """How many entries are here, and how many bytes of the file they take."""
        return await self._run(Table.sums)

    async def tidy(self, hits: Mapping[bytes, int]) -> None:
        """Count these hits, and remove some of what is past its end; without any room, some of whatever is here.

        What is popular in memory stays here, too.
        """
        counted = iter(hits.items())
        while some := dict(islice(counted, HITS_HELD)):
            await self._run(_count, some)
        if self._bounds.max_bytes:
            await self._run(self._expire)
            return
        for _ in range(CLEARED_AT_ONCE):
            if not await self._run(self._clear):
                break

    async def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        closing = self._thread.submit(self._close_well)
        self._thread.shutdown(wait=False)
        await asyncio.wrap_future(closing)

    # On the event loop: one piece of work, through the thread.

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look up together what was asked for together: the way to the thread and back costs more than the look."""
        asked, self._asked = self._asked, []
        for start in range(0, len(asked), ASKED_AT_ONCE):
            some = asked[start : start + ASKED_AT_ONCE]
            looking = loop.create_task(self._run(self._get, [key for key, _ in some]))
            self._looking.add(looking)
            looking.add_done_callback(partial(self._answer, [found for _, found in some]))

    def _answer(
        self, waiting: Sequence[asyncio.Future[Entry | None]], looking: asyncio.Task[list[Entry | None]]
    ) -> None:
        self._looking.discard(looking)
        if looking.cancelled():
            error: BaseException | None = StoreUnavailable("closed")
        else:
            error = looking.exception()
        for number, found in enumerate(waiting):
            if found.done():
                continue  # whoever asked has gone
            if error is None:
                found.set_result(looking.result()[number])
            else:
                found.set_exception(StoreUnavailable(str(error)) if isinstance(error, StoreUnavailable) else error)

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        if self._closed:
            raise StoreUnavailable("closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work, *args)

    # In the thread.

    def _get(self, table: Table, keys: Sequence[bytes]) -> list[Entry | None]:
        now = self._clock()
        table.follow()
        entries = [table.get(key, now) for key in keys]
        if table.touched > HITS_HELD:
            table.flush()
        return entries

    def _expire(self, table: Table) -> None:
        table.expire(self._clock())
        self._forget_aside()

    def _clear(self, table: Table) -> bool:
        self._forget_aside()
        return table.clear()

    def _put(self, table: Table, entries: Sequence[Entry]) -> None:
        before = table.last_id
        kept = table.put(entries, self._clock())
        if self._learned == before == table.last_id - len(kept):  # nobody else wrote in between
            self._learned = table.last_id
        for known in (self._filter, self._filling):
            if known is not None:
                for key in kept:
                    known.add(key)
        if self._filter is not None and self._filter.full and self._filling is None:
            self._begin_filter(table)

    def _purges(self, table: Table, after: int) -> list[tuple[int, float, Selection]]:
        table.follow()
        self._learn(table)
        return table.purges(after)

    def _purge_done(self, table: Table) -> None:
        table.wipe(False)
        self._drop_aside()  # what was moved aside may hold what was to be purged

    # The filter.

    def _begin_filter(self, table: Table) -> None:
        self._filling = Bloom(max(SMALLEST_FILTER, table.sums()[0] * 2))
        self._learned, self._walked = table.last_id, b""
        self._again()

    def _again(self) -> None:
        with suppress(RuntimeError):  # closed meanwhile
            self._thread.submit(self._fill)

    def _fill(self) -> None:
        """Take one slice of the keys into the new filter, then let waiting calls go first."""
        try:
            self._guarded(self._learn)
        except StoreUnavailable as error:
            logger.debug("the filter is not filled yet: %s", error)  # begun anew when the file opens again

    def _learn(self, table: Table) -> None:
        known = self._filling or self._filter
        if known is None:
            return
        if self._filling is not None and self._walked is not None:
            self._walk(table, self._filling)
            return
        keys, last = table.younger(self._learned)
        for key in keys:
            known.add(key)
        if last != self._learned:
            self._learned = last
            self._again()
        elif self._filling is not None:
            self._filter, self._filling = self._filling, None

    def _walk(self, table: Table, filling: Bloom) -> None:
        """Take in the keys that were there when the filling began."""
        keys = table.keys(self._walked or b"")
        for key in keys:
            filling.add(key)
        self._walked = keys[-1] if keys else None
        self._again()

    # The file and its troubles.

    def _guarded(self, work: Callable[..., T], *args: object) -> T:
        """Do the work, once more on a new file if the old one was corrupt. Raises StoreUnavailable."""
        try:
            return self._work(work, *args)
        except _TROUBLE as error:
            if not (_is_corrupt(error) and self._move_aside()):
                raise StoreUnavailable(reason(error)) from error
        try:
            return self._work(work, *args)
        except _TROUBLE as error:
            raise StoreUnavailable(reason(error)) from error

    def _work(self, work: Callable[..., T], *args: object) -> T:
        try:
            return work(self._opened(), *args)
        except BaseException:
            self._close()
            raise

    def _opened(self) -> Table:
        """The open table, a new one if the file was deleted or replaced under us: SQLite itself would not notice."""
        if self._closed:
            raise StoreUnavailable("closed")
        if self._table is not None and self._identity != _identity(self._path):
            self._close()
        if self._table is None:
            self._table = self._open()
        return self._table

    def _open(self) -> Table:
        with _alone(self._path):
            before, self._identity = self._identity, _identity(self._path)
            if before != self._identity:
                self._filter = self._filling = None  # of another file
            db = self._connect(self._path, BUSY_SECONDS)
            self._identity = _identity(self._path)
        try:
            table = Table(db, self._bounds)
        except BaseException:
            db.close()
            raise
        self._forget_aside()
        if self._filter is None:
            self._begin_filter(table)
        return table

    def _open_quietly(self) -> None:
        with suppress(StoreUnavailable):  # whoever calls next is told
            self._guarded(Table.follow)

    def _close(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            with suppress(sqlite3.Error):  # what was committed is on disk
                table.db.close()

    def _close_well(self) -> None:
        if self._table is not None and self._table.touched:
            with suppress(sqlite3.Error):  # only hits would be lost
                self._table.flush()
        self._close()

    def _move_aside(self) -> bool:
        """Move a corrupt file out of the way, over the last one that was; False if that may not help.

        Another process may have done so already: then the file that is there now is a good one and stays.
        """
        now = self._clock()
        if not self._repairs or 0 <= now - self._moved_aside < MOVED_SECONDS:
            return False
        try:
            with _alone(self._path):
                if _identity(self._path) == self._identity:
                    for suffix in ("-wal", "-shm", ""):  # a log left behind would be read into the new file
                        self._aside(suffix).unlink(missing_ok=True)
                        with suppress(FileNotFoundError):
                            self._path.with_name(self._path.name + suffix).rename(self._aside(suffix))
                    os.utime(self._aside(""), (now, now))
                    logger.warning("cache: its file was corrupt; moved to %s, a new one is begun", self._aside("").name)
        except OSError:
            return False
        self._moved_aside = now
        return True

    def _aside(self, suffix: str) -> Path:
        return self._path.with_name(f"{self._path.name}.corrupt{suffix}")

    def _forget_aside(self) -> None:
        """Remove what was moved aside once all that is in it is too old to be kept, or nothing is to be kept at all."""
        with suppress(OSError):
            too_old = self._aside("").stat().st_mtime < self._clock() - self._bounds.retention
            if too_old or not self._bounds.max_bytes:
                self._drop_aside()

    def _drop_aside(self) -> None:
        for suffix in ("-wal", "-shm", ""):
            self._aside(suffix).unlink(missing_ok=True)


def _count(table: Table, hits: dict[bytes, int]) -> None:
    table.touch(hits)
    table.flush()


def _write_nothing(table: Table) -> None:
    with transaction(table.db):
        table.follow()


def reason(error: Exception) -> str:
    """What failed, without paths or data: it is shown to whoever may see the store's state."""
    if isinstance(error, Foreign):
        return "the file is another program's"
    if isinstance(error, OtherVersion):
        return "the file is another release's"
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, "input/output error")
    known = _BY_CODE.get(_code(error))
    return known or str(getattr(error, "sqlite_errorname", type(error).__name__))


def _is_corrupt(error: Exception) -> bool:
    return isinstance(error, OtherVersion) or _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _code(error: Exception) -> int:
    """SQLite's primary code; the bits above say more than we act on."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at this path, if any."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process opens the file or moves it aside meanwhile; one that did would meet half of a change."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
