"""Single flight across gateways on real Redis: what followers read; what happens when leaders, leases or Redis go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from caching.connection import Client, connect
from caching.errors import StoreUnavailable
from caching.lease import BLOCK, PATIENCE, SETTLED, End, Event, Failed, Follow, Frame, Head, Lead, Leases, Lost, Stored
from caching.stores.redis import entry_name
from tests.redis_servers import redis_server, sentinel

KEY = bytes(range(32))
LEASE = 0.6  # seconds; short, because tests wait for it
SLACK = 0.5  # seconds a busy machine may add


class Gateways:
    """Gateways on one Redis, each with its own connections."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._opened: list[tuple[Leases, Client]] = []

    def add(self, *, lease: float = LEASE, linger: float = 2.0, max_bytes: int = 1_000_000) -> Leases:
        """One more gateway."""
        client = connect(self._url)
        leases = Leases(client, prefix=self._prefix, lease=lease, linger=linger, max_bytes=max_bytes)
        self._opened.append((leases, client))
        return leases

    async def close(self) -> None:
        """Close them all."""
        for leases, client in self._opened:
            await leases.close()
            await client.aclose()


@pytest.fixture
async def gateways(url: str, prefix: str) -> AsyncIterator[Gateways]:
    """Gateways on each kind of Redis in turn."""
    made = Gateways(url, prefix)
    yield made
    await made.close()


async def lead(leases: Leases) -> Lead:
    """Lead the call."""
    found = await leases.acquire(KEY)
    assert isinstance(found, Lead)
    return found


async def join(leases: Leases) -> Follow:
    """Follow the call."""
    found = await leases.acquire(KEY)
    assert isinstance(found, Follow)
    return found


async def read(leases: Leases, flight: Follow) -> list[Event]:
    """All that a follower reads."""
    return [event async for event in leases.follow(flight)]


async def timed(leases: Leases, flight: Follow) -> tuple[list[Event], float]:
    """All that a follower reads, and how many seconds it took."""
    began = time.monotonic()
    return await read(leases, flight), time.monotonic() - began


ALL = [Head(200, {"content-type": "text/event-stream"}), Frame(b"one"), Frame(b""), Frame(b"two"), End()]


def tell(leader: Lead) -> None:
    """Tell a whole short answer."""
    leader.begin(200, {"content-type": "text/event-stream"})
    for frame in (b"one", b"", b"two"):
        leader.send(frame)


async def test_followers_read_all(gateways: Gateways) -> None:
    """One gateway leads; those that follow, early or in the middle, read the whole answer frame by frame."""
    first, *others = [gateways.add() for _ in range(4)]
    leader = await lead(first)
    early = [asyncio.create_task(read(other, await join(other))) for other in others[:2]]
    leader.begin(200, {"content-type": "text/event-stream"})
    leader.send(b"one")
    await asyncio.sleep(0.05)
    middle = asyncio.create_task(read(others[2], await join(others[2])))
    leader.send(b"")
    leader.send(b"two")
    assert await leader.finish(stored=True)
    assert await asyncio.gather(*early, middle) == [ALL] * 3


async def test_live_tail(gateways: Gateways) -> None:
    """A frame reaches a follower while the answer goes on, not at its end."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    events = second.follow(await join(second))
    leader.begin(200, {})
    assert await anext(events) == Head(200, {})
    for frame in (b"a", b"b"):
        leader.send(frame)
        assert await asyncio.wait_for(anext(events), 0.4) == Frame(frame)
    await leader.finish(stored=False)
    assert await anext(events) == End()


async def test_late_follower(gateways: Gateways) -> None:
    """After a stored end the lease lingers: a late caller reads the whole log and does not lead."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    tell(leader)
    await leader.finish(stored=True)
    assert await read(second, await join(second)) == ALL


async def test_linger_ends(gateways: Gateways) -> None:
    """When the lingering is over, the next caller leads, with a greater token."""
    first = gateways.add(linger=0.2)
    leader = await lead(first)
    await leader.finish(stored=True)
    await asyncio.sleep(0.3)
    assert (await lead(first)).token > leader.token


async def test_not_stored(gateways: Gateways) -> None:
    """After an end that was not stored the next caller leads, and those who followed read to the end."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    flight = await join(second)
    tell(leader)
    await leader.finish(stored=False)
    next_leader = await lead(second)
    assert next_leader.token > leader.token
    assert await read(second, flight) == ALL


async def test_failed(gateways: Gateways) -> None:
    """A failed call's followers get the leader's own words, and the next caller leads at once."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    flight = await join(second)
    assert await leader.fail(b'{"code":"upstream_error"}')
    await lead(second)
    assert await read(second, flight) == [Failed(b'{"code":"upstream_error"}')]


async def test_abandoned(gateways: Gateways) -> None:
    """A leader that gives up tells its followers at once."""
    first, second = gateways.add(lease=5.0), gateways.add(lease=5.0)
    leader = await lead(first)
    following = asyncio.create_task(timed(second, await join(second)))
    leader.begin(200, {})
    await leader.abandon()
    events, took = await following
    assert events == [Head(200, {}), Lost()]
    assert took < SLACK
    await lead(second)


