"""A slow store behind a deadline and a breaker.

What it costs a call is bounded, and while it is down it costs nothing. Closed: every call is passed on and has its
deadline. After some failures in a row the breaker is open: calls are refused
at once, and a task of its own pings the store until it answers. No call ever pays for a probe.

Puts are judged apart: a full store answers every look and keeps nothing. They go on, for one of them will tell when
there is room again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from caching.entry import Entry
from caching.errors import StoreUnavailable
from caching.stores import Purged, Selection, Store

logger = logging.getLogger("sluice.caching")

WRITE_SECONDS = 1.0  # a write stands behind the calls: none waits for it, and a batch takes longer than a look
ADMIN_SECONDS = 600.0  # an operator waits for a purge, and a million entries take minutes

BUSY_SECONDS = 0.005  # an event loop that is later than this was busy, and may not have read what has come
FORGIVEN_SECONDS = 1.0  # most that is forgiven for it

T = TypeVar("T")


class _Deadline:
    """A time limit that forgives what the event loop was late by: an answer may have come and not been read yet.

    A burst of calls keeps the loop busy for longer than a store's deadline. That is no failure of the store's.
    """

    __slots__ = ("_due", "_last", "_limit", "_timer")

    def __init__(self, seconds: float, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self._due = time.monotonic() + seconds
        self._last = self._due + FORGIVEN_SECONDS
        self._timer = asyncio.get_running_loop().call_later(seconds, self._passed)

    def _passed(self) -> None:
        now = time.monotonic()
        late = now - self._due
        if late < 0:  # a loop's clock stands still while it is busy
            self._again(-late)
        elif late > BUSY_SECONDS and now < self._last:
            self._due = min(now + late, self._last)
            self._again(self._due - now)
        else:
            self._limit.reschedule(0.0)

    def _again(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._passed)

    def cancel(self) -> None:
        self._timer.cancel()


async def _limited(seconds: float, work: Callable[..., Awaitable[T]], *args: object) -> T:
    """The work's result; raises TimeoutError when it takes longer."""
    async with asyncio.timeout(None) as limit:
        deadline = _Deadline(seconds, limit)
        try:
            return await work(*args)
        finally:
            deadline.cancel()


class Guarded:
    """A Store in front of another. A look that passes `deadline` seconds, or fails, raises StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        *,
        deadline: float,
        failures: int = 3,
        rest: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        writing: float = WRITE_SECONDS,
    ) -> None:
        self._reason = ""  # what failed last, other than a put
        self._store = store
        self._deadline = deadline
        self._writing = max(deadline, writing)
        self._failures = failures
        self._rest = rest
        self._clock = clock
        self._failed = 0  # calls in a row
        self._unkept = 0  # puts that failed in a row
        self._refusal = ""  # of the last of them
        self._opened_at = 0.0
        self._probe: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """Whether calls reach the store: "open" if none does, "refusing" if it takes no writes, else "closed"."""
        if self._probe is not None:
            return "open"
        return "refusing" if self._refuses else "closed"

    @property
    def reason(self) -> str:
        """Why it is open or refusing, or what failed last."""
        if self._probe is None and self._refuses:
            return f"refuses writes: {self._refusal}"
        return self._reason

    @property
    def _refuses(self) -> bool:
        return self._unkept >= self._failures

    @property
    def is_failing(self) -> bool:
        """Say whether the last call to the store failed, puts left aside."""
        return self._failed > 0

    def may_hold(self, key: bytes) -> bool:
        """As the store says."""
        return self._store.may_hold(key)

    async def get(self, key: bytes) -> Entry | None:
        """The store's, within the deadline."""
        return await self._within(self._deadline, self._store.get, key)

    async def put(self, entries: Sequence[Entry]) -> None:
        """The store's, within the time of a write; its failure says nothing of reads."""
        try:
            await self._apart(self._store.put, entries)
        except StoreUnavailable as error:
            if self._probe is None:
                self._not_kept(str(error))
            raise
        if self._refuses:
            logger.warning("cache store: takes writes again (was: %s)", self._refusal)
        self._unkept = 0

    async def drop(self, keys: Sequence[bytes]) -> None:
        """The store's, within the time of a write."""
        await self._within(self._writing, self._store.drop, keys)

    async def purge(self, selection: Selection, *, dry_run: bool) -> Purged:
        """The store's; an operator's wait."""
        return await self._within(ADMIN_SECONDS, lambda: self._store.purge(selection, dry_run=dry_run))

    async def purges(self, after: int) -> list[tuple[int, Selection]]:
        """The store's, within the time of a write."""
        return await self._within(self._writing, self._store.purges, after)

    async def newest(self, most: int) -> list[Entry]:
        """The store's; an operator's wait."""
        return await self._within(ADMIN_SECONDS, self._store.newest, most)

    async def tidy(self, hits: Mapping[bytes, int]) -> None:
        """The store's, within the time of a write; its failure says nothing of reads."""
        await self._apart(self._store.tidy, hits)

    async def usage(self) -> tuple[int, int]:
        """The store's, within the time of a write."""
        return await self._within(self._writing, self._store.usage)

    async def ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """Whatever else is asked of what the store stands on, within the deadline. Raises StoreUnavailable."""
        return await self._within(self._deadline, work)

    async def ping(self) -> None:
        """The store's, within the deadline; it neither opens nor closes the breaker."""
        try:
            await _limited(self._deadline, self._store.ping)
        except TimeoutError as error:
            raise StoreUnavailable("timed out") from error

    async def close(self) -> None:
        """Stop pinging and close the store."""
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()
        await self._store.close()

    async def _apart(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Work for which no call waits, and which the breaker does not count."""
        if self._probe is not None:
            raise StoreUnavailable(self._reason)
        try:
            await _limited(self._writing, work, *args)
        except TimeoutError as error:
            raise StoreUnavailable("timed out") from error

    def _not_kept(self, reason: str) -> None:
        self._unkept += 1
        self._refusal = reason
        if self._unkept == self._failures:
            logger.warning("cache store: refuses writes: %s; calls go on with what it holds", reason)

    async def _within(self, seconds: float, work: Callable[..., Awaitable[T]], *args: object) -> T:
        if self._probe is not None:
            raise StoreUnavailable(self._reason)
        try:
            found = await _limited(seconds, work, *args)
        except TimeoutError as error:
            self._fail("timed out")
            raise StoreUnavailable("timed out") from error
        except StoreUnavailable as error:
            self._fail(str(error))
            raise
        self._failed = 0
        return found

    def _fail(self, reason: str) -> None:
        self._reason = reason
        self._failed += 1
        if self._failed >= self._failures and self._probe is None:
            logger.warning("cache store: %s; calls go on without it", reason)
            self._opened_at = self._clock()
            self._probe = asyncio.get_running_loop().create_task(self._ping_until_well())

    async def _ping_until_well(self) -> None:
        while True:
            await asyncio.sleep(self._rest)
            try:
                await self.ping()
            except StoreUnavailable as error:
                self._reason = str(error)
                continue
            break
        logger.warning("cache store: works again after %.1f s (was: %s)", self._clock() - self._opened_at, self._reason)
        self._failed, self._reason, self._probe = 0, "", None
