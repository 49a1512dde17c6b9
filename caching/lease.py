"""Single flight across gateways, on Redis: one gateway leads a call, the others follow what it gets.

For a call with key K, all in one slot of a Cluster:

    sluice:l:{K}          the lease: the fencing token of who leads; lapses unless renewed
    sluice:n:{K}          the last token, so that tokens only ever grow
    sluice:s:{K}:<token>  the log of what that leader got: a stream of records
    sluice:w:{K}          who follows, each until when

Laws of this module:

* Every write of a leader happens inside a script that first compares the lease with its token. A leader that was
  stopped past its lease and wakes can neither write to another's log nor release another's lease (Kleppmann, "How to
  do distributed locking": a lease alone excludes nobody, a token checked where the write happens does).
* A token is never below Redis' clock in milliseconds, so tokens grow also over a Redis that forgot everything.
* Sharing never holds the leader's own call up and never fails it: what cannot be shared is given up, the followers
  read Lost and go their own way.
* The records of a log are numbered without a gap; a reader that meets one, as after a failover, reads Lost.
* A log ends in exactly one record: end, failed or abandoned. A lease that lapsed under a log without one is Lost.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from caching.connection import Client, in_time
from caching.errors import StoreUnavailable
from caching.stores.redis import checked_prefix, entry_name

BLOCK = 0.5  # seconds a reader waits inside Redis before it looks whether its leader lives
PATIENCE = 1.0  # seconds beyond that, after which Redis itself is given up
SETTLED = 1.0  # seconds until the store surely has an answer; who comes later would read one that was purged meanwhile
WATCHED = 2.0  # seconds a follower counts after its last sign of life
RECORD_BYTES = 256 * 1024  # of frames in one record
GATHER = 0.005  # seconds a leader gathers frames for its next record
LEAVING = 0.25  # seconds a follower has to say that it leaves
COUNT = 64  # records in one read
TOKENS_KEPT = 86_400  # seconds

_HEAD, _FRAMES, _END, _FAILED, _ABANDONED = b"h", b"f", b"e", b"x", b"a"

# Entry, lease, token, followers; whether an entry counts, lease in ms, follower, its time in ms, token's time in s
# -> what to do, token
_ACQUIRE = """
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then return {'stored', ''} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('GET', KEYS[2])
if held then
  redis.call('ZADD', KEYS[4], string.format('%.0f', now + ARGV[4]), ARGV[3])
  redis.call('PEXPIRE', KEYS[4], ARGV[4])
  return {'follow', held}
end
local token = string.format('%.0f', math.max((tonumber(redis.call('GET', KEYS[3])) or 0) + 1, now))
redis.call('SET', KEYS[3], token, 'EX', ARGV[5])
redis.call('SET', KEYS[2], token, 'PX', ARGV[2])
return {'lead', token}
"""

# Lease, log; token, log's time in ms, lease's time in ms or 0 to release it, number of the first record, then kind and
# value of each record -> whether the lease was held
_WRITE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 5, #ARGV, 2 do
  redis.call('XADD', KEYS[2], string.format('%.0f-0', ARGV[4] + (i - 5) / 2), ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
if ARGV[3] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
"""

