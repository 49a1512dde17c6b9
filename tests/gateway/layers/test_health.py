"""Health: what the breaker hears of an answer."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import BadRequest, DeadlinePassed, UpstreamFailed
from gateway.layers.health import Health
from routing.breaker import Breaker, BreakerSettings, State
from tests.gateway.layers.chain import Scripted, call, good, stream

FAR = 1e12  # long after everything


def breaker(*, probing: bool = False) -> Breaker:
    """A breaker, closed; or half-open with its only probe let through."""
    made = Breaker(BreakerSettings(window=1, probes=1, open_seconds=1e-9))
    if probing:
        made.failed(0)
        assert made.admit(FAR)
        assert not made.admit(FAR)
    return made


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (UpstreamFailed("x", fault="http_500"), State.HALF_OPEN),
        (UpstreamFailed("x", fault="timeout"), State.HALF_OPEN),
        (UpstreamFailed("x", fault="auth"), State.HALF_OPEN),
        (UpstreamFailed("x", fault="http_429", retry_after=5), State.CLOSED),
        (UpstreamFailed("x", fault="wrong_model"), State.CLOSED),
        (UpstreamFailed("x", fault="busy"), State.CLOSED),
        (DeadlinePassed("x"), State.CLOSED),
        (asyncio.CancelledError(), State.CLOSED),
        (BadRequest("x"), State.CLOSED),
        (KeyError("ours"), State.CLOSED),
    ],
)
async def test_what_counts_as_ill(error: BaseException, state: State) -> None:
    """Only what the upstream did counts against it; nothing that is let through stays let through."""
    one = breaker()
    with pytest.raises(type(error)):
        await Health(Scripted(error), {"a": one})(call("a"))
    assert one.state(FAR) is state
    probing = breaker(probing=True)
    with pytest.raises(type(error)):
        await Health(Scripted(error), {"a": probing})(call("a"))
    assert probing.admit(FAR)


async def test_rests() -> None:
    """A 429 is a rest for as long as it says."""
    one = breaker()
    with pytest.raises(UpstreamFailed):
        await Health(Scripted(UpstreamFailed("x", fault="http_429", retry_after=50)), {"a": one})(call("a"))
    assert one.reason == "throttled"


async def test_a_good_answer_closes() -> None:
    """A good answer closes a half-open breaker, plain or streamed."""
    for reply in (good(), stream(b"data: {}\n\n")):
        one = breaker(probing=True)
        assert await Health(Scripted(reply), {"a": one})(call("a"))
        assert one.state(FAR) is State.CLOSED


@pytest.mark.parametrize(("fault", "state"), [("cut", State.HALF_OPEN), ("deadline", State.CLOSED), ("", State.CLOSED)])
async def test_a_stream_that_breaks_off(fault: str, state: State) -> None:
    """A stream that breaks off is a failure, unless it was the call's own time that ended."""
    one, asked = Breaker(BreakerSettings(window=1, open_seconds=1e-9)), call("a")
    reply = await Health(Scripted(stream(b"data: 1\n\n", b"data: 2\n\n")), {"a": one})(asked)
    got = []
    async for frame in reply.frames:
        got.append(frame)
        asked.trace.attempts[-1].fault = fault
    assert got == [b"data: 1\n\n", b"data: 2\n\n"]
    assert one.state(FAR) is state


async def test_plain_answers_are_never_slow() -> None:
    """A plain answer takes as long as it is, which says nothing about its first byte."""
    one = Breaker(BreakerSettings(window=1, slow=1e-12))
    await Health(Scripted(good()), {"a": one})(call("a"))
    assert one.state(0) is State.CLOSED
    await Health(Scripted(stream()), {"a": one})(call("a"))
    assert one.reason == "slow"
