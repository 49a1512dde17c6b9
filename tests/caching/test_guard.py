"""A slow store costs a call its deadline, a dead one nothing, and a call never pays for a probe."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import pytest

from caching.entry import Entry
from caching.errors import StoreUnavailable
from caching.guard import Guarded
from caching.stores import Selection
from tests.fakes.stores import Clock, FakeStore, entry, key, same


def guarded(store: FakeStore, **options: float) -> Guarded:
    """Fast enough for a test: deadlines of 20 ms, and rests of 5."""
    return Guarded(store, **({"deadline": 0.02, "writing": 0.02, "rest": 0.005} | options))  # type: ignore[arg-type]


async def until(store: Guarded, state: str) -> None:
    """Wait for the breaker's state."""
    await so(lambda: store.state == state)


async def so(condition: Callable[[], object]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def broken(store: FakeStore, guard: Guarded) -> None:
    """Let the breaker open."""
    store.down = "out of order"
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await guard.get(key("a"))


async def test_passes_everything_on() -> None:
    """While all is well the guard is the store."""
    store = FakeStore(Clock())
    guard = guarded(store)
    await guard.put([entry()])
    assert guard.may_hold(key("a"))
    assert same(await guard.get(key("a")), entry())
    assert (await guard.usage())[0] == 1
    assert [one.key for one in await guard.newest(5)] == [key("a")]
    assert (await guard.purge(Selection(tag="x"), dry_run=True)).entries == 0
    assert await guard.purges(0) == []
    await guard.drop([key("a")])
    await guard.ping()
    assert guard.state == "closed"
    assert guard.reason == ""
    await guard.close()
    assert store.closed


async def test_deadline() -> None:
    """A store that never answers costs the deadline, and the call is told."""
    store = FakeStore(Clock())
    store.hanging = True
    guard = guarded(store)
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable, match="timed out"):
        await guard.get(key("a"))
    with pytest.raises(StoreUnavailable, match="timed out"):
        await guard.put([entry()])
    assert asyncio.get_running_loop().time() - began < 1


async def test_writes_may_take_longer() -> None:
    """A write has its own time: no call waits for it."""
    store = FakeStore(Clock())
    store.hanging = True
    guard = guarded(store, deadline=0.001, writing=0.05)
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable):
        await guard.put([entry()])
    assert asyncio.get_running_loop().time() - began > 0.04


async def test_opens() -> None:
    """After three failures in a row calls are refused without touching the store, with the reason."""
    store = FakeStore(Clock())
    guard = guarded(store, rest=60)
    await broken(store, guard)
    assert guard.state == "open"
    assert guard.reason == "out of order"
    calls = len(store.calls)
    for call in (guard.get(key("a")), guard.put([entry()]), guard.drop([]), guard.usage(), guard.purges(0)):
        with pytest.raises(StoreUnavailable, match="out of order"):
            await call
    assert len(store.calls) == calls
    await guard.close()


async def test_failures_in_a_row() -> None:
    """A success between failures starts the count anew."""
    store = FakeStore(Clock())
    guard = guarded(store)
    for down in ("x", "x", "", "x", "x", ""):
        store.down = down
        try:
            await guard.get(key("a"))
        except StoreUnavailable:
            assert down
    assert guard.state == "closed"


async def test_closes_again() -> None:
    """The task closes the breaker when a ping is answered; until then it says what the last one met."""
    store = FakeStore(Clock())
    guard = guarded(store)
    await broken(store, guard)
    store.down = "still starting"
    await so(lambda: guard.reason == "still starting")
    store.down = ""
    await until(guard, "closed")
    assert guard.reason == ""
    assert await guard.get(key("a")) is None


async def test_probes_have_the_deadline() -> None:
    """A ping that is never answered does not stop the next one."""
    store = FakeStore(Clock())
    guard = guarded(store, deadline=0.002)
    await broken(store, guard)
    store.down, store.hanging = "", True
    await so(lambda: store.calls.count("ping") >= 3)
    assert guard.state == "open"
    store.hanging = False
    await until(guard, "closed")