# Lease, followers; follower, its time in ms -> the token of who leads
_WATCH = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return redis.call('GET', KEYS[1])
"""

# Followers -> how many live
_COUNT = """
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
return redis.call('ZCARD', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer is in the store since a moment ago: look there."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Another leads. This caller counts as its follower already, for a moment; see `Leases.follow`."""

    key: bytes
    check: bytes
    token: int
    follower: str


@dataclass(frozen=True, slots=True)
class Head:
    """How the answer began."""

    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Frame:
    """The answer's next bytes, as the leader got them."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The answer is whole."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The leader's call failed, in the leader's words."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """The leader, the log or Redis is gone: nothing more comes."""


_Records = list[tuple[bytes, dict[bytes, bytes]]]  # numbers, and a kind with its value
_LOSS = (b"", {_ABANDONED: b""})
Event = Head | Frame | End | Failed | Lost


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of one call's keys. `check`, the call's second digest, keeps calls apart whose keys collide."""

    entry: str
    lease: str
    token: str
    watchers: str
    _log: str

    @staticmethod
    def of(prefix: str, key: bytes, check: bytes) -> _Names:
        call = f"{{{key.hex()}}}" + (f":{check.hex()}" if check else "")
        return _Names(
            entry=entry_name(prefix, key),
            lease=f"{prefix}:l:{call}",
            token=f"{prefix}:n:{call}",
            watchers=f"{prefix}:w:{call}",
            _log=f"{prefix}:s:{call}",
        )

    def log(self, token: int) -> str:
        return f"{self._log}:{token}"


@dataclass(frozen=True, slots=True)
class _Terms:
    lease: float  # seconds
    linger: float  # seconds
    max_bytes: int


@dataclass(frozen=True, slots=True)
class _Ending:
    """The last record, and how many seconds the lease outlives it."""

    lease: float
    kind: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class _Batch:
    """Records to write at once, and how many seconds lease and log live from then on."""

    first: int  # number of the first record
    records: list[bytes]  # kinds and values in turn
    lease: float
    log: float
    is_last: bool


class _Redis:
    """The commands of this module. All raise StoreUnavailable."""

    def __init__(self, client: Client, tail: Client, prefix: str) -> None:
        self._client: Any = client  # redis-py's types differ between its client and its cluster client
        self._tail: Any = tail
        self._prefix = checked_prefix(prefix)
        self._acquire = client.register_script(_ACQUIRE)
        self._write = client.register_script(_WRITE)
        self._watch = client.register_script(_WATCH)
        self._count = client.register_script(_COUNT)

    def names(self, key: bytes, check: bytes) -> _Names:
        return _Names.of(self._prefix, key, check)

    async def acquire(self, names: _Names, follower: str, lease: float, *, unless_stored: bool) -> tuple[bytes, bytes]:
        keys = [names.entry, names.lease, names.token, names.watchers]
        async with in_time():
            what, token = await self._acquire(
                keys, [int(unless_stored), _ms(lease), follower, _ms(WATCHED), TOKENS_KEPT]
            )
        return what, token

    async def write(self, names: _Names, token: int, batch: _Batch) -> bool:
        """Write under a token; False if the lease is not its any more."""
        args: list[bytes | int] = [token, _ms(batch.log), _ms(batch.lease), batch.first, *batch.records]
        async with in_time():
            return bool(await self._write([names.lease, names.log(token)], args))

    async def read(self, log: str, after: int, block: float | None) -> _Records:
        """The next records of a log, after waiting for them at most `block` seconds; numbers and their fields."""
        async with in_time():
            streams = await self._tail.xread({log: f"{after}-0"}, COUNT, block and _ms(block))
        return list(streams[0][1]) if streams else []

    async def watch(self, names: _Names, follower: str) -> int:
        """Count as a follower for another while; the token of who leads, 0 if nobody does."""
        async with in_time():
            return int(await self._watch([names.lease, names.watchers], [follower, _ms(WATCHED)]) or 0)

    async def leave(self, names: _Names, follower: str) -> None:
        async with in_time():
            await self._client.zrem(names.watchers, follower)

    async def count(self, names: _Names) -> int:
        async with in_time():
            return int(await self._count([names.watchers]))


class Leases:
    """Who leads which call, over all gateways on one Redis.

    Readers that wait each hold a connection of `tail`, so that should be another client. `lease` is how long a leader
    may be silent before others take over, `linger` how long an ended log can still be read, both in seconds;
    `max_bytes` bounds what one flight puts into Redis.
    """

    def __init__(
        self,
        client: Client,
        *,
        tail: Client | None = None,
        prefix: str = "sluice",
        lease: float = 2.0,
        linger: float = 5.0,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self._redis = _Redis(client, client if tail is None else tail, prefix)
        self._terms = _Terms(lease, linger, max_bytes)
        self._leading: dict[asyncio.Task[None], Lead] = {}

    async def acquire(self, key: bytes, *, check: bytes = b"", unless_stored: bool = True) -> Lead | Follow | Stored:
        """Lead this call, follow who leads it, or hear that its answer was stored meanwhile.

        Who has seen the stored entry and cannot use it (stale, or another call's) asks with `unless_stored=False`. A
        Lead renews its lease from now on, until it is ended. Raises StoreUnavailable.
        """
        names, follower = self._redis.names(key, check), os.urandom(8).hex()
        what, token = await self._redis.acquire(names, follower, self._terms.lease, unless_stored=unless_stored)
        if what == b"stored":
            return Stored()
        if what == b"follow":
            return Follow(key, check, int(token), follower)
        lead = Lead(self._redis, names, int(token), self._terms)
        self._leading[lead.task] = lead
        lead.task.add_done_callback(self._leading.pop)
        return lead

    async def follow(self, flight: Follow) -> AsyncGenerator[Event, None]:
        """What the leader gets, from its beginning, as it comes; the last event is End, Failed or Lost.

        A leader that dies is noticed about `lease` + BLOCK seconds after it; a silent Redis after BLOCK + PATIENCE.
        The next record is read when the reader has taken this one. Close it (`aclose`) to stop early.
        """
        tail = _Tail(self._redis, flight)
        try:
            while not tail.ended:
                for event in await tail.read():
                    yield event
        finally:
            await tail.leave()

    async def close(self) -> None:
        """Stop all leading. Who has ended gets PATIENCE to say so, the others' leases lapse. The client stays open."""
        leading = dict(self._leading)
        for task, lead in leading.items():
            if not lead.has_ended:
                task.cancel()
        if leading:
            _, late = await asyncio.wait(leading, timeout=PATIENCE)
            for task in late:
                task.cancel()


class Lead:
    """This gateway leads: it tells what it gets, and ends in one of `finish`, `fail`, `abandon`.

    Telling only appends to a buffer, which one task writes out in batches and which also renews the lease. After the
    lease was lost, Redis failed or the flight grew over its bound (`is_lost`), telling does nothing.
    """

    def __init__(self, redis: _Redis, names: _Names, token: int, terms: _Terms) -> None:
        self.token = token
        self.is_lost = False
        self._redis = redis
        self._names = names
        self._terms = terms
        self._bytes = 0  # told so far
        self._records: list[bytes] = []  # kinds and values in turn, not written yet
        self._written = 0  # records
        self._frames: list[bytes] = []  # lengths and frames in turn, not yet a record
        self._frames_bytes = 0
        self._wake = asyncio.Event()
        self._ending: _Ending | None = None
        self.task = asyncio.get_running_loop().create_task(self._keep())

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Tell how the answer begins."""
        if not self._is_over():
            self._record(_HEAD, orjson.dumps([status, dict(headers)]))
            self._wake.set()

    def send(self, frame: bytes) -> None:
        """Tell the answer's next bytes; it never waits."""
        if self._is_over():
            return
        self._bytes += len(frame)
        if self._bytes > self._terms.max_bytes:
            self._end(0.0, _ABANDONED, b"")
            self.is_lost = True
            return
        self._frames += (len(frame).to_bytes(4, "big"), frame)
        self._frames_bytes += len(frame)
        if self._frames_bytes >= RECORD_BYTES:
            self._pack()
        self._wake.set()

    async def finish(self, *, stored: bool) -> bool:
        """The answer is whole. If it was stored, the lease lingers, so that late callers read this log and do not lead.

        True if the followers can read it to its end.
        """
        return await self._ended(min(SETTLED, self._terms.linger) if stored else 0.0, _END, b"")

    async def fail(self, data: bytes) -> bool:
        """The call failed: followers get `data` as it is. The lease ends at once."""
        return await self._ended(0.0, _FAILED, data)

    async def abandon(self) -> bool:
        """Nobody works on the call any more: followers read Lost. The lease ends at once."""
        return await self._ended(0.0, _ABANDONED, b"")

    async def followers(self) -> int:
        """How many callers of other gateways follow now. Raises StoreUnavailable."""
        return await self._redis.count(self._names)

    @property
    def has_ended(self) -> bool:
        """Say whether the last word was said, written or not."""
        return self._ending is not None

    def _is_over(self) -> bool:
        return self.is_lost or self._ending is not None

    def _record(self, kind: bytes, value: bytes) -> None:
        self._pack()
        self._records += (kind, value)

    def _pack(self) -> None:
        """Make a record of the frames so far."""
        if self._frames:
            self._records += (_FRAMES, b"".join(self._frames))
            self._frames, self._frames_bytes = [], 0

    def _end(self, lease: float, kind: bytes, value: bytes) -> None:
        if not self._is_over():
            self._ending = _Ending(lease, kind, value)
            self._wake.set()

    async def _ended(self, lease: float, kind: bytes, value: bytes) -> bool:
        """Wait until the last record is written, not longer than PATIENCE; to be cancelled here cancels no writing."""
        self._end(lease, kind, value)
        await asyncio.wait({self.task}, timeout=PATIENCE)
        return self.task.done() and not self.is_lost

    async def _keep(self) -> None:
        """Write what was told and renew the lease, until the end or until either fails."""
        try:
            await self._due()
            while await self._flush():
                await asyncio.sleep(GATHER)
                await self._due()
        except (StoreUnavailable, TimeoutError):
            # A write that failed may have happened; nothing is written after it, and the lease lapses.
            self.is_lost = True
        except asyncio.CancelledError:
            self.is_lost = True
            raise
        finally:
            self._records, self._frames = [], []

    async def _due(self) -> None:
        """Wait for something to write, or until the lease must be renewed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._terms.lease / 3):
                await self._wake.wait()

    async def _flush(self) -> bool:
        """Write all that was told and renew the lease; False if that was the last time."""
        self._wake.clear()
        batch = self._batch()
        async with asyncio.timeout(PATIENCE):
            held = await self._redis.write(self._names, self.token, batch)
        self.is_lost = self.is_lost or not held
        return held and not batch.is_last

    def _batch(self) -> _Batch:
        """All that was told and not yet written."""
        first, terms, ending = self._written + 1, self._terms, self._ending
        if ending is not None:
            self._record(ending.kind, ending.value)
        self._pack()
        records, self._records = self._records, []
        self._written += len(records) // 2
        if ending is not None:
            return _Batch(first, records, lease=ending.lease, log=terms.linger, is_last=True)
        return _Batch(first, records, lease=terms.lease, log=terms.lease + terms.linger, is_last=False)


class _Tail:
    """One reader of one log, and how far it has come."""

    def __init__(self, redis: _Redis, flight: Follow) -> None:
        self.ended = False
        self._redis = redis
        self._flight = flight
        self._names = redis.names(flight.key, flight.check)
        self._log = self._names.log(flight.token)
        self._last = 0
        self._watched = time.monotonic()
        self._reachable = True

    async def read(self) -> list[Event]:
        """The next events; none if nothing came for a while from a leader that lives."""
        try:
            async with asyncio.timeout(BLOCK + PATIENCE):
                records = await self._redis.read(self._log, self._last, BLOCK)
                if not records or time.monotonic() - self._watched > BLOCK:
                    records = await self._look(records)
        except (StoreUnavailable, TimeoutError):
            self._reachable = False
            return self._lost()
        return self._events(records)

    async def leave(self) -> None:
        """Count as a follower no more. A Redis that does not answer forgets it by itself."""
        if self._reachable:
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(LEAVING):
                    await self._redis.leave(self._names, self._flight.follower)

    async def _look(self, records: _Records) -> _Records:
        """Look whether the leader still leads. If not, what it wrote last, or a record of its loss."""
        self._watched = time.monotonic()
        if await self._redis.watch(self._names, self._flight.follower) == self._flight.token or records:
            return records
        # it may have ended between the two commands
        return await self._redis.read(self._log, self._last, None) or [_LOSS]

    def _events(self, records: _Records) -> list[Event]:
        events: list[Event] = []
        for number, fields in records:
            [(kind, value)] = fields.items()
            self._last += 1
            if number != b"%d-0" % self._last:
                return [*events, *self._lost()]
            try:
                events += _read(kind, value)
            except (TypeError, ValueError):  # a record of another release
                return [*events, *self._lost()]
        self.ended = bool(events) and isinstance(events[-1], (End, Failed, Lost))
        return events

    def _lost(self) -> list[Event]:
        self.ended = True
        return [Lost()]


def _read(kind: bytes, value: bytes) -> list[Event]:
    """The events of one record. Raises TypeError or ValueError for one that nobody here wrote."""
    if kind == _FRAMES:
        return list(_frames(value))
    if kind == _HEAD:
        status, headers = orjson.loads(value)
        return [Head(status, headers)]
    if kind == _FAILED:
        return [Failed(value)]
    return [End() if kind == _END else Lost()]


def _frames(value: bytes) -> Iterator[Frame]:
    at = 0
    while at < len(value):
        start = at + 4
        at = start + int.from_bytes(value[at:start], "big")
        yield Frame(value[start:at])


def _ms(seconds: float) -> int:
    """Whole milliseconds; only 0 is none."""
    return max(1, round(seconds * 1000)) if seconds else 0
