"""Single flight: who asks, who shares, and what each is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from caching.directives import Directives
from caching.flight import Flight
from gateway.call import Call, Reply, Wishes
from gateway.errors import DeadlinePassed, UpstreamFailed
from gateway.layers.single_flight import SingleFlight
from gateway.trace import COALESCED, MISS
from tests.gateway.layers.chain import DOCUMENT, Answering, asking, call, frames, known, plain, read, stream

EVENT = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[%b]}\n\n'
EVENTS = (
    EVENT % b'{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}',
    EVENT % b'{"index":0,"delta":{},"finish_reason":"stop"}',
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n',
    b"data: [DONE]\n\n",
)
STREAM = b"".join(EVENTS)
FAILED = UpstreamFailed("no", fault="http_500")


class Gated(Answering):
    """Answers when the gate is opened, before the head or after the first frame."""

    def __init__(self, *replies: Reply | Exception, after_head: bool = False, fault: str = "") -> None:
        super().__init__(*replies, fault=fault)
        self.gate = asyncio.Event()
        self._after_head = after_head

    async def __call__(self, call: Call) -> Reply:
        """Wait, then answer."""
        if not self._after_head:
            await self.gate.wait()
            await settle(5)  # no upstream answers at once
            return await super().__call__(call)
        reply = await super().__call__(call)
        return Reply(reply.status, reply.headers, self._waiting(reply.frames), reply.close)

    async def _waiting(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield await anext(frames)
        await self.gate.wait()
        async for frame in frames:
            yield frame


@dataclass
class Someone:
    """A caller at the other end; `is_cancelled` when nobody waits for its call any more."""

    holds: list[object] = field(default_factory=list)
    tell: list[Callable[[], None]] = field(default_factory=list)
    has_left: bool = False
    is_cancelled: bool = False

    def hold(self, token: object) -> None:
        """Take a token once."""
        if token not in self.holds:
            self.holds.append(token)

    def release(self, token: object) -> None:
        """Give it back."""
        if token in self.holds:
            self.holds.remove(token)
        self.is_cancelled |= self.has_left and not self.holds

    def when_gone(self, tell: Callable[[], None]) -> None:
        """Remember whom to tell."""
        self.tell.append(tell)

    def leave(self) -> None:
        """Leave."""
        self.has_left = True
        for tell in self.tell:
            tell()
        self.is_cancelled |= not self.holds


class Layer:
    """The layer, and calls under way on it."""

    def __init__(self, inner: Answering, finish: float = 0.0) -> None:
        self.inner = inner
        self.flights: dict[bytes, Flight] = {}
        self._flight = SingleFlight(inner, self.flights, finish)

    async def __call__(self, asked: Call) -> Reply:
        return await self._flight(asked)

    def start(self, asked: Call) -> asyncio.Task[bytes]:
        """Have the call answered and read."""

        async def run() -> bytes:
            return await read(await self._flight(asked))

        return asyncio.create_task(run())


async def settle(turns: int = 50) -> None:
    """Let everybody run, by default until nothing moves any more."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def together(layer: Layer, gate: asyncio.Event, *calls: Call) -> list[asyncio.Task[bytes]]:
    """Start these one after another, then open the gate, and let all come to their end."""
    tasks = []
    for each in calls:
        tasks.append(layer.start(each))
        await settle()
    gate.set()
    await asyncio.wait(tasks)
    assert layer.flights == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return tasks


@pytest.mark.parametrize("after_head", [False, True])
async def test_one_asks(*, after_head: bool) -> None:
    """The first asks below; the others get its answer in the form they want, and are on record as coalesced."""
    for first, reply in ((False, plain()), (True, stream(*EVENTS))):
        inner = Gated(reply, after_head=after_head)
        calls = [known(asking(stream=form)) for form in (first, False, True)]
        tasks = await together(Layer(inner), inner.gate, *calls)
        assert len(inner.calls) == 1
        assert tasks[0].result() == (STREAM if first else DOCUMENT)
        assert b'"chat.completion"' in tasks[1].result()
        assert tasks[2].result().endswith(b"data: [DONE]\n\n")
        assert [each.trace.cache for each in calls] == [MISS, COALESCED, COALESCED]
        sources = [each.trace.source for each in calls]
        assert sources[0] is None
        assert {(each.model, each.upstream, each.tokens) for each in sources[1:] if each} == {("m", "up", 7)}


