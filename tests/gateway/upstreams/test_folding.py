"""Plain calls to an engine that streams: folded, refused early, or passed on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, cast

import orjson
import pytest

from gateway.call import Call, Caller, Reply, Target
from gateway.errors import DeadlinePassed, GatewayError, Rejected, UpstreamFailed
from gateway.trace import Attempt, Trace
from gateway.upstreams.folding import Folding
from gateway.upstreams.openai import OpenAIUpstream

EVENTS = (
    b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


class Engine:
    """Answers every call with the same events, and with a fault if it has one."""

    def __init__(self, fault: str = "", events: bytes = EVENTS) -> None:
        self.fault = fault
        self.events = events
        self.asked: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        """Stream what is asked as a stream."""
        self.asked.append(call)
        call.trace.attempts.append(Attempt("e", "m", monotonic(), fault=self.fault))
        kind = "text/event-stream" if call.wants_stream else "application/json"
        return Reply(200, {"content-type": kind}, self._frames())

    async def _frames(self) -> AsyncIterator[bytes]:
        yield self.events


def folding(engine: Engine) -> Folding:
    """The layer over an engine with a context of 8 tokens."""
    return Folding(cast(OpenAIUpstream, engine), 8)


def call(endpoint: str = "chat", **fields: Any) -> Call:
    """A call with these fields."""
    return Call(endpoint, "m", b"", {"model": "m", **fields}, Caller("t"), Trace("r", 0, 0), 9e9, (Target("e", "m"),))


async def test_a_plain_call_is_folded() -> None:
    """The client of a plain call gets one document; the engine was asked for a stream with usage."""
    engine = Engine()
    reply = await folding(engine)(call(messages=[{"role": "user", "content": "Hi"}]))
    document = orjson.loads(b"".join([frame async for frame in reply.frames]))
    assert document["choices"][0]["message"]["content"] == "Hello"
    assert document["object"] == "chat.completion"
    assert orjson.loads(engine.asked[0].body)["stream_options"] == {"include_usage": True}


async def test_a_stream_passes_untouched() -> None:
    """The client of a stream gets the engine's own bytes."""
    reply = await folding(Engine())(call(messages=[{"role": "user"}], stream=True))
    assert b"".join([frame async for frame in reply.frames]) == EVENTS


@pytest.mark.parametrize(("fault", "error"), [("cut", UpstreamFailed), ("deadline", DeadlinePassed)])
async def test_a_broken_stream_is_an_error(fault: str, error: type[GatewayError]) -> None:
    """Nothing has been said yet, so a stream that breaks off may still be asked elsewhere."""
    with pytest.raises(error):
        await folding(Engine(fault))(call(messages=[{"role": "user"}]))


async def test_what_has_no_plain_form_is_an_error() -> None:
    """Chunks no answer can be made of are the engine's failure, not ours."""
    engine = Engine(events=EVENTS.replace(b'"choices":[', b'"choices":[7,'))
    with pytest.raises(UpstreamFailed, match="cannot be read"):
        await folding(engine)(call(messages=[{"role": "user"}]))


async def test_what_is_told_twice_is_told_last() -> None:
    """A field with two values does not fail the call: a cache must be strict, an answer need not."""
    engine = Engine(events=EVENTS.replace(b'"delta":{', b'"x":1,"delta":{', 1).replace(b'"finish', b'"x":2,"finish'))
    reply = await folding(engine)(call(messages=[{"role": "user"}]))
    assert orjson.loads(b"".join([frame async for frame in reply.frames]))["choices"][0]["x"] == 2


async def test_what_cannot_fit_is_refused_at_once() -> None:
    """More messages than tokens of context, and several prompts in one call, cost the engine nothing."""
    engine = Engine()
    with pytest.raises(Rejected, match="do not fit"):
        await folding(engine)(call(messages=[{"role": "user"}] * 9))
    with pytest.raises(Rejected, match="one prompt a call"):
        await folding(engine)(call("completions", prompt=["a", "b"]))
    assert not engine.asked
