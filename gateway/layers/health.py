"""Health: watch how one upstream answers, from its first byte to its last, and tell its breaker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from time import monotonic

from gateway.call import Call, Handler, Reply
from gateway.errors import UpstreamFailed
from gateway.trace import Attempt
from routing.breaker import Breaker

# A setting is wrong, our own pool is full, or the call had no more time: none of it says that the upstream is ill.
NOT_ITS_FAULT = frozenset({"wrong_model", "busy", "deadline"})


class Health:
    """Tell the breaker of `call.targets[0]` how it went."""

    def __init__(self, inner: Handler, breakers: Mapping[str, Breaker]) -> None:
        self._inner = inner
        self._breakers = breakers

    async def __call__(self, call: Call) -> Reply:
        """Answer as the upstream does; the breaker hears of it."""
        breaker = self._breakers[call.targets[0].upstream]
        started = monotonic()
        try:
            reply = await self._inner(call)
        except UpstreamFailed as failure:
            if failure.fault == "http_429":
                breaker.throttled(monotonic(), failure.retry_after)
            elif failure.fault in NOT_ITS_FAULT:
                breaker.abandoned()
            else:
                breaker.failed(monotonic())
            raise
        except BaseException:  # cancelled, or a fault of ours: a probe that is never given back would keep it open
            breaker.abandoned()
            raise
        # Only the first byte of a stream tells slow from fast: a plain answer takes as long as it is.
        breaker.succeeded(monotonic(), monotonic() - started if reply.is_stream else 0.0)
        if not reply.is_stream:
            return reply
        frames = _watched(reply.frames, call.trace.attempts[-1], breaker)
        return Reply(reply.status, reply.headers, frames, reply.close)


async def _watched(frames: AsyncIterator[bytes], attempt: Attempt, breaker: Breaker) -> AsyncIterator[bytes]:
    """The frames as they are; a stream that breaks off counts as a failure too."""
    try:
        async for frame in frames:
            yield frame
    finally:
        if attempt.fault and attempt.fault not in NOT_ITS_FAULT:
            breaker.failed(monotonic())