@pytest.mark.parametrize("told", [[], [Head(200, {}), Frame(b"one")]], ids=["before", "middle"])
async def test_leader_dies(gateways: Gateways, told: list[Event]) -> None:
    """A leader that dies, before its first record or in the middle, is noticed soon after its lease and replaced."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    if told:
        leader.begin(200, {})
        leader.send(b"one")
        await asyncio.sleep(0.05)
    flight = await join(second)
    await first.close()  # it renews no more, and says nothing
    assert not await leader.finish(stored=True)
    events, took = await timed(second, flight)
    assert events == [*told, Lost()]
    assert took < LEASE + BLOCK + SLACK
    await lead(second)


async def test_renewed(gateways: Gateways) -> None:
    """A leader that waits long for its first byte keeps its lease."""
    first, second = gateways.add(lease=0.3), gateways.add()
    leader = await lead(first)
    flight = await join(second)
    await asyncio.sleep(1.0)
    await join(second)
    tell(leader)
    assert await leader.finish(stored=False)
    assert await read(second, flight) == ALL


async def test_fencing(gateways: Gateways) -> None:
    """A leader stopped past its lease can neither write to its successor's log nor release its lease."""
    first, second, third = gateways.add(), gateways.add(), gateways.add()
    old = await lead(first)
    time.sleep(LEASE + 0.1)  # noqa: ASYNC251  # the process is stopped, and its renewing with it
    new = await lead(second)
    assert new.token > old.token
    flight = await join(third)
    old.begin(500, {})
    old.send(b"wrong")
    assert not await old.finish(stored=False)
    assert old.is_lost
    assert (await join(third)).token == new.token
    tell(new)
    assert await new.finish(stored=False)
    assert await read(third, flight) == ALL


async def test_lost_leader_goes_on(gateways: Gateways, client: Client, prefix: str) -> None:
    """A leader whose lease is gone may tell and end as before: nothing is raised, nothing is written."""
    leader = await lead(gateways.add())
    await client.delete(f"{prefix}:l:{{{KEY.hex()}}}")
    for _ in range(3):
        leader.send(b"x")
        await asyncio.sleep(0.05)
    assert leader.is_lost
    assert not await leader.finish(stored=True)
    assert not await leader.abandon()


async def test_tokens_outlive_redis(tmp_path: Path, prefix: str) -> None:
    """Tokens grow also over a Redis that forgot everything, so that an old leader stays fenced out."""
    with redis_server(tmp_path) as server:
        gateways = Gateways(server.url, prefix)
        old = await lead(gateways.add())
        server.kill()
        server.start()
        new = await lead(gateways.add())
        assert new.token > old.token
        assert not await old.finish(stored=False)
        assert isinstance(await gateways.add().acquire(KEY), Follow)
        await gateways.close()


async def test_stored_meanwhile(gateways: Gateways, client: Client, prefix: str) -> None:
    """Who asks after the answer was stored is told so; who cannot use what is stored leads."""
    leases = gateways.add()
    await client.set(entry_name(prefix, KEY), b"...")
    assert await leases.acquire(KEY) == Stored()
    assert isinstance(await leases.acquire(KEY, unless_stored=False), Lead)


async def test_colliding_keys(gateways: Gateways) -> None:
    """Calls whose keys collide but whose second digests differ do not follow each other."""
    first, second = gateways.add(), gateways.add()
    assert isinstance(await first.acquire(KEY, check=b"a" * 16), Lead)
    assert isinstance(await second.acquire(KEY, check=b"b" * 16), Lead)
    assert isinstance(await second.acquire(KEY, check=b"a" * 16), Follow)


async def test_followers_are_counted(gateways: Gateways) -> None:
    """The leader knows how many follow: from the moment they were told to, until they leave."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    assert await leader.followers() == 0
    flights = [await join(second) for _ in range(3)]
    assert await leader.followers() == 3
    leader.begin(200, {})
    async with aclosing(second.follow(flights[0])) as events:
        assert await anext(events) == Head(200, {})
    assert await leader.followers() == 2
    reading = asyncio.create_task(read(second, flights[1]))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait({reading})
    assert await leader.followers() == 1


async def test_follower_dies(gateways: Gateways) -> None:
    """A follower that says nothing more is not counted for long; one that waits for the answer is."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    await join(second)
    following = asyncio.create_task(read(second, await join(second)))
    await asyncio.sleep(2.3)
    assert await leader.followers() == 1
    tell(leader)
    await leader.finish(stored=False)
    assert await following == ALL


async def test_too_big(gateways: Gateways) -> None:
    """A flight over its bound is shared no more; the leader's own call is not disturbed."""
    first, second = gateways.add(max_bytes=1000), gateways.add()
    leader = await lead(first)
    following = asyncio.create_task(timed(second, await join(second)))
    leader.begin(200, {})
    for _ in range(50):
        leader.send(b"x" * 100)
    events, took = await following
    assert events[-1] == Lost()
    assert sum(len(event.data) for event in events if isinstance(event, Frame)) == 1000
    assert took < SLACK
    assert leader.is_lost
    assert not await leader.finish(stored=True)


