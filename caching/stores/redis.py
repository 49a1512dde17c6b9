"""Entries in Redis, shared by all gateways that use it: standalone, behind Sentinels, or a Cluster.

    sluice:e:{<key>}   one entry; Redis drops it when it dies
    sluice:purges      a stream: the last purges, for the memory in front of every gateway

A purge is announced before it scans, and a put looks for purges after it wrote. So an entry that was put before the
announcement is found by the scan, and one that was put later is taken back by whoever put it.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson
from redis.asyncio import RedisCluster

from caching.connection import Client, in_time
from caching.entry import Entry
from caching.errors import StoreUnavailable, Unfaithful
from caching.stores import Cutoffs, Purged, Selection

PURGES = 1000  # kept in the stream
PAGE = 64  # entries read at once by a purge
PAGE_SECONDS = 30.0  # to find so many among the keys of others
COUNTED = 10_000  # keys in a Redis whose entries are counted one by one
REMEMBERED = 1000  # cutoffs, before those older than REACH are forgotten
REACH = 3600.0  # seconds; no call is answered so long before its answer is put
_IN_A_MILLISECOND = 1_000_000  # purges


def entry_name(prefix: str, key: bytes) -> str:
    """The name an entry lies under; what stands in braces decides its slot in a Cluster."""
    return f"{prefix}:e:{{{key.hex()}}}"


def _key(name: str) -> bytes:
    return bytes.fromhex(name[name.rindex("{") + 1 : -1])


def checked_prefix(prefix: str) -> str:
    """The prefix, if names can be made with it; raises ValueError."""
    if not prefix or "{" in prefix or "}" in prefix:
        raise ValueError("a prefix of names in Redis is not empty and has no braces")
    return prefix


class RedisStore:
    """A Store. It closes its client; `clock` gives Unix seconds."""

    def __init__(self, client: Client, *, prefix: str = "sluice", clock: Callable[[], float] = time.time) -> None:
        self._opened: Any = client  # redis-py's types differ between its client and its cluster client
        self._closed = False
        self._prefix = checked_prefix(prefix)
        self._clock = clock
        self._cutoffs = Cutoffs()
        self._own: deque[int] = deque(maxlen=PURGES)  # the numbers of our own purges
        self._seen = 0  # the last purge in the cutoffs

    def may_hold(self, key: bytes) -> bool:  # noqa: ARG002  # any gateway may have put it
        """True: only Redis knows."""
        return True

    async def get(self, key: bytes) -> Entry | None:
        """The entry under this key; what is there and cannot be used is dropped."""
        name = entry_name(self._prefix, key)
        async with in_time():
            data = await self._client.get(name)
        if data is None:
            return None
        entry = Entry.loads(key, data)
        if entry is not None and entry.usable(self._clock()) and not self._cutoffs.refuse(entry):
            return entry
        await self.drop([key])
        return None

    async def put(self, entries: Sequence[Entry]) -> None:
        """Keep these entries, all but those that cannot be kept faithfully or were purged meanwhile."""
        now = self._clock()
        values = {entry.key: (value, int((entry.dies - now) * 1000)) for entry in entries if (value := _value(entry))}
        living = {key: found for key, found in values.items() if found[1] > 0}
        if not living:
            return
        async with in_time():
            pipeline = self._client.pipeline(transaction=False)
            for key, (value, left) in living.items():
                pipeline.set(entry_name(self._prefix, key), value, px=left)
            _raise_first(await pipeline.execute(raise_on_error=False))
        await self._follow_purges()
        await self.drop([entry.key for entry in entries if entry.key in living and self._cutoffs.refuse(entry)])

    async def drop(self, keys: Sequence[bytes]) -> None:
        """Forget these keys."""
        if keys:
            await self._unlink([entry_name(self._prefix, key) for key in keys])

    async def purge(self, selection: Selection, *, dry_run: bool) -> Purged:
        """Remove what is selected, or only count it. It reads every entry; what cannot be read is removed with them."""
        now = self._clock()
        if not dry_run:
            await self._announce(selection, now)
        entries = size = 0
        async for names in self._pages():
            found = await self._selected(names, selection, now)
            if not dry_run:
                await self._unlink(list(found))
            entries += len(found)
            size += sum(found.values())
        return Purged(entries, size, dry_run)

    async def purges(self, after: int) -> list[tuple[int, Selection]]:
        """The purges of others above this number; numbers grow with Redis' clock, also over its restarts."""
        found = await self._announced(after)
        return [(number, selection) for number, selection, _ in found if number not in self._own]

    async def newest(self, most: int) -> list[Entry]:
        """At most so many entries that may still be used; any, for Redis does not know the newest."""
        found: dict[bytes, Entry] = {}
        async with aclosing(self._pages()) as pages:
            async for names in pages:
                found |= {entry.key: entry for entry in await self._usable(names)}
                if len(found) >= most:
                    break
        return list(found.values())[:most]

    async def tidy(self, hits: Mapping[bytes, int]) -> None:
        """Nothing: Redis removes what dies, and judges by the looks that reach it."""

    async def ping(self) -> None:
        """Return if Redis answers."""
        async with in_time():
            await self._client.ping()

    async def usage(self) -> tuple[int, int]:
        """How many entries there are and the bytes of their values; of a big Redis all its keys and all its memory."""
        async with in_time():
            keys = await self._client.dbsize(**self._everywhere)
        if keys > COUNTED:
            return keys, await self._memory()
        entries = size = 0
        async for names in self._pages():
            found = await self._sizes(names)
            entries += len(found)
            size += sum(found.values())
        return entries, size

    async def close(self) -> None:
        """Close the client; a second call does nothing."""
        if not self._closed:
            self._closed = True
            async with in_time():
                await self._opened.aclose()

    @property
    def _client(self) -> Any:
        if self._closed:
            raise StoreUnavailable("closed")
        return self._opened

    @property
    def _everywhere(self) -> dict[str, Any]:
        """What makes a command without a key go to every master of a Cluster; a server alone needs no such word."""
        return {"target_nodes": RedisCluster.PRIMARIES} if isinstance(self._client, RedisCluster) else {}

    async def _pages(self) -> AsyncGenerator[list[str], None]:
        """The names of all entries, PAGE at a time; one may come twice while Redis resizes its table."""
        async with in_time():  # else a silent server would be noticed only after the time that a page may take
            await self._client.ping(**self._everywhere)
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + ":e:{*}"
        names = self._client.scan_iter(match=pattern, count=4 * PAGE)
        while page := await _page(names):
            yield page

    async def _usable(self, names: Sequence[str]) -> list[Entry]:
        """Those of the entries under these names that may be given."""
        now = self._clock()
        read = zip(names, await self._ask("GET", names), strict=True)
        found = [entry for name, data in read if data and (entry := Entry.loads(_key(name), data))]
        return [entry for entry in found if entry.usable(now) and not self._cutoffs.refuse(entry)]

    async def _selected(self, names: Sequence[str], selection: Selection, now: float) -> dict[str, int]:
        """Those of the names that are selected, each with its bytes."""
        if selection == Selection():
            return await self._sizes(names)
        found = {}
        for name, data in zip(names, await self._ask("GET", names), strict=True):
            if data is None:
                continue
            entry = Entry.loads(_key(name), data)
            if entry is None or selection.fits(entry, now):
                found[name] = len(data)
        return found

    async def _sizes(self, names: Sequence[str]) -> dict[str, int]:
        sizes = zip(names, await self._ask("STRLEN", names), strict=True)
        return {name: size for name, size in sizes if size}

    async def _unlink(self, names: Sequence[str]) -> None:
        await self._ask("UNLINK", names)

    async def _ask(self, command: str, names: Sequence[str]) -> list[Any]:
        """One command for each name, in one round trip (in a Cluster one to each node)."""
        if not names:
            return []
        async with in_time():
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.execute_command(command, name)  # a method of its own may mean another thing in a Cluster
            return _raise_first(await pipeline.execute(raise_on_error=False))

    async def _memory(self) -> int:
        """Bytes of memory that Redis uses; of a Cluster, all its masters."""
        async with in_time():
            told = await self._client.info("memory", **self._everywhere)
        nodes = told.values() if self._everywhere else [told]
        return sum(int(node["used_memory"]) for node in nodes)

    async def _announce(self, selection: Selection, now: float) -> None:
        record = {"selection": orjson.dumps(selection.as_dict()), "at": repr(now)}
        async with in_time():
            name = f"{self._prefix}:purges"
            self._own.append(_number(await self._client.xadd(name, record, maxlen=PURGES, approximate=False)))
        self._cutoffs.add(selection, now)

    async def _follow_purges(self) -> None:
        for number, selection, at in await self._announced(self._seen):
            self._cutoffs.add(selection, at)
            self._seen = number
        if len(self._cutoffs) > REMEMBERED:
            self._cutoffs.forget(self._clock() - REACH)

    async def _announced(self, after: int) -> list[tuple[int, Selection, float]]:
        """The purges above a number: number, selection and the time they were made."""
        at, nth = divmod(after + 1, _IN_A_MILLISECOND)
        async with in_time():
            records = await self._client.xrange(f"{self._prefix}:purges", min=f"{at}-{nth}")
        return [_purge(identifier, fields) for identifier, fields in records]


async def _page(names: AsyncIterator[bytes]) -> list[str]:
    """The next names, PAGE or the last of them."""
    page: list[str] = []
    async with in_time(PAGE_SECONDS):
        async for name in names:
            page.append(name.decode())
            if len(page) == PAGE:
                break
    return page


def _value(entry: Entry) -> bytes | None:
    try:
        return entry.dumps()
    except Unfaithful:
        return None


def _raise_first(results: list[Any]) -> list[Any]:
    """The results of a pipeline; raises the first error, without the command that redis-py would add to its text."""
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def _number(identifier: bytes) -> int:
    """A stream's identifier, `milliseconds-nth`, as one number."""
    at, _, nth = identifier.partition(b"-")
    return int(at) * _IN_A_MILLISECOND + int(nth)


def _purge(identifier: bytes, fields: dict[bytes, bytes]) -> tuple[int, Selection, float]:
    """A record of the stream. One that cannot be read, as of another release, is taken as a purge of everything."""
    number = _number(identifier)
    try:
        return number, Selection.of(orjson.loads(fields[b"selection"])), float(fields[b"at"])
    except (KeyError, TypeError, ValueError):
        return number, Selection(), number / _IN_A_MILLISECOND / 1000
