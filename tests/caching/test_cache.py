"""Memory in front, a slow store behind: hits at once, writes later, and no trouble behind reaches a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from caching.cache import HITS, WAITING, Cache, Parts
from caching.entry import Entry
from caching.errors import StoreUnavailable, Unkeyable
from caching.forms import Answer
from caching.guard import Guarded
from caching.stores import Purged, Selection, Store
from caching.stores.memory import Memory
from tests.fakes.stores import START, Clock, FakeStore, entry, key, same

UNFAITHFUL = [b"data: what is this\n\n"]


@asynccontextmanager
async def started(store: Store | None, clock: Clock, *, follow: float = 60.0) -> AsyncIterator[Cache]:
    """A cache at work that writes without delay."""
    cache = Cache(Memory(1 << 20, clock), store, clock=clock, delay=0.0, follow=follow)
    cache.start()
    yield cache
    await cache.aclose()


def idle(store: Store | None, clock: Clock) -> Cache:
    """A cache whose task was not started: what is to be written waits."""
    return Cache(Memory(1 << 20, clock), store, clock=clock)


async def settled(cache: Cache) -> None:
    """Wait until nothing waits to be written."""
    await until(lambda: not cache.status()["queue"])


async def until(condition: Callable[[], object]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def test_put_is_seen_at_once() -> None:
    """What was put is given the next moment, from memory."""
    cache = idle(FakeStore(Clock()), Clock())
    made = entry()
    cache.put(made)
    assert same(cache.peek(made.key), made)
    assert same(await cache.get(made.key), made)
    assert cache.peek(key("never")) is None


async def test_written_behind() -> None:
    """What was put reaches the slow store a little later."""
    clock = Clock()
    store = FakeStore(clock)
    async with started(store, clock) as cache:
        for number in range(200):
            cache.put(entry(number))
        await settled(cache)
        assert len(store.values) == 200
        assert store.calls.count("put") == 4  # batches of 64


async def test_found_behind() -> None:
    """What only the slow store holds is given, and from then on lies in memory."""
    clock = Clock()
    store = FakeStore(clock)
    await store.put([entry()])
    cache = idle(store, clock)
    assert cache.peek(key("a")) is None
    assert same(await cache.get(key("a")), entry())
    assert same(cache.peek(key("a")), entry())


async def test_surely_absent() -> None:
    """A key the slow store cannot hold is not asked for."""
    store = FakeStore(Clock())
    assert await idle(store, Clock()).get(key("a")) is None
    assert store.calls == []


async def test_dead() -> None:
    """An entry past its end is given by nobody."""
    clock = Clock()
    store = FakeStore(clock)
    async with started(store, clock) as cache:
        cache.put(entry())
        await settled(cache)
        clock.now = START + 3601
        assert cache.peek(key("a")) is None
        assert await cache.get(key("a")) is None


async def test_memory_is_no_limit() -> None:
    """An entry that memory does not hold is given while it waits to be written."""
    clock = Clock()
    cache = Cache(Memory(10, clock), FakeStore(clock), clock=clock)
    cache.put(entry())
    cache.status()
    assert cache.peek(key("a")) is None
    assert same(await cache.get(key("a")), entry())


async def test_dropped() -> None:
    """A dropped key is gone at once from everywhere, also while the slow store still has it."""
    clock = Clock()
    store = FakeStore(clock)
    await store.put([entry()])
    cache = idle(store, clock)
    assert await cache.get(key("a")) is not None
    cache.drop(key("a"))
    assert await cache.get(key("a")) is None
    cache.start()
    await settled(cache)
    assert store.values == {}
    cache.put(entry(text="again"))
    await cache.aclose()
    assert same(await FakeStoreOf(store, clock).get(key("a")), entry(text="again"))


class FakeStoreOf(FakeStore):
    """The same values after the first store was closed."""

    def __init__(self, other: FakeStore, clock: Clock) -> None:
        super().__init__(clock)
        self.values = other.values


class Counted(FakeStore):
    """It answers when it is told to, and counts how often it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.looks = 0
        self.answers = asyncio.Event()

    async def get(self, key: bytes) -> Entry | None:
        """The entry, in its time."""
        self.looks += 1
        await self.answers.wait()
        return await super().get(key)


