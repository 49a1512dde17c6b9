"""Metered: a machine's work begins when it is asked and ends once, however the answer ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.call import Call, Reply
from gateway.errors import UpstreamFailed
from gateway.layers.meter import Metered
from gateway.money.machine import Meter
from gateway.trace import Attempt, Usage
from tests.gateway.layers.chain import Scripted, call, frames, good, plain, stream

EVENTS = {"content-type": "text/event-stream"}


class Clock:
    """A clock that stands until it is told to go."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Machine:
    """An upstream that takes its time: to read, and for each of two frames; it tells what it used at the end."""

    def __init__(self, clock: Clock, usage: Usage | None = None, *, fault: str = "", headers: object = EVENTS) -> None:
        self.clock, self.usage, self.fault = clock, usage, fault
        self.headers = dict(EVENTS) if headers is EVENTS else {"content-type": "application/json"}
        self.closed = 0

    async def __call__(self, call: Call) -> Reply:
        """Read for 2 seconds and write for 4."""
        self.attempt = Attempt(call.targets[0].upstream, "m", self.clock.now)
        call.trace.attempts.append(self.attempt)
        self.clock.now += 2.0
        if self.headers != EVENTS:
            self.attempt.usage = self.usage
            return Reply(200, self.headers, b"{}")
        return Reply(200, self.headers, self._frames(), self._close)

    async def _frames(self) -> AsyncIterator[bytes]:
        for part in (b"data: 1\n\n", b"data: 2\n\n"):
            self.clock.now += 2.0
            yield part
        self.attempt.usage, self.attempt.fault = self.usage, self.fault

    async def _close(self) -> None:
        self.closed += 1


async def test_no_meter_no_layer() -> None:
    """An upstream without a meter answers as if the layer were not there."""
    reply, asked = good(), call("a")
    assert await Metered(Scripted(reply), {"b": Meter(0.0)})(asked) is reply
    assert asked.trace.attempts[-1].seconds is None


@pytest.mark.parametrize("reply", [plain(), good()])
async def test_a_plain_answer_ends_at_once(reply: Reply) -> None:
    """A plain answer is passed as it is, and the machine is free."""
    clock, asked = Clock(), call("a")
    meter = Meter(clock.now)
    assert await Metered(Scripted(reply), {"a": meter}, clock)(asked) is reply
    assert (meter.own, asked.trace.attempts[-1].seconds) == (0, 0.0)


async def test_a_stream_ends_with_its_frames() -> None:
    """The machine works until the last frame was sent; closing afterwards changes nothing."""
    clock, asked = Clock(), call("a")
    machine, meter = Machine(clock), Meter(clock.now)
    reply = await Metered(machine, {"a": meter}, clock)(asked)
    assert meter.own == 1
    assert [frame async for frame in reply.frames] == [b"data: 1\n\n", b"data: 2\n\n"]
    assert (meter.own, machine.attempt.seconds) == (0, 6.0)
    clock.now += 50.0
    await reply.close()
    assert (machine.closed, meter.own, machine.attempt.seconds) == (1, 0, 6.0)


async def test_a_stream_that_is_closed_early_ends() -> None:
    """A client that leaves in the middle frees the machine, read or unread, and the upstream hears of it."""
    for read in (0, 1):
        clock = Clock()
        machine, meter = Machine(clock), Meter(clock.now)
        reply = await Metered(machine, {"a": meter}, clock)(call("a"))
        reading = reply.frames
        for _ in range(read):
            await anext(reading)
        await reply.close()
        await reply.close()
        assert (machine.closed, meter.own, machine.attempt.seconds) == (2, 0, 2.0 + 2.0 * read)