async def test_who_stays_alone() -> None:
    """Calls without an equal, and those that want a new answer or none kept, neither lead nor follow."""
    inner = Gated(plain())
    alone = [
        call("a"),
        *(known(asking(wishes=Wishes(wish))) for wish in (Directives(no_cache=True), Directives(no_store=True))),
    ]
    calls = [alone[0], known(asking()), *alone[1:], known(asking())]
    await together(Layer(inner), inner.gate, *calls)
    assert len(inner.calls) == 4


async def test_a_solo_costs_nothing() -> None:
    """A whole answer that nobody else waits for goes up as it is."""
    reply = plain()
    layer = Layer(Answering(reply))
    assert await layer(known(asking())) is reply
    assert layer.flights == {}


async def test_failures_are_shared() -> None:
    """A failure before the answer is told to all; one upstream call was made."""
    inner = Gated(FAILED)
    tasks = await together(Layer(inner), inner.gate, *(known(asking(stream=form)) for form in (False, True, False)))
    assert [task.exception() for task in tasks] == [FAILED] * 3
    assert len(inner.calls) == 1


@pytest.mark.parametrize("error", [DeadlinePassed("late"), KeyError("ours")])
async def test_a_leader_that_ends_for_reasons_of_its_own(error: Exception) -> None:
    """When the leader's own time is over, or it fails inside the gateway, one who waits asks instead."""
    inner = Gated(error, plain())
    tasks = await together(Layer(inner), inner.gate, *(known(asking()) for _ in range(4)))
    assert tasks[0].exception() is error
    assert [task.result() for task in tasks[1:]] == [DOCUMENT] * 3
    assert len(inner.calls) == 2


async def test_a_leader_that_is_cancelled() -> None:
    """When the leader is cancelled before its answer has begun, one who waits asks instead."""
    inner = Gated(plain())
    layer = Layer(inner)
    leader, other = layer.start(known(asking())), layer.start(known(asking()))
    await settle()
    leader.cancel()
    await settle()
    inner.gate.set()
    assert await other == DOCUMENT
    assert layer.flights == {}


async def test_a_leader_that_is_cancelled_after_the_head() -> None:
    """When the leader is cancelled in the middle, who streams gets one error event, and who waits asks anew."""
    inner = Gated(stream(*EVENTS), stream(*EVENTS), after_head=True)
    layer = Layer(inner)
    calls = [known(asking(stream=form)) for form in (True, True, False)]
    leader, streamed, waiting = (layer.start(each) for each in calls)
    await settle()
    leader.cancel()
    assert (await streamed).count(b'"error"') == 1
    assert calls[1].trace.broke == "cut"
    inner.gate.set()
    await waiting
    assert calls[2].trace.cache == MISS
    assert len(inner.calls) == 2


async def test_a_hurried_leader() -> None:
    """Who has more time than the leader does not depend on it and leads anew; who comes then follows that one."""
    inner = Gated(plain())
    calls = [
        known(asking(seconds=5, is_patient=False)),
        known(asking()),
        known(asking(seconds=5, is_patient=False)),
        known(asking()),
    ]
    await together(Layer(inner), inner.gate, *calls)
    assert len(inner.calls) == 2
    assert [each.trace.cache for each in calls] == [MISS, MISS, COALESCED, COALESCED]


@pytest.mark.parametrize(
    ("leads", "follows", "asked"), [(30, 30, 1), (30, 31, 1), (100, 104, 1), (100, 110, 2), (0.5, 1.4, 1), (1, 3, 2)]
)
async def test_deadlines_of_ones_own(leads: float, follows: float, asked: int) -> None:
    """Callers with deadlines of their own share where the leader's is at most 5 % or one second sooner."""
    inner = Gated(plain())
    calls = [known(asking(seconds=seconds, is_patient=False)) for seconds in (leads, follows)]
    await together(Layer(inner), inner.gate, *calls)
    assert len(inner.calls) == asked