class Slow(FakeStore):
    """Each get waits until it is told to go on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def get(self, key: bytes) -> Entry | None:
        found = await super().get(key)
        self.asked.set()
        await self.go_on.wait()
        return found


@pytest.mark.parametrize("how", ["drop", "purge"])
async def test_removed_while_looked_up(how: str) -> None:
    """An entry that is dropped or purged while the slow store is looking is not given and not kept."""
    clock = Clock()
    store = Slow(clock)
    await store.put([entry()])
    cache = idle(store, clock)
    looking = asyncio.create_task(cache.get(key("a")))
    await store.asked.wait()
    if how == "drop":
        cache.drop(key("a"))
    else:
        await cache.purge(Selection(tenant="acme"), dry_run=False)
    store.go_on.set()
    assert await looking is None
    assert cache.peek(key("a")) is None


async def test_looks_are_shared() -> None:
    """Equal calls at once are one look behind; one of them that is cancelled does not take it from the others."""
    clock = Clock()
    store = Counted(clock)
    made = entry()
    await store.put([made])
    cache = idle(store, clock)
    first, *others = [asyncio.create_task(cache.get(made.key)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    store.answers.set()
    assert all(same(found, made) for found in await asyncio.gather(*others))
    assert store.looks == 2  # the cancelled one, and one for all others
    assert same(await cache.get(made.key), made)
    assert store.looks == 2


async def test_purge() -> None:
    """A purge empties memory, the queue and the slow store of what it selects; a dry run only counts."""
    clock = Clock()
    store = FakeStore(clock)
    await store.put([entry("old")])
    cache = idle(store, clock)
    cache.put(entry("new"))
    cache.put(entry("other", tenant="umbrella"))
    assert (await cache.purge(Selection(tenant="acme"), dry_run=True)).entries == 1
    assert await cache.get(key("old")) is not None
    done = await cache.purge(Selection(tenant="acme"), dry_run=False)
    assert done.entries == 1
    assert [await cache.get(key(name)) is None for name in ("old", "new", "other")] == [True, True, False]
    cache.start()
    await cache.aclose()
    assert list(store.values) == [key("other")]


async def test_purge_without_a_slow_store() -> None:
    """Memory alone is purged as well; it can count only all of it."""
    cache = idle(None, Clock())
    cache.put(entry("a"))
    assert (await cache.purge(Selection(tenant="acme"), dry_run=False)) == Purged(0, 0, dry_run=False)
    assert cache.peek(key("a")) is None
    cache.put(entry("b", created=START + 1, tenant="umbrella"))
    assert (await cache.purge(Selection(), dry_run=True)).entries == 1


async def test_purge_that_fails_behind() -> None:
    """If the slow store fails, the operator is told, and memory is purged even so."""
    store = FakeStore(Clock())
    cache = idle(store, Clock())
    cache.put(entry())
    store.down = "cut"
    with pytest.raises(StoreUnavailable):
        await cache.purge(Selection(), dry_run=False)
    assert cache.peek(key("a")) is None


async def test_follows_others_purges() -> None:
    """A purge another process makes reaches memory; those from before this process began do not."""
    clock = Clock()
    store = FakeStore(clock)
    store.others_purges.append((5, Selection(tenant="acme")))
    async with started(store, clock, follow=0.005) as cache:
        cache.put(entry())
        await settled(cache)
        await until(lambda: store.calls.count("purges") >= 3)
        assert cache.peek(key("a")) is not None
        store.others_purges.append((6, Selection(tenant="acme")))
        await until(lambda: cache.peek(key("a")) is None)


async def test_blind_at_first() -> None:
    """If others' purges could not be seen since the beginning, all of them are followed then: any may be new."""
    clock = Clock()
    store = FakeStore(clock)
    store.down = "cut"
    store.others_purges.append((5, Selection(tenant="acme")))
    async with started(store, clock, follow=0.005) as cache:
        await until(lambda: "purges" in store.calls)
        cache.put(entry())
        cache.put(entry("b", tenant="other"))
        store.down = ""
        await until(lambda: cache.peek(key("a")) is None)
        assert cache.peek(key("b")) is not None


