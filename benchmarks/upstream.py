"""The static upstream: an OpenAI-compatible server that answers from bytes built beforehand, as fast as Python can.

It is the same for every gateway and for the direct call. A raw protocol on uvloop and httptools costs some 10 µs a
call, a tenth of the fastest router measured here; `overhead` prints how busy the load side was and marks a figure that
it may have limited. nginx would be faster still, but cannot read from a body what is asked for, and cannot pace.

Run by the benchmarks as `python -m benchmarks.upstream PORT`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import httptools
import orjson
import uvloop

from benchmarks.bodies import CUT_AFTER, MODEL, PACE_S, SLOW, STAMP, Kind, completion, events, usage_event, wanted

_EVENT_STREAM = b"text/event-stream; charset=utf-8"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: static\r\ncontent-type: " + _EVENT_STREAM + b"\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"
_DONE = b"data: [DONE]\n\n"
_MODEL_CARD = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "static", "max_model_len": 131_072}
# What routers ask a worker before they send it calls: vLLM's and SGLang's probes.
_PAGES: dict[bytes, object] = {
    b"/health": {"status": "ok"},
    b"/health_generate": {"status": "ok"},
    b"/v1/models": {"object": "list", "data": [_MODEL_CARD]},
    b"/get_model_info": {"model_path": MODEL, "tokenizer_path": MODEL, "is_generation": True},
    b"/model_info": {"model_path": MODEL, "tokenizer_path": MODEL, "is_generation": True},
    b"/get_server_info": {
        "model_id": MODEL,
        "model_path": MODEL,
        "served_model_name": MODEL,
        "tp_size": 1,
        "dp_size": 1,
    },
    b"/server_info": {"model_id": MODEL, "model_path": MODEL, "served_model_name": MODEL, "tp_size": 1, "dp_size": 1},
    b"/version": {"version": "0.1.0"},
}


class Answers:
    """Every answer as bytes, built once."""

    def __init__(self) -> None:
        stream = events()
        self.plain = document(200, completion())
        self.burst = _STREAM_HEAD + b"".join(map(chunk, [*stream, _DONE])) + _LAST_CHUNK
        self.burst_with_usage = _STREAM_HEAD + b"".join(map(chunk, [*stream, usage_event(), _DONE])) + _LAST_CHUNK
        self.whole = document(200, b"".join([*stream, _DONE]), _EVENT_STREAM)
        self.whole_with_usage = document(200, b"".join([*stream, usage_event(), _DONE]), _EVENT_STREAM)
        # The last chunk has no stamp; the others are split around theirs.
        self.paced = [tuple(STAMP.split(chunk(event))[::2]) for event in stream]
        self.paced_end = chunk(_DONE) + _LAST_CHUNK
        self.paced_end_with_usage = chunk(usage_event()) + self.paced_end
        self.error = document(
            500, b'{"error":{"message":"out of memory","type":"server_error","param":null,"code":null}}'
        )
        self.garbage = document(200, b"<html><body>It works!</body></html>", b"text/html")
        self.pages = {path: document(200, orjson.dumps(page)) for path, page in _PAGES.items()}
        self.missing = document(
            404, b'{"error":{"message":"no such page","type":"not_found","param":null,"code":null}}'
        )

    def stream(self, kind: Kind, *, with_usage: bool) -> bytes:
        """Give a stream that is sent at once."""
        if kind == "burst":
            return self.burst_with_usage if with_usage else self.burst
        return self.whole_with_usage if with_usage else self.whole


def document(status: int, body: bytes, content_type: bytes = b"application/json") -> bytes:
    """Build a whole plain HTTP answer."""
    head = b"HTTP/1.1 %d Static\r\nserver: static\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (status, content_type, len(body)) + body


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Tally:
    """How many connections are open, how many calls wait for an answer or are amid one, how many came: `/stats`."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = 0
        self.busy = 0

    def page(self) -> bytes:
        """Give the answer to `/stats`."""
        return document(200, orjson.dumps({"open": self.open, "busy": self.busy, "calls": self.calls}))


class Upstream(asyncio.Protocol):
    """One connection from a gateway. httptools calls the `on_` methods."""

    def __init__(self, answers: Answers, tally: Tally, loop: asyncio.AbstractEventLoop) -> None:
        self._answers = answers
        self._tally = tally
        self._is_busy = False  # with a slow answer; the others are written at once
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop registers no base class
        self._tally.open += 1

    def data_received(self, data: bytes) -> None:
        """Parse what came; nonsense ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Stop a stream that nobody reads."""
        self._closed = True
        self._tally.open -= 1
        self._busy(now=False)
        if self._timer is not None:
            self._timer.cancel()

    def on_url(self, url: bytes) -> None:
        """Begin a request."""
        self._url = url
        self._body = []

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer a whole request."""
        if self._parser.get_method() == b"POST":
            self._answer(b"".join(self._body))
        elif self._url == b"/stats":
            self._transport.write(self._tally.page())
        else:
            self._transport.write(self._answers.pages.get(self._url, self._answers.missing))

    def _answer(self, body: bytes) -> None:
        self._tally.calls += 1
        kind = wanted(body)
        if kind == "plain":
            self._transport.write(self._answers.plain)
        elif kind in {"burst", "whole"}:
            self._transport.write(self._answers.stream(kind, with_usage=b'"include_usage"' in body))
        elif kind in SLOW:
            self._busy(now=True)
            if kind != "hang":
                self._pace(body, cut=kind == "cut")
        else:
            self._transport.write(self._answers.error if kind == "error" else self._answers.garbage)

    def _busy(self, *, now: bool) -> None:
        self._tally.busy += now - self._is_busy
        self._is_busy = now

    def _pace(self, body: bytes, *, cut: bool) -> None:
        end = self._answers.paced_end_with_usage if b'"include_usage"' in body else self._answers.paced_end
        self._transport.write(_STREAM_HEAD)
        self._tick(0, self._loop.time(), self._transport.close if cut else partial(self._transport.write, end), cut)

    def _tick(self, sent: int, began: float, finish: Callable[[], None], cut: bool) -> None:  # noqa: FBT001  # call_at
        """Send chunk number `sent` and plan the next by the stream's own schedule, so that delays do not add up."""
        if self._closed:
            return
        parts = self._answers.paced[sent]
        self._transport.write(b"t=%016d".join(parts) % time.monotonic_ns() if len(parts) > 1 else parts[0])
        sent += 1
        if sent == (CUT_AFTER if cut else len(self._answers.paced)):
            finish()
            self._busy(now=False)
        else:
            self._timer = self._loop.call_at(began + sent * PACE_S, self._tick, sent, began, finish, cut)


async def serve(port: int) -> None:
    """Serve on loopback until the process is ended."""
    loop = asyncio.get_running_loop()
    answers, tally = Answers(), Tally()
    server = await loop.create_server(lambda: Upstream(answers, tally, loop), "127.0.0.1", port, backlog=4096)
    # Everything that lives is permanent; a collection would show up as a late chunk of every gateway.
    gc.freeze()
    gc.disable()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
