"""Shared flight without a Redis: when a gateway asks by itself, and what a leader tells. The rest is in tests/live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast

import pytest

from caching.cache import Cache
from caching.errors import StoreUnavailable
from caching.guard import Guarded
from caching.lease import Event, Follow, Frame, Head, Lead, Leases, Stored
from caching.stores.memory import Memory
from gateway.call import Reply
from gateway.errors import UpstreamFailed
from gateway.layers.shared_flight import AHEAD, SharedFlight
from policies.caching import RuleCache
from tests.fakes.stores import Clock, FakeStore, key
from tests.gateway.layers.chain import DOCUMENT, Answering, asking, known, plain, read, stream

CHOICES = b'"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]'
EVENT = b'data: {%b,"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n' % CHOICES


class FakeLead(Lead):
    """A lead that only remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.is_lost = False
        self.has_told_the_end = False
        self.task = asyncio.create_task(asyncio.sleep(0))

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Remember the status and who answers."""
        self.told.append((status, headers["x-sluice-upstream"]))

    def send(self, frame: bytes) -> None:
        """Remember the frame."""
        self.told.append(frame)

    async def finish(self, *, stored: bool) -> bool:
        """End whole."""
        return self._told_last("stored" if stored else "whole")

    async def fail(self, data: bytes) -> bool:
        """End in a failure."""
        return self._told_last("failed")

    async def abandon(self) -> bool:
        """Give up."""
        return self._told_last("abandoned")

    async def followers(self) -> int:
        """Nobody follows."""
        return 0

    def _told_last(self, how: str) -> bool:
        if not self.has_told_the_end:  # only the first counts
            self.told.append(how)
        self.has_told_the_end = True
        return True


class FakeLeases:
    """Gives the turns it was made with."""

    def __init__(self, *turns: object) -> None:
        self._turns = list(turns)
        self.asked: list[bool] = []  # with `unless_stored`

    async def acquire(self, key: bytes, *, check: bytes, unless_stored: bool) -> object:
        """The next turn."""
        self.asked.append(unless_stored)
        turn = self._turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn


class Following(FakeLeases):
    """Another gateway leads: it says these things, and then nothing."""

    def __init__(self, *events: Event) -> None:
        super().__init__(Follow(b"k", b"", 1, "me"))
        self._events = events

    async def follow(self, turn: Follow) -> AsyncIterator[Event]:
        """What it says."""
        for event in self._events:
            yield event
        await asyncio.Event().wait()


Make = Callable[..., SharedFlight]


@pytest.fixture
async def store() -> FakeStore:
    """The slow store that shares a Redis with the leases."""
    return FakeStore(Clock())


@pytest.fixture
def guard(store: FakeStore) -> Guarded:
    """What stands before both."""
    return Guarded(store, deadline=1.0)


@pytest.fixture
def layer(store: FakeStore, guard: Guarded) -> Make:
    """The layer over a handler and these leases."""

    def make(inner: Answering, leases: FakeLeases, **rule: Any) -> SharedFlight:
        cache = Cache(Memory(1 << 20), guard)
        return SharedFlight(inner, cast(Leases, leases), guard, cache, RuleCache(**rule), 1_000_000)

    return make


def leading() -> tuple[FakeLead, FakeLeases]:
    """Leases whose first turn is to lead."""
    lead = FakeLead()
    return lead, FakeLeases(lead)


async def settled(work: Callable[[], Awaitable[bytes]]) -> bytes:
    """Do the work and let what it left behind be done."""
    found = await work()
    await asyncio.sleep(0)
    return found


async def test_leader_tells_a_plain_answer(layer: Make) -> None:
    """A leader tells head, body and the end, and says that it is stored if it will be."""
    lead, leases = leading()
    reply = await layer(Answering(plain()), leases)(known(asking()))
    assert await settled(lambda: read(reply)) == DOCUMENT
    assert lead.told == [(200, "up"), DOCUMENT, "stored"]


@pytest.mark.parametrize("rule", [{"exact": False}, {}], ids=["no cache", "truncated"])
async def test_leader_tells_what_is_not_kept(layer: Make, rule: dict[str, Any]) -> None:
    """An answer that the layers above do not keep is whole and not stored: the next caller asks anew."""
    lead, leases = leading()
    body = DOCUMENT if rule else DOCUMENT.replace(b'"stop"', b'"length"')
    await settled(lambda: _answer(layer(Answering(plain(body)), leases, **rule)))
    assert lead.told[-1] == "whole"


async def test_leader_tells_a_stream(layer: Make) -> None:
    """Frames are told as they are."""
    lead, leases = leading()
    reply = await layer(Answering(stream(EVENT, b"data: [DONE]\n\n")), leases)(known(asking(stream=True)))
    await settled(lambda: read(reply))
    assert lead.told == [(200, "up"), EVENT, b"data: [DONE]\n\n", "stored"]


async def test_what_is_not_kept_is_not_told_as_stored(layer: Make) -> None:
    """A stream that the exact layer does not keep, as it does not say its usage, ends whole and does not linger."""
    lead, leases = leading()
    frames = (b"data: {%b}\n\n" % CHOICES, b"data: [DONE]\n\n")
    reply = await layer(Answering(stream(*frames)), leases)(known(asking(stream=True)))
    await settled(lambda: read(reply))
    assert lead.told == [(200, "up"), *frames, "whole"]


async def test_a_reply_that_nobody_reads_is_given_up(layer: Make) -> None:
    """A reply closed before anyone began to read it ends the lead; else the lease would be renewed for ever."""
    lead, leases = leading()
    reply = await layer(Answering(stream(EVENT)), leases)(known(asking(stream=True)))
    await reply.close()
    await asyncio.sleep(0)
    assert lead.told == [(200, "up"), "abandoned"]


async def settle() -> None:
    """Let everybody run until nothing moves any more."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_slow_leader_holds_nobody_up(layer: Make) -> None:
    """The others hear a stream as fast as it comes, to its end, though the leader's own client has read nothing."""
    lead, leases = leading()
    reply = await layer(Answering(stream(*[EVENT] * 99, b"data: [DONE]\n\n")), leases)(known(asking(stream=True)))
    await settle()
    assert lead.told == [(200, "up"), *[EVENT] * 99, b"data: [DONE]\n\n", "stored"]
    assert await read(reply) == EVENT * 99 + b"data: [DONE]\n\n"
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_leader_that_reads_nothing_is_not_cut_off(layer: Make) -> None:
    """A stream is pulled a bounded way ahead of the leader's client, which gets all of it however late it reads."""
    lead, leases = leading()
    pulled: list[None] = []

    async def many() -> AsyncIterator[bytes]:
        for _ in range(40):
            pulled.append(None)
            yield b"x" * 1_000_000

    inner = Answering(Reply(200, {"content-type": "text/event-stream"}, many()))
    reply = await layer(inner, leases)(known(asking(stream=True)))
    await settle()
    assert len(pulled) == AHEAD // 1_000_000 + 1
    assert len(await read(reply)) == 40_000_000
    await settle()
    assert lead.told[-1] == "whole"