async def test_unfaithful() -> None:
    """An answer that cannot be kept leaves memory too, and costs the others of its batch nothing."""
    clock = Clock()
    store = FakeStore(clock)
    async with started(store, clock) as cache:
        cache.put(entry("a"))
        cache.put(replace(entry("b"), answer=Answer.of_stream(UNFAITHFUL)))
        await settled(cache)
        assert cache.peek(key("a")) is not None
        assert cache.peek(key("b")) is None
        assert list(store.values) == [key("a")]


async def test_unfaithful_without_a_slow_store() -> None:
    """The same holds with memory alone."""
    clock = Clock()
    async with started(None, clock) as cache:
        cache.put(replace(entry(), answer=Answer.of_stream(UNFAITHFUL)))
        await settled(cache)
        assert cache.peek(key("a")) is None


async def test_no_trouble_reaches_a_call() -> None:
    """With a store that fails, then never answers, memory goes on and everything else is a miss."""
    clock = Clock()
    store = FakeStore(clock)
    await store.put([entry("behind")])
    guard = Guarded(store, deadline=0.005, writing=0.005, rest=60)
    async with started(guard, clock) as cache:
        for store.down, store.hanging in (("cut", False), ("", True)):
            cache.put(entry("here"))
            assert cache.peek(key("here")) is not None
            assert await cache.get(key("behind")) is None
            assert await cache.get(key("nowhere")) is None
            await settled(cache)
        await cache.get(key("behind"))
        assert cache.status()["store"] == "open"
        assert cache.status()["reason"]
        store.hanging = False


async def test_queue_is_bounded() -> None:
    """What there is no room for is counted and still lies in memory; nobody waits."""
    cache = Cache(Memory(1 << 26, Clock()), FakeStore(Clock()), clock=Clock())
    for number in range(WAITING + 10):
        cache.put(entry(number))
    assert cache.status()["queue"] == WAITING
    assert cache.status()["dropped"] == 10
    assert cache.peek(key(WAITING + 9)) is not None


async def test_written_once() -> None:
    """An entry put twice before it is written is written once, as it was last."""
    clock = Clock()
    store = FakeStore(clock)
    cache = idle(store, clock)
    cache.put(entry(text="first"))
    cache.put(entry(text="last"))
    assert cache.status()["queue"] == 1
    cache.start()
    await settled(cache)
    assert same(await store.get(key("a")), entry(text="last"))
    await cache.aclose()


async def test_parts_come_later() -> None:
    """What an entry's parts are is asked for when it is written, not by the call; memory never holds them."""
    clock = Clock()
    store = FakeStore(clock)
    cache = idle(store, clock)
    cache.put(entry(parts=()), lambda: (("model", "00"),))
    cache.start()
    await settled(cache)
    written = await store.get(key("a"))
    assert written is not None
    assert written.parts == (("model", "00"),)
    held = cache.peek(key("a"))
    assert held is not None
    assert held.parts == ()
    await cache.aclose()


async def test_no_parts() -> None:
    """An entry whose parts cannot be told is not kept, and costs the others of its batch nothing."""
    clock = Clock()
    store = FakeStore(clock)

    def none() -> Parts:
        raise Unkeyable("it cannot be told apart")

    async with started(store, clock) as cache:
        cache.put(entry("a"))
        cache.put(entry("b"), none)
        await settled(cache)
        assert cache.peek(key("b")) is None
        assert list(store.values) == [key("a")]


