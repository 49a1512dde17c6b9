"""Entries in real Redis servers: what is kept and dropped, what purges reach, and what outages cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from caching.connection import Client, connect
from caching.entry import Entry
from caching.errors import StoreUnavailable
from caching.forms import Answer
from caching.stores import Purged, Selection
from caching.stores.redis import COUNTED, RedisStore, entry_name
from tests.redis_servers import Server, cluster, redis_server, sentinel

KEY = bytes(range(32))
ANSWER = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."}}]}'
BOUND = 4.0  # seconds within which an outage of Redis is noticed, even without the caller's own deadline


def an_entry(key: bytes = KEY, **changes: object) -> Entry:
    """An entry made now."""
    now = time.time()
    entry = Entry(
        key=key,
        check=bytes(16),
        tenant="acme",
        namespace="",
        tags=("a",),
        model="m",
        upstream="u",
        created=now - 1,
        expires=now + 60,
        dies=now + 120,
        seconds=1.5,
        tokens=7,
        parts=(),
        answer=Answer.of_plain(ANSWER),
    )
    return replace(entry, **changes)  # type: ignore[arg-type]  # each test names fields of an entry


async def recovered(act: Callable[[], Awaitable[object]], seconds: float = 20.0) -> int:
    """Try until the store can do it; how often it could not."""
    until = time.monotonic() + seconds
    failures = 0
    while time.monotonic() < until:
        try:
            await act()
        except StoreUnavailable:
            failures += 1
            await asyncio.sleep(0.05)
        else:
            return failures
    raise AssertionError("Redis did not come back")


async def refused(store: RedisStore) -> float:
    """Seconds until a lookup says that the store is unavailable."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.get(KEY)
    return time.monotonic() - began


async def test_kept(client: Client, prefix: str) -> None:
    """An entry comes back as it went in; another key has none."""
    store = RedisStore(client, prefix=prefix)
    entry = an_entry()
    await store.put([entry])
    found = await store.get(KEY)
    assert found is not None
    assert found.dumps() == entry.dumps()
    assert await store.get(bytes(32)) is None
    assert store.may_hold(bytes(32))


async def test_many(client: Client, prefix: str) -> None:
    """Entries put at once are all kept, wherever a Cluster puts them, and counted."""
    store = RedisStore(client, prefix=prefix)
    many = [an_entry(number.to_bytes(32, "big")) for number in range(200)]
    await store.put(many)
    assert all([await store.get(entry.key) for entry in many])
    assert await store.usage() == (200, sum(len(entry.dumps()) for entry in many))


async def test_too_many_to_count(client: Client, prefix: str) -> None:
    """Of a big Redis its keys and its memory are told, of a Cluster those of all its masters."""
    store = RedisStore(client, prefix=prefix)
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(COUNTED + 1):
            pipeline.set(f"{prefix}:{number}", b"")
        await pipeline.execute()
    keys, size = await store.usage()
    assert keys > COUNTED
    assert size > 1_000_000
    await client.flushdb()


async def test_dies(client: Client, prefix: str) -> None:
    """Redis itself forgets an entry when it dies, and one that is dead already is not put."""
    store = RedisStore(client, prefix=prefix)
    now = time.time()
    await store.put([an_entry(expires=now + 0.1, dies=now + 0.2), an_entry(bytes(32), expires=now - 1, dies=now - 1)])
    assert await store.get(bytes(32)) is None
    left = await client.pttl(entry_name(prefix, KEY))
    assert 0 < left <= 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[:0],
        lambda data: data[:30] + b"!" + data[31:],
        lambda data: b"SLCE\xff" + data[5:],
    ],
    ids=["truncated", "empty", "flipped", "version"],
)
async def test_corrupt(client: Client, prefix: str, spoil: Callable[[bytes], bytes]) -> None:
    """What is not whole and of this version is a miss and is dropped."""
    store = RedisStore(client, prefix=prefix)
    await client.set(entry_name(prefix, KEY), spoil(an_entry().dumps()))
    assert await store.get(KEY) is None
    assert await client.exists(entry_name(prefix, KEY)) == 0


async def test_other_key(client: Client, prefix: str) -> None:
    """An entry that lies under another's key is a miss."""
    store = RedisStore(client, prefix=prefix)
    await client.set(entry_name(prefix, KEY), an_entry(bytes(32)).dumps())
    assert await store.get(KEY) is None


