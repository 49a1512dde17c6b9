"""Memory in front of one slow store that is written behind the calls.

A call meets memory first, then what waits to be written, then the slow store, if that may hold the key. What a call
puts is in memory at once; one task writes batches of it to the slow store and follows the purges others make there.
Whatever is wrong with the slow store, no call fails or waits for more than its guard allows.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from caching.entry import Entry
from caching.errors import CachingError, StoreUnavailable
from caching.stores import Purged, Selection, Store
from caching.stores.memory import Memory, weight

logger = logging.getLogger("sluice.caching")

BATCH = 64  # entries in one write
WAITING = 4096  # entries that may wait to be written
WAITING_BYTES = 64 << 20
DROPS = 4096  # keys that may wait to be dropped
HITS = 4096  # keys whose hits are counted until the slow store is told
HITS_SECONDS = 10.0  # between two times that it is told
FLUSH_SECONDS = 2.0
REST = 9  # times as long as a write took; the calls need the processor, and what there is no time for is not kept
LONGEST_REST = 0.5  # seconds; purges are to be followed, and who closes waits

Parts = tuple[tuple[str, str], ...]


class Cache:
    """Entries by key, in this process and behind it. For one event loop; only `get` and `purge` wait."""

    def __init__(
        self,
        memory: Memory,
        slow: Store | None,
        *,
        clock: Callable[[], float] = time.time,
        delay: float = 0.05,
        follow: float = 1.0,
        tell: float = HITS_SECONDS,
    ) -> None:
        """Writes wait `delay` seconds for others to join them; others' purges are looked for every `follow` seconds.

        What memory served is told to the slow store every `tell` seconds, so that it stays there, too.
        """
        self._memory = memory
        self._slow = slow
        self._clock = clock
        self._delay = delay
        self._follow_seconds = follow
        self._tell_seconds = tell
        self._waiting: dict[bytes, _Waiting] = {}  # to be written
        self._waiting_bytes = 0
        self._drops: dict[bytes, int] = {}  # to be dropped from the slow store, with the removal that said so
        self._looks: dict[bytes, asyncio.Future[tuple[Entry | None] | None]] = {}  # under way in the slow store
        self._hits: dict[bytes, int] = {}  # in memory, that the slow store was not told of
        self._told = 0.0  # when it was told last, by the loop's clock
        self._lost = 0  # entries and drops there was no room for
        self._removals = 0  # drops and purges so far: what was looked up across one may be gone
        self._last_purge: int | None = None  # of the slow store's; None before the first look
        self._blind = False  # no look so far could tell
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write and to follow; inside a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def peek(self, key: bytes) -> Entry | None:
        """The entry under this key if it is in memory."""
        found = self._memory.get(key)
        if found is not None:
            hits = self._hits
            if key in hits:
                hits[key] += 1
            elif len(hits) < HITS:
                hits[key] = 1
        return found

    def may_hold(self, key: bytes) -> bool:
        """Say, without I/O, whether `get` may find what `peek` does not; False only where it surely does not."""
        return key in self._waiting or (self._slow is not None and self._slow.may_hold(key))

    async def get(self, key: bytes) -> Entry | None:
        """The entry under this key, from wherever it is; None as well if the slow store cannot say."""
        while True:
            found = self.peek(key) or self._about_to_be_written(key)
            slow = self._slow
            if found is not None or slow is None or key in self._drops or not slow.may_hold(key):
                return found
            under_way = self._looks.get(key)
            if under_way is None:
                return await self._look(slow, key)
            looked = await asyncio.shield(under_way)  # one who is cancelled must not wake the others
            if looked is not None:
                return looked[0]

    async def _look(self, slow: Store, key: bytes) -> Entry | None:
        """Look into the slow store for all who ask meanwhile: a thousand equal calls are one look."""
        ended: asyncio.Future[tuple[Entry | None] | None] = asyncio.get_running_loop().create_future()
        self._looks[key] = ended
        looked: tuple[Entry | None] | None = None
        try:
            looked = (await self._found_behind(slow, key),)
        finally:
            del self._looks[key]
            ended.set_result(looked)  # None where this caller was cancelled: another one looks
        return looked[0]

    async def _found_behind(self, slow: Store, key: bytes) -> Entry | None:
        removals = self._removals
        try:
            found = await slow.get(key)
        except StoreUnavailable:
            return None
        if found is None or removals != self._removals or not found.usable(self._clock()):
            return None
        return found if self._memory.put(found) else None

    def put(self, entry: Entry, parts: Callable[[], Parts] | None = None) -> None:
        """Keep this entry: in memory now, in the slow store soon, there with what `parts` gives then, if given."""
        if self._closing or not self._memory.put(entry) or (self._slow is None and entry.answer.is_plain):
            return
        waiting = self._waiting
        size = weight(entry)
        replaced = waiting.get(entry.key)
        if replaced is not None:
            self._waiting_bytes -= replaced.size
        elif len(waiting) >= WAITING or self._waiting_bytes + size > WAITING_BYTES:
            self._lost += 1
            return
        waiting[entry.key] = _Waiting(entry, size, parts)
        self._waiting_bytes += size
        self._wake.set()

    def drop(self, key: bytes) -> None:
        """Forget this key: in memory now, in the slow store soon."""
        self._removals += 1
        self._memory.drop(key)
        self._written(key)
        if self._slow is None:
            return
        if len(self._drops) >= DROPS:
            self._lost += 1
            return
        self._drops[key] = self._removals
        self._wake.set()

    async def purge(self, selection: Selection, *, dry_run: bool) -> Purged:
        """Remove what is selected, everywhere, or only count it. Raises StoreUnavailable, with memory purged even so.

        The count is the slow store's. Memory alone cannot count what a purge removes, unless that is everything.
        """
        if not dry_run:
            self._purge_here(selection)
        if self._slow is None:
            entries, size = self._memory.usage() if selection == Selection() else (0, 0)
            return Purged(entries, size, dry_run)
        async with self._writing:
            pass  # what was being written would have come after the purge
        return await self._slow.purge(selection, dry_run=dry_run)

    def status(self) -> dict[str, Any]:
        """What an operator sees: entries and bytes in memory, what waits and was lost, and how the slow store is."""
        entries, size = self._memory.usage()
        return {
            "entries": entries,
            "bytes": size,
            "max_bytes": self._memory.max_bytes,
            "queue": len(self._waiting) + len(self._drops),
            "dropped": self._lost,
            "store": getattr(self._slow, "state", "closed") if self._slow is not None else "none",
            "reason": getattr(self._slow, "reason", ""),
        }

    def close(self) -> None:
        """Take nothing more; the task writes what waits, for 2 seconds at most, and closes the slow store."""
        self._closing = True
        self._wake.set()

    async def aclose(self) -> None:
        """Write what waits, for 2 seconds at most, and close the slow store."""
        self.close()
        if self._task is not None:
            await self._task
        elif self._slow is not None:
            await self._slow.close()

    def _about_to_be_written(self, key: bytes) -> Entry | None:
        """Memory may have refused or pushed out an entry that the slow store does not hold yet."""
        found = self._waiting.get(key)
        return found.entry if found is not None and found.entry.usable(self._clock()) else None

    def _purge_here(self, selection: Selection) -> None:
        self._removals += 1
        self._memory.purge(selection)
        now = self._clock()
        for key in [key for key, waits in self._waiting.items() if selection.fits(waits.entry, now)]:
            self._written(key)

    def _written(self, key: bytes) -> None:
        """It waits no more."""
        waits = self._waiting.pop(key, None)
        self._waiting_bytes -= waits.size if waits is not None else 0

    # The task.

    async def _work(self) -> None:
        try:
            while not self._closing:
                await self._outlive(self._follow())
                await self._outlive(self._tidy())
                await self._write_until(asyncio.get_running_loop().time() + self._follow_seconds)
            async with asyncio.timeout(FLUSH_SECONDS):
                while await self._write():
                    pass
        except TimeoutError:
            logger.warning("cache: closed with %d entries not written", len(self._waiting))
        finally:
            if self._slow is not None:
                await self._slow.close()

    async def _outlive(self, work: Awaitable[None], cost: int = 0) -> None:
        """Do a piece of the task's work; a fault of our own costs that piece, of so many entries and drops."""
        try:
            await work
        except Exception as fault:  # noqa: BLE001 - else one bad entry would end the task: nothing written any more, no purge followed
            self._lost += cost
            places = "".join(traceback.format_tb(fault.__traceback__))  # and not its text, which may quote an answer
            logger.error("cache: a fault of its own, %s; calls go on\n%s", type(fault).__name__, places)

    async def _write_until(self, end: float) -> None:
        """Write whatever comes, until it is time to look for purges again."""
        loop = asyncio.get_running_loop()
        while not self._closing and (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            if not self._closing:
                self._wake.clear()
                await asyncio.sleep(self._delay)
                began = loop.time()
                while await self._write() and not self._closing:
                    await asyncio.sleep(min((loop.time() - began) * REST, LONGEST_REST))
                    began = loop.time()

    async def _write(self) -> bool:
        """Write one batch, drops first; say whether there is more."""
        async with self._writing:
            drops = dict(islice(self._drops.items(), BATCH))
            batch = list(islice(self._waiting.values(), BATCH))
            if not drops and not batch:
                return False
            await self._outlive(self._hand_over(list(drops), batch), len(drops) + len(batch))
            for key, removal in drops.items():
                if self._drops[key] == removal:  # not dropped once more meanwhile
                    del self._drops[key]
            for waits in batch:
                if self._waiting.get(waits.entry.key) is waits:
                    self._written(waits.entry.key)
        return True

    async def _folded(self, batch: Sequence[_Waiting]) -> list[Entry]:
        """Those that can be kept, their answers in the plain form. Folding a stream costs: not on the event loop."""
        folded = await asyncio.to_thread(_fold, batch)
        for waits, whole in zip(batch, folded, strict=True):
            if whole is not None:
                self._memory.weigh_again(waits.entry)
            elif self._memory.holds(waits.entry):
                self._memory.drop(waits.entry.key)
        return [whole for whole in folded if whole is not None]

    async def _hand_over(self, drops: Sequence[bytes], batch: Sequence[_Waiting]) -> None:
        """What the slow store does not take now is lost to it: it is a cache, and more is coming."""
        entries = await self._folded(batch)
        if self._slow is None:
            return
        try:
            if drops:
                await self._slow.drop(drops)
            if entries:
                await self._slow.put(entries)
        except StoreUnavailable:
            self._lost += len(drops) + len(entries)

    async def _follow(self) -> None:
        """Do in memory what others' purges did to the slow store."""
        if self._slow is None:
            return
        blind, self._blind = self._blind, True
        try:
            purges = await self._slow.purges(self._last_purge or 0)
        except StoreUnavailable:
            return
        if self._last_purge is not None or blind:  # blind at first: some may have come after memory began to fill
            for _, selection in purges:
                self._purge_here(selection)
        self._last_purge = max([self._last_purge or 0, *(seq for seq, _ in purges)])
        self._blind = False

    async def _tidy(self) -> None:
        """Let the slow store do what is due, now and then with the hits that it did not see."""
        now = asyncio.get_running_loop().time()
        told: dict[bytes, int] = {}
        if now - self._told >= self._tell_seconds:
            told, self._hits, self._told = self._hits, {}, now
        if self._slow is not None:
            with suppress(StoreUnavailable):  # only hits are lost, and the rest is done another time
                await self._slow.tidy(told)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An entry to be written, the bytes it counts for, and where its parts come from if not from the entry."""

    entry: Entry
    size: int
    parts: Callable[[], Parts] | None


def _fold(batch: Sequence[_Waiting]) -> list[Entry | None]:
    """Make the plain form of every answer, and its entry's parts; None for one that has no such form or no parts."""
    folded: list[Entry | None] = []
    for waits in batch:
        try:
            waits.entry.answer.plain()
            folded.append(waits.entry if waits.parts is None else replace(waits.entry, parts=waits.parts()))
        except CachingError:
            folded.append(None)
        time.sleep(0)  # hands the interpreter's lock to the event loop; else this thread holds it for milliseconds
    return folded
