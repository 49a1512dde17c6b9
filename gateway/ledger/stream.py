"""The fleet's stream and sums in Redis, asked from a thread that may wait, but not for long.

    sluice:ledger:{fleet}            a stream: packed rows of all gateways; the oldest go when it is full
    sluice:sums:{fleet}:YYYYMMDDHH   a hash: calls, tokens, USD of one hour (UTC), by tenant and model; for 40 days
    sluice:last:{fleet}:RUN          the number of the last entry of one run of one worker; for 40 days

All lie in one slot of a Cluster. The commands are the asynchronous client's, run to their end on a loop of this thread:
so there is one way to connect to each kind of Redis, and one deadline over a whole command, connecting included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from caching.connection import connect, in_time, parse
from caching.errors import StoreUnavailable
from caching.stores.redis import checked_prefix
from gateway.ledger.packing import Entry, Fields, Sums

KEPT_SECONDS = 40 * 86_400
STREAM_BYTES = 128 * 1024 * 1024  # of rows in the stream, about
ENTRY_OVERHEAD = 800  # bytes of an entry beside its rows
READ_SECONDS = 2.0
CLOSE_SECONDS = 0.5
START = "0-0"  # before the first entry

# Stream, last number, sums of each hour; number, seconds to keep, entries to keep, how many fields and values, those,
# then for each sum: which key, field, amount -> whether it was news
_APPEND = """
local number = tonumber(ARGV[1])
if number <= (tonumber(redis.call('GET', KEYS[2])) or 0) then return 0 end
local first = 5 + tonumber(ARGV[4])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 5, first - 1))
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
for i = first, #ARGV, 3 do
  redis.pcall('HINCRBYFLOAT', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2])
end
for i = 3, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return 1
"""

T = TypeVar("T")


class RedisStream:
    """What `fleet` writes to and `following` reads from. For one thread, in which no event loop runs.

    `room` bounds the stream, in bytes of rows; it is kept in entries, by their mean size.
    """

    def __init__(self, url: str, *, prefix: str = "sluice", room: int = STREAM_BYTES) -> None:
        """Connects when first used. Raises ValueError for a URL or a prefix that cannot be used."""
        parse(url)
        self._url = url
        self._prefix = checked_prefix(prefix)
        self._room = room
        self._mean = 16 * 1024.0  # bytes of an entry, to begin with
        self._runner: asyncio.Runner | None = None
        self._client: Any = None  # redis-py's types differ between its client and its cluster client
        self._script: Any = None

    def append(self, entry: Entry, sums: Sums, seconds: float) -> None:
        """Add the entry and its sums, both or neither, once however often asked. Raises StoreUnavailable."""
        self._mean += (len(entry.data) + ENTRY_OVERHEAD - self._mean) / 16
        keys = [self._name("ledger"), self._name("last", entry.run), *(self._name("sums", hour) for hour in sums)]
        told = [part for pair in entry.fields().items() for part in pair]
        most = max(1, int(self._room / self._mean))
        args = [entry.number, KEPT_SECONDS, most, len(told), *told]
        for key, fields in enumerate(sums.values(), 3):
            args += [part for field, value in fields.items() for part in (key, field, repr(value))]
        self._run(seconds, lambda: self._script(keys, args))

    def read(self, after: str, most: int) -> list[tuple[str, Fields]]:
        """At most so many entries after this position, the oldest first. Raises StoreUnavailable."""
        found = self._run(READ_SECONDS, lambda: self._client.xread({self._name("ledger"): after}, most))
        return [(identifier.decode(), fields) for identifier, fields in found[0][1]] if found else []

    def newest(self) -> str:
        """The last entry's position; START if there is none. Raises StoreUnavailable."""
        found = self._run(READ_SECONDS, lambda: self._client.xrevrange(self._name("ledger"), count=1))
        return found[0][0].decode() if found else START

    def sums(self, hour: str) -> dict[bytes, bytes]:
        """The sums of one hour, YYYYMMDDHH in UTC, as they lie there. Raises StoreUnavailable."""
        found: dict[bytes, bytes] = self._run(READ_SECONDS, lambda: self._client.hgetall(self._name("sums", hour)))
        return found

    def close(self) -> None:
        """Close the client and the loop; the next command would open both anew."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.run(_closed(self._client))
            runner.close()
            self._client = self._script = None

    def _name(self, kind: str, what: str = "") -> str:
        return f"{self._prefix}:{kind}:{{fleet}}" + (f":{what}" if what else "")

    def _run(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        return self._runner.run(self._asked(seconds, work))

    async def _asked(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        if self._client is None:
            self._client = connect(self._url)
            self._script = self._client.register_script(_APPEND)
        async with in_time(seconds):
            return await work()


async def _closed(client: Any) -> None:
    if client is not None:
        with suppress(StoreUnavailable):
            async with in_time(CLOSE_SECONDS):
                await client.aclose()
