"""A call and an upstream for tests of layers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import orjson

from caching.identity import Identifier, Scope
from gateway.call import NO_WISHES, Call, Caller, Presence, Reply, Target, Wishes
from gateway.trace import MISS, Attempt, Trace, Usage

SCOPE = Scope("acme", "", "chat", "m", "", "r")
DOCUMENT = orjson.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
)


def call(*upstreams: str, seconds: float = 60.0) -> Call:
    """A call that these upstreams may answer."""
    trace = Trace("req_1", 0.0, monotonic(), "chat")
    targets = tuple(Target(name, "m") for name in upstreams)
    return Call("chat", "m", b"{}", {"model": "m"}, Caller("local"), trace, monotonic() + seconds, targets)


def asking(
    *,
    wishes: Wishes = NO_WISHES,
    presence: Presence | None = None,
    seconds: float = 60.0,
    is_patient: bool = True,
    endpoint: str = "chat",
    **fields: Any,
) -> Call:
    """A call with these fields that is not sampled and has no identity yet."""
    json = {"model": "m", "temperature": 0, **fields}
    now = monotonic()
    trace = Trace("req_1", 0.0, now, endpoint, "acme")
    caller = Caller("acme")
    return Call(
        *(endpoint, "m", orjson.dumps(json), json, caller, trace, now + seconds, (), wishes, presence, is_patient)
    )


def known(call: Call, scope: Scope = SCOPE) -> Call:
    """The call as the layer that gives identities passes it on."""
    call.trace.cache = MISS
    return call.known_as(Identifier(scope).identify(call.json, call.body))


class Answering:
    """A handler that answers as an upstream does, with what it was made with; it keeps the calls it got."""

    def __init__(self, *replies: Reply | Exception, fault: str = "") -> None:
        self._replies = list(replies)
        self._fault = fault
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        """Answer, the last way again and again."""
        self.calls.append(call)
        used = Usage(3, 4)
        call.trace.attempts.append(Attempt("up", "m", monotonic(), ended=monotonic(), fault=self._fault, usage=used))
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


def plain(body: bytes = DOCUMENT) -> Reply:
    """A plain answer that is whole already."""
    return Reply(200, {"content-type": "application/json"}, body)


async def read(reply: Reply) -> bytes:
    """All of it."""
    try:
        return b"".join([frame async for frame in reply.frames])
    finally:
        await reply.close()


async def frames(*parts: bytes) -> AsyncIterator[bytes]:
    """Frames of a reply."""
    for part in parts:
        yield part


class Scripted:
    """A handler that answers as its script says: a reply's status, or an error to raise."""

    def __init__(self, *script: BaseException | Reply) -> None:
        self._script = list(script)
        self.asked: list[str] = []

    async def __call__(self, call: Call) -> Reply:
        """Do the next step."""
        name = call.targets[0].upstream
        self.asked.append(name)
        call.trace.attempts.append(Attempt(name, "m", monotonic()))
        step = self._script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


def good() -> Reply:
    """A plain answer."""
    return Reply(200, {"content-type": "application/json"}, frames(b"{}"))


def stream(*parts: bytes) -> Reply:
    """A streamed answer."""
    return Reply(200, {"content-type": "text/event-stream"}, frames(*parts))
