"""Redis falls silent or dies under load: no call fails, none waits long, nothing wrong is served, and it is used again.

Two gateways are asked steadily, equal and unequal calls, plain and streamed. Each answer names the question it was made
for. The upstream answers at once, so what a call takes longer than usual is what the gateway added.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from time import monotonic

import pytest

from tests.fakes.counting import Counting, digest
from tests.live.callers import Answer, call, chat, unheard
from tests.live.stage import eventually, gateways
from tests.redis_servers import Server, redis_server
from tests.running import Gateway, free_port

DEADLINE = 0.05  # seconds; the policy's default
GRACE = 0.5  # seconds that a busy machine may add
PERIOD = 0.02  # seconds between two calls
SAME = 5  # calls in a row that ask the same


@dataclass(frozen=True)
class Stand:
    """Two gateways, their Redis and their upstream's port."""

    gateways: list[Gateway]
    redis: Server
    upstream_port: int


@dataclass(frozen=True)
class Called:
    """One call of the load: when it began, what it asked, what came."""

    at: float
    question: str
    answer: Answer


@dataclass
class Load:
    """What was called so far."""

    calls: list[Called] = field(default_factory=list)

    def between(self, since: float, until: float) -> list[float]:
        """How long the calls took that began between these times, the shortest first."""
        return sorted(one.answer.seconds for one in self.calls if since <= one.at < until)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Two gateways on a Redis of their own."""
    folder = tmp_path_factory.mktemp("faults")
    port = free_port()
    with redis_server(folder / "redis") as redis, gateways(folder, 2, port, "--redis-url", redis.url) as two:
        yield Stand(two, redis, port)


@pytest.fixture
async def upstream(stand: Stand) -> AsyncIterator[Counting]:
    """An upstream that answers at once."""
    async with Counting(stand.upstream_port) as counting:
        yield counting


@asynccontextmanager
async def under_load(stand: Stand) -> AsyncIterator[Load]:
    """Call steadily; at the end wait for all answers, which must all be whole and right."""
    load, pending, is_over = Load(), set[asyncio.Task[None]](), asyncio.Event()

    async def one(number: int, question: str) -> None:
        at = monotonic()
        gateway = stand.gateways[number % 2]
        load.calls.append(Called(at, question, await call(gateway.port, chat(question, stream=number % 4 > 1))))

    async def calling() -> None:
        question = ""
        for number in count():
            if is_over.is_set():
                return
            question = unheard() if number % SAME == 0 else question
            pending.add(asyncio.create_task(one(number, question)))
            await asyncio.sleep(PERIOD)

    caller = asyncio.create_task(calling())
    try:
        yield load
    finally:
        is_over.set()
        await caller
        await asyncio.gather(*pending)
    for each in load.calls:
        assert each.answer.status == 200, each.answer.body
        assert each.answer.text.startswith(digest(each.question))
        assert not each.answer.errors


def slow(seconds: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(seconds, n=100)[98]


async def alive(stand: Stand) -> None:
    """/healthz depends on nothing."""
    for gateway in stand.gateways:
        assert await asyncio.to_thread(gateway.is_alive)


def state_lines(gateway: Gateway) -> list[str]:
    """What the log says of the store behind memory."""
    return [line for line in gateway.log.read_text().splitlines() if "cache store:" in line]


async def shared_again(stand: Stand, upstream: Counting) -> None:
    """Wait until what one gateway was answered is a hit on the other."""
    until = monotonic() + 10
    while monotonic() < until:
        question = unheard()
        await call(stand.gateways[0].port, chat(question))
        await asyncio.sleep(0.3)
        answer = await call(stand.gateways[1].port, chat(question))
        assert answer.text.startswith(digest(question))
        if answer.headers["x-cache"] == "HIT" and upstream.asked[question] == 1:
            return
    raise AssertionError("the gateways share nothing again")


async def test_redis_falls_silent(stand: Stand, upstream: Counting) -> None:
    """While Redis accepts and never answers, calls wait for one deadline until the breaker is open, then for none."""
    told = [len(state_lines(gateway)) for gateway in stand.gateways]
    async with under_load(stand) as load:
        await asyncio.sleep(1.2)
        stand.redis.pause()
        paused = monotonic()
        try:
            await asyncio.sleep(1.0)
            is_open = monotonic()
            await asyncio.sleep(1.5)
            await alive(stand)
        finally:
            stand.redis.resume()
        resumed = monotonic()
        await asyncio.sleep(1.8)
    usual, at_first = load.between(0.0, paused), load.between(paused, is_open)
    then, after = load.between(is_open, resumed), load.between(resumed, monotonic())
    for name, took in (("usual", usual), ("at first", at_first), ("then", then), ("after", after)):
        print(f"{name}: {len(took)} calls, p50 {statistics.median(took) * 1e3:.1f} ms, p99 {slow(took) * 1e3:.1f} ms")
    assert slow(at_first) < slow(usual) + DEADLINE + GRACE
    assert statistics.median(at_first) < statistics.median(usual) + DEADLINE
    assert statistics.median(then) < statistics.median(usual) + DEADLINE / 2
    assert slow(then) < slow(usual) + GRACE / 2
    assert slow(after) < slow(usual) + DEADLINE + GRACE
    await shared_again(stand, upstream)
    for gateway, before in zip(stand.gateways, told, strict=True):
        said = state_lines(gateway)[before:]
        assert len(said) == 2, said
        assert "calls go on without it" in said[0]
        assert "works again" in said[1]


async def test_redis_dies_and_comes_back(stand: Stand, upstream: Counting) -> None:
    """When Redis is killed and started again, empty, no call fails and soon the gateways share again."""
    told = [len(state_lines(gateway)) for gateway in stand.gateways]
    async with under_load(stand) as load:
        await asyncio.sleep(1.0)
        killed = monotonic()
        stand.redis.kill()
        await asyncio.sleep(1.5)
        await alive(stand)
        started = monotonic()
        await asyncio.to_thread(stand.redis.start)
        await asyncio.sleep(1.5)
    usual, without = load.between(0.0, killed), load.between(killed, started)
    assert slow(without) < slow(usual) + DEADLINE + GRACE
    assert statistics.median(without) < statistics.median(usual) + DEADLINE / 2
    await shared_again(stand, upstream)
    for gateway, before in zip(stand.gateways, told, strict=True):
        said = state_lines(gateway)[before:]
        assert len(said) == 2, said


async def test_redis_falls_silent_under_a_stream(stand: Stand, upstream: Counting) -> None:
    """A stream that two gateways share when Redis falls silent: the leader's goes on, the other's ends honestly."""
    question = unheard()
    upstream.words, upstream.pace = 30, 0.1
    leading = asyncio.create_task(call(stand.gateways[0].port, chat(question, stream=True)))
    await upstream.until_asked(question)
    following = asyncio.create_task(call(stand.gateways[1].port, chat(question, stream=True)))
    waiting = asyncio.create_task(call(stand.gateways[1].port, chat(question)))
    await asyncio.sleep(0.5)
    stand.redis.pause()
    try:
        first, other, plain = await asyncio.gather(leading, following, waiting)
    finally:
        stand.redis.resume()
    assert first.is_done
    assert not first.errors
    assert first.text.endswith(" w29")
    assert len(other.errors) == 1
    assert not other.is_done
    assert plain.status == 200
    assert plain.text.endswith(" w29")
    await eventually(lambda: "works again" in (state_lines(stand.gateways[1]) or [""])[-1])
    await shared_again(stand, upstream)