async def test_logs_changes_only(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it opens and one when it closes, however many calls fail."""
    store = FakeStore(Clock())
    guard = guarded(store)
    with caplog.at_level(logging.INFO, "sluice.caching"):
        await broken(store, guard)
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                await guard.get(key("a"))
        store.down = ""
        await until(guard, "closed")
    assert len(caplog.records) == 2


async def test_cancellation_passes() -> None:
    """A caller that leaves is cancelled, and the store has not failed."""
    store = FakeStore(Clock())
    store.hanging = True
    guard = guarded(store, deadline=60)
    for _ in range(5):
        leaving = asyncio.create_task(guard.get(key("a")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert guard.state == "closed"


async def test_close_stops_the_probe() -> None:
    """Nothing goes on pinging after close."""
    store = FakeStore(Clock())
    guard = guarded(store, rest=60)
    await broken(store, guard)
    await guard.close()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


class Full(FakeStore):
    """A store at its quota: it reads and takes nothing."""

    full = "out of memory"

    async def put(self, entries: Sequence[Entry]) -> None:
        await super().put(() if self.full else entries)
        if self.full:
            raise StoreUnavailable(self.full)


async def not_kept(guard: Guarded, times: int) -> None:
    """So many puts fail, with a good read after each."""
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            await guard.put([entry()])
        assert await guard.get(key("a")) is None


async def test_refused_writes_are_told() -> None:
    """A store that reads well and keeps nothing is told of after three puts, until one is kept; reads go on."""
    store = Full(Clock())
    guard = guarded(store)
    await not_kept(guard, 2)
    assert (guard.state, guard.reason) == ("closed", "")
    await not_kept(guard, 5)
    assert (guard.state, guard.reason) == ("refusing", "refuses writes: out of memory")
    assert not guard.is_failing
    store.full = ""
    await guard.put([entry()])
    assert (guard.state, guard.reason) == ("closed", "")
    assert await guard.get(key("a")) is not None


async def test_refused_writes_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins and one when it ends."""
    store = Full(Clock())
    guard = guarded(store)
    with caplog.at_level(logging.INFO, "sluice.caching"):
        await not_kept(guard, 10)
        store.full = ""
        await guard.put([entry()])
        await guard.put([entry()])
    assert [record.getMessage() for record in caplog.records] == [
        "cache store: refuses writes: out of memory; calls go on with what it holds",
        "cache store: takes writes again (was: out of memory)",
    ]


async def test_open_says_more_than_refusing() -> None:
    """A store that refused writes and then is gone is told as gone."""
    store = Full(Clock())
    guard = guarded(store, rest=60)
    await not_kept(guard, 3)
    await broken(store, guard)
    assert (guard.state, guard.reason) == ("open", "out of order")
    await guard.close()


async def test_tidying_is_no_failure() -> None:
    """Hits are passed on; a store that cannot be tidied just now has not failed a call."""
    store = FakeStore(Clock())
    guard = guarded(store)
    await guard.tidy({key("a"): 2})
    assert store.hits == {key("a"): 2}
    store.down = "busy"
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await guard.tidy({})
    assert guard.state == "closed"


async def test_a_busy_loop_is_not_a_failure() -> None:
    """An answer that came while the event loop was busy for longer than the deadline counts as in time."""
    store = FakeStore(Clock())
    guard = guarded(store)
    await guard.put([entry()])

    async def answered_soon() -> str:
        soon = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.005, soon.set_result, "answer")
        asyncio.get_running_loop().call_soon(time.sleep, 0.06)  # three deadlines
        return str(await soon)

    assert await guard.ask(answered_soon) == "answer"
    assert not guard.is_failing
    await guard.close()


async def test_a_late_answer_is_a_failure_on_a_busy_loop_too() -> None:
    """What is forgiven for a busy loop is bounded: a store that never answers is given up."""
    guard = guarded(FakeStore(Clock()))

    async def never() -> None:
        asyncio.get_running_loop().call_soon(time.sleep, 0.03)
        await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await guard.ask(never)
    assert time.monotonic() - began < 1.0
    assert guard.is_failing
    await guard.close()
