"""The three types that carry everything."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from gateway.call import Call, Caller, Reply, Target
from gateway.trace import Trace
from tests.gateway.layers.chain import frames


@pytest.mark.parametrize(
    ("body", "streamed"), [({}, False), ({"stream": True}, True), ({"stream": False}, False), ({"stream": 1}, False)]
)
def test_wants_stream(body: dict[str, Any], *, streamed: bool) -> None:
    """Only `true` asks for a stream."""
    call = Call("chat", "m", b"", body, Caller("t"), Trace("r", 0, 0), 0)
    assert call.wants_stream is streamed


def test_frozen() -> None:
    """A call is never changed."""
    call = Call("chat", "m", b"", {}, Caller("t"), Trace("r", 0, 0), 0)
    with pytest.raises(FrozenInstanceError):
        call.model = "x"  # type: ignore[misc]


def test_aimed_at_keeps_everything() -> None:
    """Aiming a call changes its targets and loses no field."""
    values = {field.name: f"value of {field.name}" for field in fields(Call)}
    call = Call(**values)  # type: ignore[arg-type] # any values do
    targets = (Target("u", "m"),)
    assert call.aimed_at(targets) == replace(call, targets=targets)


def test_callers() -> None:
    """Without a list a caller may use every model; an empty list is none."""
    assert Caller("t").may_use("x")
    assert not Caller("t", "k", frozenset()).may_use("x")


async def test_reply() -> None:
    """A reply is a stream by its content type, and closing it releases what it holds."""
    closed = []

    async def release() -> None:
        closed.append(1)

    reply = Reply(200, {"content-type": "text/event-stream; charset=utf-8"}, frames(b"x"), release)
    assert reply.is_stream
    assert not Reply(200, {}, frames()).is_stream
    assert [frame async for frame in reply.frames] == [b"x"]
    await reply.close()
    await Reply(200, {}, frames()).close()
    assert closed == [1]