async def test_drop(client: Client, prefix: str) -> None:
    """A dropped entry is gone, the others are not."""
    store = RedisStore(client, prefix=prefix)
    await store.put([an_entry(), an_entry(bytes(32))])
    await store.drop([KEY, b"?" * 32])
    await store.drop([])
    assert await store.get(KEY) is None
    assert await store.get(bytes(32)) is not None


async def test_purge(client: Client, prefix: str) -> None:
    """A purge takes what it selects, a dry run only counts it, and other prefixes are left alone."""
    store, other = RedisStore(client, prefix=prefix), RedisStore(client, prefix=f"{prefix}x")
    mine, theirs = an_entry(), an_entry(bytes(32), tenant="other")
    await store.put([mine, theirs])
    await other.put([mine])
    size = len(mine.dumps())
    assert await store.purge(Selection(tenant="acme"), dry_run=True) == Purged(1, size, dry_run=True)
    assert await store.get(KEY) is not None
    assert await store.purge(Selection(tenant="acme"), dry_run=False) == Purged(1, size, dry_run=False)
    assert await store.get(KEY) is None
    assert await store.get(bytes(32)) is not None
    assert (await store.purge(Selection(), dry_run=False)).entries == 1
    assert await other.get(KEY) is not None


async def test_purges_are_told(client: Client, url: str, prefix: str) -> None:
    """Every gateway hears of a purge once, in order, with what it selected."""
    store = RedisStore(client, prefix=prefix)
    second = connect(url)
    other = RedisStore(second, prefix=prefix)
    assert await other.purges(0) == []
    await store.purge(Selection(tag="a"), dry_run=False)
    await store.purge(Selection(namespace="n", older_than=60.0), dry_run=False)
    await store.purge(Selection(), dry_run=True)
    (first, one), (last, two) = await other.purges(0)
    assert (one, two) == (Selection(tag="a"), Selection(namespace="n", older_than=60.0))
    assert last > first > 0
    assert await other.purges(first) == [(last, two)]
    assert await other.purges(last) == []
    await other.close()


async def test_unreadable_purge(client: Client, prefix: str) -> None:
    """A purge of another release, which cannot be read, is taken as one of everything."""
    await client.xadd(f"{prefix}:purges", {"selection": '{"planet":"mars"}', "at": "1"})
    [(_, selection)] = await RedisStore(client, prefix=prefix).purges(0)
    assert selection == Selection()


async def test_written_behind_a_purge(client: Client, url: str, prefix: str) -> None:
    """An answer made before a purge by another gateway does not come back although it is put after it."""
    second = connect(url)
    store, other = RedisStore(client, prefix=prefix), RedisStore(second, prefix=prefix)
    before = an_entry()
    await other.purge(Selection(tenant="acme"), dry_run=False)
    await store.put([before, an_entry(bytes(32), created=time.time())])
    assert await store.get(KEY) is None
    assert await other.get(KEY) is None
    assert await store.get(bytes(32)) is not None
    await other.close()


async def test_paused(tmp_path: Path) -> None:
    """A server that accepts and never answers costs a bounded time, then works again."""
    with redis_server(tmp_path) as server:
        store = RedisStore(connect(server.url))
        await store.put([an_entry()])
        server.pause()
        assert await refused(store) < BOUND
        server.resume()
        await recovered(store.ping)
        assert await store.get(KEY) is not None
        await store.close()


async def test_deadline(tmp_path: Path) -> None:
    """A lookup that a caller's deadline cut off leaves no answer behind for the next lookup."""
    with redis_server(tmp_path) as server:
        store = RedisStore(connect(server.url))
        await store.put([an_entry()])
        server.pause()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.get(KEY), 0.05)
        server.resume()
        assert await store.get(bytes(32)) is None
        found = await store.get(KEY)
        assert found is not None
        assert found.key == KEY
        await store.close()


async def test_killed(tmp_path: Path) -> None:
    """A server that was killed is unavailable at once; started again, it works and has forgotten everything."""
    with redis_server(tmp_path) as server:
        store = RedisStore(connect(server.url))
        await store.put([an_entry()])
        server.kill()
        assert await refused(store) < 0.5
        server.start()
        assert await recovered(store.ping) == 0
        assert await store.get(KEY) is None
        await store.put([an_entry()])
        assert await store.get(KEY) is not None
        await store.close()


async def test_killed_under_load(tmp_path: Path) -> None:
    """After a restart no connection of before makes a later lookup fail."""
    with redis_server(tmp_path) as server:
        store = RedisStore(connect(server.url))
        await asyncio.gather(*(store.get(KEY) for _ in range(50)))
        server.kill()
        server.start()
        results = await asyncio.gather(*(store.get(KEY) for _ in range(50)), return_exceptions=True)
        assert results == [None] * 50
        await store.close()


