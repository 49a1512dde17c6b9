"""One HTTP/1.1 connection to a server and the exchange under way on it; the laws stand in `http.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

MAX_HEADER_BYTES = 64 * 1024
HIGH_WATER = 1024 * 1024


class TransportFault(Exception):
    """An exchange failed. `kind` is "connect", "busy", "tls", "timeout", "stall", "deadline", "cut" or "garbage"."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class Patience:
    """How long to wait for one answer, in seconds; `until` is a time on the event loop's clock."""

    connect: float
    first_byte: float  # from the request's end to the first byte of the body
    idle: float  # between two reads of the body
    until: float
    is_sent: bool = False  # the request has gone out: from now on a server may be at work on it


class Response:
    """One answer: status and headers are there; the body comes as it arrives."""

    __slots__ = ("_chunks", "_connection", "_done", "_fault", "_size", "_waiter", "came", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.came = 0  # bytes of the body that `read` has taken
        self._connection = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._done = False
        self._fault: TransportFault | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> bytes:
        """All body bytes that have arrived since the last call, waiting for at least one; b"" at the end."""
        while not self._chunks:
            if self._fault is not None:
                raise self._fault
            if self._done:
                return b""
            await self._wait()
        chunks, self._chunks = self._chunks, []
        if self._size > HIGH_WATER:
            self._connection.resume()
        self._size = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read(self, limit: int) -> bytes:
        """The whole body. A body over `limit` bytes is a fault."""
        parts: list[bytes] = []
        size = 0
        while data := await self.next():
            self.came = size = size + len(data)
            if size > limit:
                self.abort()
                raise TransportFault("garbage", f"the answer is over {limit} bytes")
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def abort(self) -> None:
        """Close the connection at once if the answer is not complete. Safe to call at any time."""
        if not self._done and self._fault is None:
            self._connection.fail(TransportFault("cut", "we hung up"))

    @property
    def is_whole(self) -> bool:
        """Say whether the answer has come to its end, so that `next` need not wait."""
        return self._done

    async def started(self) -> None:
        """Wait for status and headers."""
        while not self.status:
            if self._fault is not None:
                raise self._fault
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let whoever waits look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Status and headers are known."""
        self.status, self.headers = status, headers
        self.wake()

    def add(self, data: bytes) -> bool:
        """Take body bytes; say whether the reader has fallen too far behind."""
        self._chunks.append(data)
        self._size += len(data)
        self.wake()
        return self._size > HIGH_WATER

    def end(self, fault: TransportFault | None) -> None:
        """The body is complete, or it never will be."""
        if fault is None:
            self._done = True
        else:
            self._fault = fault
        self.wake()

    @property
    def is_awaited(self) -> bool:
        """Say whether the reader waits for bytes; a slow reader is not the server's fault."""
        return self._waiter is not None


class Connection(asyncio.Protocol):
    """One TCP or TLS connection and the exchange under way on it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        release: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self.loop = loop
        self._release = release
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []  # what the present feed of the parser brought
        # The parser's body callback is the list's own method: a stream comes in many small HTTP chunks, and a Python
        # call for each of them would be the dearest part of passing it on.
        self.on_body = self._body.append
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._patience: Patience | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._paused = False
        self._untouched = True  # no byte of an answer has come yet
        self.idle_since = 0.0
        self.sent_at = 0.0
        self.reused = False

    # The exchange

    def send(self, head: bytes, body: bytes, patience: Patience) -> Response:
        """Write one request and return its answer, which fills as bytes arrive."""
        transport = cast(asyncio.Transport, self._transport)
        response = self._response = Response(self)
        self._headers, self._header_bytes, self._untouched = {}, 0, True
        self._patience = patience
        patience.is_sent = True
        self._last = self.sent_at = now = self.loop.time()
        self._timer = self.loop.call_at(min(now + patience.first_byte, now + patience.idle, patience.until), self._tick)
        transport.writelines([head, body])
        return response

    @property
    def is_lost(self) -> bool:
        """Say whether the connection is gone or going."""
        return self._transport is None or self._transport.is_closing()

    @property
    def is_untouched(self) -> bool:
        """Say whether no byte of the present answer has come, not even of its headers."""
        return self._header_bytes == 0

    def close(self) -> None:
        """Close without waiting."""
        if self._transport is not None:
            self._transport.abort()

    def fail(self, fault: TransportFault) -> None:
        """End the present exchange with a fault and the connection with it."""
        self._finish(fault)
        self.close()

    def resume(self) -> None:
        """Read on after a pause."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._last = self.loop.time()
            self._transport.resume_reading()

    def _finish(self, fault: TransportFault | None) -> None:
        response, self._response = self._response, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if response is not None:
            response.end(fault)

    def _tick(self) -> None:
        """Look whether a deadline has passed; one timer serves all three, armed anew only when it fires."""
        response, patience = self._response, self._patience
        if response is None or patience is None:
            return
        now = self.loop.time()
        wait = patience.first_byte if self._untouched else patience.idle
        due = self._last + wait
        if now >= patience.until:
            self.fail(TransportFault("deadline", "the call's deadline passed"))
        elif now >= due and self._untouched:
            self.fail(TransportFault("timeout", f"no answer within {wait:g} s"))
        elif now >= due and response.is_awaited:
            self.fail(TransportFault("stall", f"nothing more for {wait:g} s"))
        else:
            # Never later than an idle wait from now: the first byte may come in between, and then be the last.
            due = min(due, now + patience.idle)
            self._timer = self.loop.call_at(min(max(due, now + 0.05), patience.until), self._tick)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._response is None:  # bytes nobody asked for: this connection cannot be trusted any more
            self.close()
            return
        if not self._response.status:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._hand_over()
            self.fail(TransportFault("garbage", f"not HTTP/1.1: {type(error).__name__}"))
            return
        if self._body:
            self._hand_over()
        elif self._response is not None and not self._response.status and self._header_bytes > MAX_HEADER_BYTES:
            self.fail(TransportFault("garbage", f"over {MAX_HEADER_BYTES} bytes of headers"))

    def _hand_over(self) -> None:
        """Give the reader what the parser brought, in one piece, and pause reading when nobody takes it."""
        body = self._body
        response = self._response
        if response is not None and body:
            # Only bytes of the body begin the answer: headers that drip must not prolong the wait for the first.
            self._untouched = False
            self._last = self.loop.time()
            if response.add(body[0] if len(body) == 1 else b"".join(body)) and not self._paused:
                self._paused = True
                cast(asyncio.Transport, self._transport).pause_reading()
        body.clear()

    def eof_received(self) -> None:
        response = self._response
        if response is not None and response.status and self._ends_with_connection():
            self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # it holds us as we hold it: a circle that only the collector would find
        self._lost(self)
        self._finish(TransportFault("cut", f"the connection was closed ({type(exc).__name__ if exc else 'end'})"))

    def _ends_with_connection(self) -> bool:
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for: the next call on this connection must not be given it."""
        if self._response is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are passed over."""
        if self._response is not None and not self._response.status:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Status and headers are there; an interim 1xx answer is passed over."""
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = {}
        elif self._response is not None:
            self._response.begin(status, self._headers)

    def on_message_complete(self) -> None:
        """The answer is whole; the connection may serve again if the server keeps it."""
        if self._response is None or not self._response.status:
            return
        keep = self._parser.should_keep_alive()
        self._hand_over()
        self.resume()
        self._finish(None)
        if keep:
            self._release(self)
        else:
            self.close()