async def test_big_and_fast(gateways: Gateways) -> None:
    """A fast long stream arrives whole and in order, in few records."""
    first, second = gateways.add(max_bytes=8_000_000), gateways.add()
    leader = await lead(first)
    following = asyncio.create_task(read(second, await join(second)))
    frames = [f"data: {number} {'x' * 1000}\n\n".encode() for number in range(4000)]
    leader.begin(200, {})
    for number, frame in enumerate(frames):
        leader.send(frame)
        if number % 100 == 0:
            await asyncio.sleep(0)
    assert await leader.finish(stored=False)
    assert await following == [Head(200, {}), *map(Frame, frames), End()]


async def test_gap(gateways: Gateways, client: Client, prefix: str) -> None:
    """A log that lost a record, as after a failover, is not read past the gap."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    flight = await join(second)
    tell(leader)
    await leader.finish(stored=True)
    await client.xdel(f"{prefix}:s:{{{KEY.hex()}}}:{leader.token}", "2-0")
    assert await read(second, flight) == [ALL[0], Lost()]


async def test_nothing_stays(gateways: Gateways, client: Client, prefix: str) -> None:
    """When a flight is over and its lingering too, only the token is left, and not for ever."""
    first, second = gateways.add(linger=0.2), gateways.add()
    leader = await lead(first)
    flight = await join(second)
    tell(leader)
    await leader.finish(stored=True)
    await read(second, flight)
    await asyncio.sleep(0.4)
    names = [name async for name in client.scan_iter(match=f"{prefix}:*")]
    assert names == [f"{prefix}:n:{{{KEY.hex()}}}".encode()]
    assert await client.pttl(names[0]) > 0


async def test_paused_redis(tmp_path: Path, prefix: str) -> None:
    """When Redis stops answering, followers are lost within a bound, the leader is not held up, and it works again."""
    with redis_server(tmp_path) as server:
        gateways = Gateways(server.url, prefix)
        first, second = gateways.add(), gateways.add()
        leader = await lead(first)
        following = asyncio.create_task(timed(second, await join(second)))
        await asyncio.sleep(0.1)
        server.pause()
        leader.send(b"one")
        began = time.monotonic()
        assert not await leader.finish(stored=True)
        assert time.monotonic() - began < PATIENCE + SLACK
        events, took = await following
        assert events == [Lost()]
        assert took < BLOCK + PATIENCE + SLACK
        with pytest.raises(StoreUnavailable):
            await second.acquire(KEY)
        server.resume()
        await asyncio.sleep(LEASE + 0.1)
        again = await lead(second)
        flight = await join(first)
        tell(again)
        await again.finish(stored=False)
        assert await read(first, flight) == ALL
        await gateways.close()


async def test_killed_redis(tmp_path: Path, prefix: str) -> None:
    """When Redis is killed, followers are lost at once; when it is back, the next caller leads."""
    with redis_server(tmp_path) as server:
        gateways = Gateways(server.url, prefix)
        first, second = gateways.add(), gateways.add()
        leader = await lead(first)
        following = asyncio.create_task(timed(second, await join(second)))
        await asyncio.sleep(0.1)
        server.kill()
        events, took = await following
        assert events == [Lost()]
        assert took < SLACK
        with pytest.raises(StoreUnavailable):
            await second.acquire(KEY)
        server.start()
        await lead(second)
        leader.send(b"one")
        assert not await leader.finish(stored=True)
        await gateways.close()


async def test_failover(tmp_path: Path, prefix: str) -> None:
    """When the master dies, its followers are lost and calls are led on the replica; no log is mixed."""
    with sentinel(tmp_path) as servers:
        gateways = Gateways(servers.url, prefix)
        first, second = gateways.add(), gateways.add()
        leader = await lead(first)
        flight = await join(second)
        servers.master.kill()
        assert await read(second, flight) == [Lost()]
        assert await _led_again(second, 20.0)
        assert not await leader.finish(stored=False)
        await gateways.close()


async def _led_again(leases: Leases, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if isinstance(await leases.acquire(KEY), Lead):
                return True
        except StoreUnavailable:
            pass
        await asyncio.sleep(0.1)
    return False


async def test_lease_ends_before_its_log(gateways: Gateways) -> None:
    """A log can be read for long after a stored end, but who comes anew soon leads: the answer may have been purged."""
    first, second = gateways.add(linger=30.0), gateways.add()
    leader = await lead(first)
    flight = await join(second)
    tell(leader)
    await leader.finish(stored=True)
    await asyncio.sleep(SETTLED + 0.1)
    await lead(second)
    assert await read(second, flight) == ALL


async def test_close_lets_the_last_word_out(gateways: Gateways) -> None:
    """A gateway that closes right after an answer's end still tells the others that it has ended."""
    first, second = gateways.add(), gateways.add()
    leader = await lead(first)
    flight = await join(second)
    tell(leader)
    ending = asyncio.create_task(leader.finish(stored=False))
    await asyncio.sleep(0)
    await first.close()
    assert await ending
    assert await read(second, flight) == ALL