async def test_full(tmp_path: Path) -> None:
    """A server at its memory limit refuses entries and still gives those it has."""
    with redis_server(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        store = RedisStore(connect(server.url))
        await store.put([an_entry()])
        big = Answer.of_plain(b'{"pad":"' + b"x" * 200_000 + b'"}')
        with pytest.raises(StoreUnavailable, match="memory limit") as caught:
            await store.put([an_entry(number.to_bytes(32, "big"), answer=big) for number in range(40)])
        assert "xxx" not in repr(caught.value.__cause__)
        assert await store.get(KEY) is not None
        await store.close()


async def test_wrong_password(tmp_path: Path) -> None:
    """A refused password is unavailability that does not say the password."""
    with redis_server(tmp_path) as server:
        server.tell("CONFIG", "SET", "requirepass", "the-right-one")
        store = RedisStore(connect(server.url.replace("//", "//:the-wrong-one@")))
        with pytest.raises(StoreUnavailable, match="refused the user or the password") as caught:
            await store.get(KEY)
        assert "wrong-one" not in f"{caught.value} {caught.value.__cause__}"
        await store.close()


async def test_socket(tmp_path: Path) -> None:
    """A Unix socket serves as well."""
    with redis_server(tmp_path, socket=True) as server:
        store = RedisStore(connect(server.url))
        await store.put([an_entry()])
        assert await store.get(KEY) is not None
        await store.close()


async def test_nobody_there(tmp_path: Path) -> None:
    """A socket that nobody made is unavailability."""
    store = RedisStore(connect(f"unix://{tmp_path}/none.sock"))
    assert await refused(store) < 0.5
    await store.close()


async def test_failover(tmp_path: Path) -> None:
    """When the master dies, the store follows the Sentinel to the replica, with what it had."""
    with sentinel(tmp_path) as servers:
        store = RedisStore(connect(servers.url))
        await store.put([an_entry()])
        _replicated(servers.replica)
        servers.master.kill()
        await recovered(store.ping)
        assert await store.get(KEY) is not None
        await store.put([an_entry(bytes(32))])
        await store.close()


@pytest.mark.parametrize("outage", ["pause", "kill"])
async def test_cluster_node_gone(tmp_path: Path, outage: str) -> None:
    """A node of a Cluster that is silent or dead costs its keys a bounded time; when it is back, they work again."""
    with cluster(tmp_path) as servers:
        store = RedisStore(connect(servers.url))
        await store.put([an_entry()])
        [node] = [node for node in servers.nodes if node.tell("DBSIZE") == 1]
        getattr(node, outage)()
        assert await refused(store) < BOUND
        assert await refused(store) < BOUND
        node.resume() if outage == "pause" else node.start()
        await recovered(lambda: store.put([an_entry()]))
        assert await store.get(KEY) is not None
        await store.close()


async def test_cluster_within_a_deadline(cluster_url: str, prefix: str) -> None:
    """A Cluster is learnt although every caller's deadline is shorter than that takes."""
    store = RedisStore(connect(cluster_url), prefix=prefix)
    assert await recovered(lambda: _within(0.005, store.get(KEY))) > 0
    await store.close()


async def test_cluster_failover(tmp_path: Path) -> None:
    """When a node's machine is gone and its replica took over, callers with a deadline find the replica."""
    with cluster(tmp_path, replicas=1) as servers:
        store = RedisStore(connect(servers.url))
        await store.put([an_entry()])
        [node] = [node for node in servers.nodes if node.tell("DBSIZE") == 1 and node.tell("ROLE")[0] == b"master"]
        node.pause()
        assert await recovered(lambda: _within(0.05, store.get(KEY))) > 0
        await store.close()


async def _within(seconds: float, lookup: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await lookup
    except TimeoutError as error:
        raise StoreUnavailable("timed out") from error


async def test_stopped_cluster(cluster_url: str, prefix: str) -> None:
    """A closed store of a Cluster can be closed again."""
    store = RedisStore(connect(cluster_url), prefix=prefix)
    await store.ping()
    await store.close()
    await store.close()


def _replicated(replica: Server) -> None:
    """Wait until the replica has the entry."""
    until = time.monotonic() + 5
    while replica.tell("DBSIZE") == 0:
        assert time.monotonic() < until
        time.sleep(0.02)
