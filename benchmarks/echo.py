"""An upstream whose answers each say which question they are for and which call made them: none can be mixed up unseen.

A plain answer comes after the time that a stream takes, so that both are one call's work. Run by the benchmarks as
`python -m benchmarks.echo PORT CHUNKS PACE_S`.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httptools
import orjson
import uvloop

from benchmarks.bodies import MODEL
from benchmarks.upstream import chunk, document

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_USAGE = {"prompt_tokens": 12, "completion_tokens": 66, "total_tokens": 78}
_DONE = b"[DONE]"


class Broken(Exception):
    """No whole answer of the right status; the message says what was wrong."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How an answer comes: in so many chunks, so many seconds apart."""

    chunks: int
    seconds: float

    @property
    def whole(self) -> float:
        """Seconds for all of an answer."""
        return self.chunks * self.seconds


def question(number: str) -> bytes:
    """The messages of a call that no other number's are equal to."""
    return orjson.dumps([{"role": "user", "content": f"Call {number}: what follows?"}])


def call(number: str, *, stream: bool) -> bytes:
    """A chat call's body; calls of one number are equal, streamed or not."""
    body = {"model": MODEL, "messages": orjson.Fragment(question(number)), "temperature": 0, "stream": stream}
    return orjson.dumps(body)


def digest(messages: bytes) -> str:
    """What the answer to these messages begins with."""
    return hashlib.blake2b(messages, digest_size=12).hexdigest()


def text_of(status: int, body: bytes) -> str:
    """What a whole answer says, plain or streamed. Raises Broken."""
    if status != 200:
        raise Broken(f"status {status}")
    try:
        if body.startswith(b"{"):
            return str(orjson.loads(body)["choices"][0]["message"]["content"])
        events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event.startswith(b"data: ")]
        if events[-1:] != [_DONE]:
            raise Broken("a stream without its end")
        chunks = [orjson.loads(event) for event in events[:-1]]
        return "".join(choice["delta"].get("content") or "" for each in chunks for choice in each["choices"])
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Broken("no chat completion") from error


def answer(body: bytes, number: int, chunks: int) -> tuple[list[bytes], bytes]:
    """The events of a streamed answer, so many chunks (and perhaps the usage), and the plain document of the same."""
    given = orjson.loads(body)
    words = [digest(orjson.dumps(given["messages"])), f" call {number}", *(f" w{n}" for n in range(chunks - 3))]
    events = [_event({"role": "assistant", "content": words[0]}), *(_event({"content": word}) for word in words[1:])]
    events.append(_event({}, "stop"))
    if (given.get("stream_options") or {}).get("include_usage"):
        events.append(_data(_envelope("chat.completion.chunk") | {"choices": [], "usage": _USAGE}))
    message = {"role": "assistant", "content": "".join(words)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return events, orjson.dumps(_envelope("chat.completion") | {"choices": [choice], "usage": _USAGE})


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _data(_envelope("chat.completion.chunk") | {"choices": [choice]})


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-echo", "object": kind, "created": 1_700_000_000, "model": MODEL}


@dataclass(slots=True)
class Tally:
    """How many calls came: `/stats`."""

    calls: int = 0


class Echo(asyncio.Protocol):
    """One connection from a gateway. httptools calls the `on_` methods."""

    def __init__(self, pace: Pace, tally: Tally, loop: asyncio.AbstractEventLoop) -> None:
        self._pace = pace
        self._tally = tally
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop registers no base class

    def data_received(self, data: bytes) -> None:
        """Parse what came; nonsense ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Stop an answer that nobody reads."""
        if self._timer is not None:
            self._timer.cancel()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._body = []

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer a whole request."""
        if self._parser.get_method() != b"POST":
            self._transport.write(document(200, orjson.dumps({"calls": self._tally.calls})))
            return
        self._tally.calls += 1
        body = b"".join(self._body)
        events, plain = answer(body, self._tally.calls, self._pace.chunks)
        if b'"stream":true' in body.replace(b" ", b""):
            self._transport.write(_HEAD)
            self._send(iter(events), self._loop.time())
        else:
            self._after(self._pace.whole, partial(self._transport.write, document(200, plain)))

    def _send(self, events: Iterator[bytes], due: float) -> None:
        """Send the next event and plan the one after it by the stream's own schedule."""
        for event in events:
            self._transport.write(chunk(event))
            if self._pace.seconds:
                due += self._pace.seconds
                self._timer = self._loop.call_at(due, self._send, events, due)
                return
        self._transport.write(chunk(b"data: " + _DONE + b"\n\n") + chunk(b""))

    def _after(self, seconds: float, do: partial[None]) -> None:
        if seconds:
            self._timer = self._loop.call_later(seconds, do)
        else:
            do()


async def serve(port: int, pace: Pace) -> None:
    """Serve on loopback until the process is ended."""
    loop, tally = asyncio.get_running_loop(), Tally()
    server = await loop.create_server(lambda: Echo(pace, tally, loop), "127.0.0.1", port, backlog=4096)
    # What lives is little; a collection would show up as a late answer of whichever gateway asked.
    gc.freeze()
    gc.disable()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Pace(int(sys.argv[2]), float(sys.argv[3]))))