async def test_a_stream_that_breaks_off_ends() -> None:
    """An error in the middle of the frames frees the machine and goes on up."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        raise ConnectionError

    meter = Meter(0.0)
    reply = await Metered(Scripted(Reply(200, dict(EVENTS), broken())), {"a": meter})(call("a"))
    with pytest.raises(ConnectionError):
        [frame async for frame in reply.frames]
    assert meter.own == 0


async def test_a_release_that_fails_ends() -> None:
    """The machine is free even if closing the upstream's answer goes wrong."""

    async def failing() -> None:
        raise ConnectionError

    meter = Meter(0.0)
    reply = await Metered(Scripted(Reply(200, dict(EVENTS), frames(b""), failing)), {"a": meter})(call("a"))
    with pytest.raises(ConnectionError):
        await reply.close()
    assert meter.own == 0


@pytest.mark.parametrize(
    "error", [UpstreamFailed("x", fault="http_500"), asyncio.CancelledError(), KeyError("ours"), GeneratorExit()]
)
async def test_a_call_that_raises_ends(error: BaseException) -> None:
    """Failed or cancelled, the call's time is written down and the machine is free."""
    clock, asked = Clock(), call("a")
    meter = Meter(clock.now)
    with pytest.raises(type(error)):
        await Metered(Scripted(error), {"a": meter}, clock)(asked)
    assert (meter.own, asked.trace.attempts[-1].seconds) == (0, 0.0)


async def test_an_earlier_attempt_is_left_alone() -> None:
    """Who failed before an attempt was begun writes nothing into that of another upstream."""

    async def refusing(call: Call) -> Reply:
        raise UpstreamFailed("x", fault="busy")

    asked, meter = call("a"), Meter(0.0)
    asked.trace.attempts.append(Attempt("other", "m", 0.0))
    with pytest.raises(UpstreamFailed):
        await Metered(refusing, {"a": meter})(asked)
    assert (meter.own, asked.trace.attempts[0].seconds) == (0, None)


async def test_calls_share_the_machine() -> None:
    """Two at once are each charged half of the time in which both were there."""
    clock = Clock()
    meter = Meter(clock.now)
    first, second = call("a"), call("a")
    layer = Metered(Scripted(stream(b"1"), stream(b"2")), {"a": meter}, clock)
    replies = [await layer(first), await layer(second)]
    clock.now += 4.0
    await replies[0].close()
    clock.now += 1.0
    await replies[1].close()
    assert [each.trace.attempts[-1].seconds for each in (first, second)] == [2.0, 3.0]


async def test_streams_teach_the_rates() -> None:
    """Uncached tokens until the first byte, tokens of the answer from there on."""
    clock = Clock()
    meter = Meter(clock.now)
    reply = await Metered(Machine(clock, Usage(1000, 80, cached=400)), {"a": meter}, clock)(call("a"))
    [frame async for frame in reply.frames]
    assert (meter.prefill.value, meter.decode.value, meter.whole.value) == (300.0, 20.0, None)


async def test_plain_answers_teach_what_they_can() -> None:
    """A plain answer tells its tokens over its whole time; an embedding is all reading."""
    clock = Clock()
    meter = Meter(clock.now)
    await Metered(Machine(clock, Usage(1000, 80), headers=None), {"a": meter}, clock)(call("a"))
    assert (meter.prefill.value, meter.decode.value, meter.whole.value) == (None, None, 40.0)
    await Metered(Machine(clock, Usage(1000), headers=None), {"a": meter}, clock)(call("a"))
    assert meter.prefill.value == 500.0


@pytest.mark.parametrize(
    ("usage", "fault"), [(None, ""), (Usage(1000, 80, estimated=True), ""), (Usage(1000, 80), "cut")]
)
async def test_guesses_and_faults_teach_nothing(usage: Usage | None, fault: str) -> None:
    """Only whole answers whose tokens the upstream told say how fast a machine is."""
    clock = Clock()
    meter = Meter(clock.now)
    reply = await Metered(Machine(clock, usage, fault=fault), {"a": meter}, clock)(call("a"))
    [frame async for frame in reply.frames]
    assert (meter.prefill.value, meter.decode.value) == (None, None)