@pytest.mark.parametrize("reads", [0, 1])
async def test_a_leader_whose_client_leaves(layer: Make, reads: int) -> None:
    """When the leader's call is closed in the middle its upstream is cut off, the others hear it, no task is left."""
    lead, leases = leading()
    is_closed = False

    async def endless() -> AsyncIterator[bytes]:
        nonlocal is_closed
        try:
            yield EVENT
            await asyncio.Event().wait()
        finally:
            is_closed = True

    inner = Answering(Reply(200, {"content-type": "text/event-stream"}, endless()))
    reply = await layer(inner, leases)(known(asking(stream=True)))
    await settle()
    for _ in range(reads):
        assert await anext(reply.frames) == EVENT
    await reply.close()
    assert is_closed
    await settle()
    assert lead.told == [(200, "up"), EVENT, "abandoned"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stream_that_breaks_is_told_as_failed(layer: Make) -> None:
    """What ended in words about its failure is told as failed."""
    lead, leases = leading()
    reply = await layer(Answering(stream(EVENT), fault="cut"), leases)(known(asking(stream=True)))
    await settled(lambda: read(reply))
    assert lead.told == [(200, "up"), EVENT, "failed"]


async def test_a_hurried_call_does_not_lead(layer: Make) -> None:
    """A call with a deadline of its own gives the lease back at once and asks by itself."""
    lead, leases = leading()
    asked = known(asking(is_patient=False))
    assert await settled(lambda: _answer(layer(Answering(plain()), leases), asked)) == DOCUMENT
    assert lead.told == ["abandoned"]


async def test_a_hurried_call_follows(layer: Make) -> None:
    """A call with a deadline of its own follows another gateway's, and in the middle of a stream is told when its time
    is over."""
    inner = Answering(plain())
    leases = Following(Head(200, {"content-type": "text/event-stream"}), Frame(EVENT))
    asked = known(asking(stream=True, seconds=0.05, is_patient=False))
    told = await _answer(layer(inner, leases), asked)
    assert told.startswith(EVENT)
    assert told.count(b'"upstream_deadline"') == 1
    assert (asked.trace.broke, inner.calls) == ("deadline", [])


async def test_a_failure_is_told(layer: Make) -> None:
    """A failure before the first byte is told to the others and raised here."""
    lead, leases = leading()
    with pytest.raises(UpstreamFailed):
        await layer(Answering(UpstreamFailed("no", fault="connect")), leases)(known(asking()))
    await asyncio.sleep(0)
    assert lead.told == ["failed"]


async def test_asks_by_itself_without_redis(layer: Make) -> None:
    """Where no lease can be had the call is asked all the same."""
    leases = FakeLeases(StoreUnavailable("timed out"))
    asked = known(asking())
    assert await _answer(layer(Answering(plain()), leases), asked) == DOCUMENT
    assert asked.trace.notes == [("shared flight", "asked by itself: timed out")]


async def test_one_deadline_is_enough(layer: Make, store: FakeStore, guard: Guarded) -> None:
    """A call whose look just failed does not wait for a lease as well."""
    store.down = "timed out"
    with pytest.raises(StoreUnavailable):
        await guard.get(key("a"))
    leases = FakeLeases()
    assert await _answer(layer(Answering(plain()), leases)) == DOCUMENT
    assert not leases.asked


async def test_stored_and_not_usable(layer: Make) -> None:
    """Told that the answer is stored, and not finding it, the gateway asks for a lease whatever is stored."""
    lead = FakeLead()
    leases = FakeLeases(Stored(), lead)
    assert await _answer(layer(Answering(plain()), leases)) == DOCUMENT
    assert leases.asked == [True, False]


async def _answer(layer: SharedFlight, asked: Any = None) -> bytes:
    return await read(await layer(asked or known(asking())))