async def test_a_leader_that_was_replaced() -> None:
    """A hurried leader's end leaves the flight that has replaced its own; those who waited for it follow that one."""
    inner = Gated(plain())
    layer = Layer(inner)
    calls = [known(asking(seconds=5, is_patient=False)), known(asking(seconds=5, is_patient=False)), known(asking())]
    tasks = []
    for each in calls:
        tasks.append(layer.start(each))
        await settle()
    tasks[0].cancel()
    await settle()
    [flight] = layer.flights.values()
    assert flight.others == 1
    inner.gate.set()
    assert [await task for task in tasks[1:]] == [DOCUMENT] * 2
    assert [each.trace.cache for each in calls] == [MISS, COALESCED, MISS]
    assert layer.flights == {}


async def test_all_of_a_hurried_leaders_answer() -> None:
    """An answer that is all there is shared whatever its leader's deadline."""
    layer = Layer(Answering(stream(*EVENTS)))
    reply = await layer(known(asking(stream=True, seconds=5, is_patient=False)))
    visitor = layer.start(known(asking(stream=True, seconds=5, is_patient=False)))
    assert await visitor == STREAM
    assert await layer.start(known(asking(stream=True))) == STREAM
    assert await read(reply) == STREAM
    assert len(layer.inner.calls) == 1


@pytest.mark.parametrize("after_head", [False, True])
@pytest.mark.parametrize("form", [False, True])
async def test_a_hurried_follower(*, after_head: bool, form: bool) -> None:
    """A follower whose time is over is told so, and its leaving does not touch the others."""
    inner = Gated(stream(*EVENTS), after_head=after_head)
    layer = Layer(inner)
    hurried = known(asking(stream=form, seconds=0.0, is_patient=False))
    leader = layer.start(known(asking(stream=True)))
    await settle()
    late = layer.start(hurried)
    if after_head and form:
        assert b'"upstream_deadline"' in await late
        assert hurried.trace.broke == "deadline"
    else:
        with pytest.raises(DeadlinePassed):
            await late
    inner.gate.set()
    assert await leader == STREAM


@pytest.mark.parametrize("form", [False, True])
async def test_a_stream_that_breaks(*, form: bool) -> None:
    """What ended in words about its failure is not told as whole: a stream is on record as cut; a plain call, which was
    told nothing yet, asks anew."""
    inner = Gated(stream(EVENTS[0], b'data: {"error":{}}\n\n'), stream(*EVENTS), after_head=True, fault="cut")
    other = known(asking(stream=form))
    tasks = await together(Layer(inner), inner.gate, known(asking(stream=True)), other)
    if form:
        assert tasks[1].result() == tasks[0].result()
        assert (other.trace.broke, other.trace.is_whole) == ("cut", False)
    else:
        assert tasks[1].result() == STREAM  # of its own call
        assert (other.trace.cache, len(inner.calls)) == (MISS, 2)


class AlwaysCut(Gated):
    """Every answer is a stream that breaks off once the gate is open."""

    async def __call__(self, call: Call) -> Reply:
        """Answer with a stream of its own."""
        self._replies = [stream(EVENTS[0], b'data: {"error":{}}\n\n')]
        return await super().__call__(call)


async def test_streams_that_always_break() -> None:
    """A plain call whose shared answer breaks off a second time fails, and does not ask for ever."""
    inner = AlwaysCut(plain(), after_head=True, fault="cut")
    layer = Layer(inner)
    leader = layer.start(known(asking(stream=True)))
    await settle()
    _, other = layer.start(known(asking())), layer.start(known(asking()))
    await settle()
    first, inner.gate = inner.gate, asyncio.Event()
    first.set()
    await leader
    await settle()
    inner.gate.set()
    with pytest.raises(UpstreamFailed):
        await other
    assert len(inner.calls) == 2


