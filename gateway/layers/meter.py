"""Metered: how long an own machine works on a call, and how fast, from when it is asked until its answer has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from time import monotonic

from gateway.call import Call, Handler, Reply
from gateway.money.machine import Meter
from gateway.trace import Attempt


class Metered:
    """Tell the meter of `call.targets[0]`'s machine when it begins and ends to work; stands innermost.

    Upstreams without a meter pass as they are.
    """

    def __init__(self, inner: Handler, meters: Mapping[str, Meter], clock: Callable[[], float] = monotonic) -> None:
        self._inner = inner
        self._meters = meters
        self._clock = clock

    async def __call__(self, call: Call) -> Reply:
        """Answer as the upstream does; its machine's time is written down in the attempt."""
        meter = self._meters.get(call.targets[0].upstream)
        if meter is None:
            return await self._inner(call)
        work = _Work(meter, call, self._clock)
        try:
            reply = await self._inner(call)
        except BaseException:  # cancelled, too: a call that never ended would slow all others down for ever
            work.end()
            raise
        if reply.body is not None or not reply.is_stream:
            work.end()
            return reply
        work.begins_to_answer()

        async def release() -> None:
            try:
                await reply.close()
            finally:
                work.end()

        return Reply(reply.status, reply.headers, _watched(reply.frames, work), release)


async def _watched(frames: AsyncIterator[bytes], work: _Work) -> AsyncIterator[bytes]:
    """The frames as they are; at their end, or where they break off, the machine's work ends."""
    try:
        async for frame in frames:
            yield frame
    finally:
        work.end()


class _Work:
    """One call in a machine, ended exactly once."""

    __slots__ = ("_answering", "_attempts", "_begun", "_clock", "_is_over", "_meter", "_number", "_reading", "_started")

    def __init__(self, meter: Meter, call: Call, clock: Callable[[], float]) -> None:
        self._meter = meter
        self._clock = clock
        self._attempts = call.trace.attempts
        self._number = len(self._attempts)  # of the attempt that the upstream is about to write down
        self._answering: float | None = None
        self._reading = 0.0  # seconds of the machine up to the first byte of the answer
        self._is_over = False
        self._started = clock()
        self._begun = meter.begin(self._started)

    def begins_to_answer(self) -> None:
        """The first byte of a stream has come: the prompt is read."""
        self._answering = self._clock()
        self._reading = self._meter.so_far(self._begun, self._answering)

    def end(self) -> None:
        """The machine has done with the call, one way or another."""
        if self._is_over:
            return
        self._is_over = True
        now = self._clock()
        seconds = self._meter.end(self._begun, now)
        if self._number < len(self._attempts):
            attempt = self._attempts[self._number]
            attempt.seconds = seconds
            self._learn(attempt, seconds, now)

    def _learn(self, attempt: Attempt, seconds: float, now: float) -> None:
        """How fast the machine reads and writes, from an answer that is whole and whose tokens the upstream told."""
        used, meter = attempt.usage, self._meter
        if used is None or used.estimated or attempt.fault:
            return
        uncached = used.prompt - used.cached
        if self._answering is not None:
            meter.prefill.learn(uncached, self._reading)
            meter.decode.learn(used.completion, now - self._answering)
        elif not used.completion:  # an embedding is all reading
            meter.prefill.learn(uncached, seconds)
        else:
            meter.whole.learn(used.completion, now - self._started)