async def test_a_fault_in_a_write(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of our own costs the batch it is in, is logged without what it says, and later batches are written."""
    clock = Clock()
    store = FakeStore(clock)
    words = "an answer's secret words"

    def faulty() -> Parts:
        raise ZeroDivisionError(words)

    async with started(store, clock) as cache:
        cache.put(entry("a"), faulty)
        await settled(cache)
        assert cache.peek(key("a")) is not None
        assert cache.status()["dropped"] == 1
        cache.put(entry("b"))
        await settled(cache)
        assert list(store.values) == [key("b")]
    assert "ZeroDivisionError" in caplog.text
    assert "in faulty" in caplog.text
    assert "secret words" not in caplog.text


class Confused(FakeStore):
    """Its first answers about purges are no purges."""

    async def purges(self, after: int) -> list[tuple[int, Selection]]:
        found = await super().purges(after)
        if self.calls.count("purges") <= 2:
            raise TypeError("not a purge")
        return found


async def test_a_fault_in_following() -> None:
    """A fault while others' purges are looked for counts as not having seen them; writing and following go on."""
    clock = Clock()
    store = Confused(clock)
    store.others_purges.append((5, Selection(tenant="acme")))
    async with started(store, clock, follow=0.005) as cache:
        cache.put(entry())
        await until(lambda: store.calls.count("purges") >= 3)
        await until(lambda: cache.peek(key("a")) is None)
        cache.put(entry("b", tenant="other"))
        await settled(cache)
        assert key("b") in store.values


async def test_hits_are_told() -> None:
    """The slow store is told now and then how often memory served which key; what it served itself it knows."""
    clock = Clock()
    store = FakeStore(clock)
    cache = Cache(Memory(1 << 20, clock), store, clock=clock, delay=0.0, follow=0.005, tell=0.0)
    cache.put(entry("asked"))
    cache.put(entry("never"))
    for _ in range(3):
        cache.peek(key("asked"))
    await cache.get(key("asked"))
    cache.start()
    await until(lambda: store.hits)
    assert store.hits == {key("asked"): 4}
    cache.peek(key("asked"))
    await until(lambda: store.hits[key("asked")] == 5)
    await cache.aclose()


async def test_hits_are_told_seldom() -> None:
    """Looking for others' purges tells no hits before their time; the store is tidied even so."""
    clock = Clock()
    store = FakeStore(clock)
    async with started(store, clock, follow=0.005) as cache:
        await until(lambda: "tidy" in store.calls)
        cache.put(entry())
        cache.peek(key("a"))
        await until(lambda: store.calls.count("tidy") >= 3)
        assert store.hits == {}


async def test_counted_hits_are_bounded() -> None:
    """However many keys are asked for, the hits of so many are counted at most."""
    clock = Clock()
    store = FakeStore(clock)
    cache = Cache(Memory(1 << 26, clock), store, clock=clock, tell=0.0)
    for number in range(HITS + 10):
        cache.put(entry(number))
        cache.peek(key(number))
    cache.start()
    await until(lambda: store.hits)
    assert len(store.hits) == HITS
    await cache.aclose()


async def test_may_hold() -> None:
    """It says whether a look behind memory may find anything."""
    store = FakeStore(Clock())
    await store.put([entry("behind")])
    cache = idle(store, Clock())
    cache.put(entry("waiting"))
    assert [cache.may_hold(key(name)) for name in ("behind", "waiting", "never")] == [True, True, False]
    assert not idle(None, Clock()).may_hold(key("behind"))


async def test_status() -> None:
    """The status says what is held, what waits, and how the slow store is."""
    cache = idle(FakeStore(Clock()), Clock())
    cache.put(entry())
    status = cache.status()
    assert status["entries"] == 1
    assert 0 < status["bytes"] <= status["max_bytes"] == 1 << 20
    assert (status["queue"], status["dropped"], status["store"], status["reason"]) == (1, 0, "closed", "")
    assert idle(None, Clock()).status()["store"] == "none"


async def test_close_writes_what_waits() -> None:
    """Closing without waiting still writes what waits and closes the slow store; nothing is taken any more."""
    clock = Clock()
    store = FakeStore(clock)
    cache = idle(store, clock)
    cache.put(entry("a"))
    cache.start()
    cache.close()
    cache.put(entry("b"))
    await until(lambda: store.closed)
    assert list(store.values) == [key("a")]
    await cache.aclose()


async def test_close_without_start() -> None:
    """A cache that was never started closes its slow store too."""
    store = FakeStore(Clock())
    await idle(store, Clock()).aclose()
    assert store.closed