async def test_a_refusal() -> None:
    """What is not 200 goes to all as it is, whatever form they want."""
    inner = Gated(Reply(404, {"content-type": "application/json"}, frames(b"{}")))
    layer = Layer(inner)
    calls = [known(asking(stream=form)) for form in (True, False, True)]
    tasks = await together(layer, inner.gate, *calls)
    assert [task.result() for task in tasks] == [b"{}"] * 3
    assert len(inner.calls) == 1


async def test_no_other_form() -> None:
    """Those who want a form that the answer does not have share one more upstream call."""
    inner = Gated(plain(DOCUMENT.replace(b"chat.completion", b"odd")), stream(*EVENTS))
    calls = [known(asking(stream=form)) for form in (False, True, True, True)]
    tasks = await together(Layer(inner), inner.gate, *calls)
    assert [task.result() for task in tasks[1:]] == [STREAM] * 3
    assert len(inner.calls) == 2
    assert [each.trace.cache for each in calls] == [MISS, MISS, COALESCED, COALESCED]


# Callers that leave


def begin(layer: Layer, someone: Someone) -> asyncio.Task[bytes]:
    """A streamed call of this caller."""
    return layer.start(known(asking(stream=True, presence=someone)))


@pytest.mark.parametrize("after_head", [False, True])
async def test_the_first_caller_leaves(*, after_head: bool) -> None:
    """Its call goes on while others wait, and is cancelled when the last of them has left."""
    layer = Layer(Gated(stream(*EVENTS), after_head=after_head))
    first = Someone()
    leader = begin(layer, first)
    await settle()
    others = [layer.start(known(asking(stream=form))) for form in (True, False)]
    await settle()
    first.leave()
    assert not first.is_cancelled
    for other in others:
        assert not first.is_cancelled
        other.cancel()
        await settle()
    assert first.is_cancelled
    leader.cancel()
    await settle()
    assert layer.flights == {}


async def test_nobody_to_wait_for() -> None:
    """A call that nobody shares is cancelled with its caller; one that others shared and left, too."""
    layer = Layer(Gated(stream(*EVENTS)))
    first = Someone()
    leader = begin(layer, first)
    await settle()
    other = layer.start(known(asking()))
    await settle()
    other.cancel()
    await settle()
    first.leave()
    assert first.is_cancelled
    leader.cancel()


async def test_the_end_of_all_does_not_cut_the_first() -> None:
    """The others' reading to the end does not cancel a first caller's call that is about to keep the answer."""
    inner = Gated(stream(*EVENTS), after_head=True)
    layer = Layer(inner)
    first = Someone()
    leader = begin(layer, first)
    await settle()
    other = layer.start(known(asking(stream=True)))
    await settle()
    first.leave()
    inner.gate.set()
    assert await other == STREAM
    assert await leader == STREAM
    assert not first.is_cancelled


async def test_finishing() -> None:
    """With time to finish, a call outlives all its callers by that much, counted from the last one's leaving."""
    layer = Layer(Gated(stream(*EVENTS)), finish=0.03)
    first = Someone()
    leader = begin(layer, first)
    await settle()
    other = layer.start(known(asking()))
    await settle()
    first.leave()
    await asyncio.sleep(0.06)
    assert not first.is_cancelled
    other.cancel()
    await settle()
    assert not first.is_cancelled
    await asyncio.sleep(0.06)
    assert first.is_cancelled
    leader.cancel()


async def test_finishing_begins_when_the_caller_leaves() -> None:
    """Others who came and went while the first caller is there use up none of the time to finish."""
    layer = Layer(Gated(stream(*EVENTS)), finish=0.03)
    first = Someone()
    leader = begin(layer, first)
    await settle()
    other = layer.start(known(asking()))
    await settle()
    other.cancel()
    await asyncio.sleep(0.06)
    first.leave()
    assert not first.is_cancelled
    leader.cancel()
