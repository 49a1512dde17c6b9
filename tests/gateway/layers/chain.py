"""A call and an upstream for tests of layers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic

from gateway.call import Call, Caller, Reply, Target
from gateway.trace import Attempt, Trace


def call(*upstreams: str, seconds: float = 60.0) -> Call:
    """A call that these upstreams may answer."""
    trace = Trace("req_1", 0.0, monotonic(), "chat")
    targets = tuple(Target(name, "m") for name in upstreams)
    return Call("chat", "m", b"{}", {"model": "m"}, Caller("local"), trace, monotonic() + seconds, targets)


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
