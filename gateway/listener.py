"""The data plane's HTTP/1.1 server: one client connection, from bytes to a request and from an answer to bytes.

It runs under uvicorn's server, which owns sockets, signals and draining; the protocol is ours, on llhttp (httptools),
because a call spends a quarter of its time in a general one. A request is handed on when its body is whole, so nothing
waits for parts of it. An answer's head goes out with its first bytes of body.

What is not HTTP is answered 400, an overlong head 431, an overlong body 413, a request that is not whole in time 408,
each in OpenAI's envelope, and the connection is closed. Requests that come before their turn wait in line.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools
import uvicorn
from uvicorn.server import ServerState

from gateway.app import DataPlane
from gateway.errors import BadRequest, GatewayError, HeadersTooLarge, TooLarge, TooSlow
from gateway.exchange import Request
from gateway.wishes import HEADERS as WISHES

MAX_HEADER_BYTES = 64 * 1024
MAX_WAITING = 4  # pipelined requests read ahead of their turn
LINGER_SECONDS = 2.0  # that a client gets to read its refusal before the connection is gone
FOREVER = float("inf")
STATUS_LINE = {
    int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}
UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Listener(asyncio.Protocol):
    """One client connection."""

    header_seconds = 20.0  # from a request's first byte to the end of its headers
    body_seconds = 60.0  # from there to its last byte
    idle_seconds = 75.0  # between two requests

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: object = None,  # noqa: ARG002 - uvicorn hands it to every protocol
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.on_leave: Callable[[], None] | None = None  # told when the connection is lost during an exchange
        self._plane = cast(DataPlane, config.loaded_app)
        self._server = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._due = FOREVER  # when patience ends, on the loop's clock
        self._limit = 0  # most bytes of the present request's body
        self._drained: asyncio.Future[None] | None = None
        self._waiting: deque[Request] = deque()
        self._request = Request()
        self._head_size = 0  # of the present request, as parsed
        self._head_bytes = 0  # of the request whose headers are not complete
        self._in_head = True
        self._in_request = False
        self._is_busy = False  # a request is being served
        self._is_deaf = False  # refused: what still comes is not read
        self._keep = True
        self._held = b""  # the head of a stream, until its first frame
        self._is_chunked = True

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self.transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)  # type: ignore[arg-type] # it is one in all that the server asks of it
        self._wait(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Stop waiting, and tell the exchange under way."""
        self._server.connections.discard(self)
        self._stop_waiting()
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        del self._parser  # it holds us as we hold it: a circle that only the collector would find
        self.resume_writing()
        if self.on_leave is not None:
            self.on_leave()

    def data_received(self, data: bytes) -> None:
        """Feed the parser. A request that came whole, as nearly all do, costs no timer."""
        if self._is_deaf:
            return
        if self._in_head:
            self._in_request = True
            self._head_bytes += len(data)
            if b"pgrade:" in data:
                data = _without_upgrade(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(BadRequest("This is not an HTTP/1.1 request."))
            return
        if self._in_head and self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(HeadersTooLarge(f"The headers are over {MAX_HEADER_BYTES} bytes."))
        elif self._in_request and not self._is_deaf:
            self._wait(self.header_seconds if self._in_head else self.body_seconds)

    def eof_received(self) -> None:
        """A client that stops sending has left: asyncio closes the connection."""

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """The client has caught up, or is gone."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def shutdown(self) -> None:
        """The server drains: close now, or after the present answer."""
        self._keep = False
        if not self._is_busy:
            self.transport.close()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request = Request()
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """Part of the request's target."""
        self._request.target += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. What is asked of us over several lines is one list (RFC 9110, 5.3); of others the last counts."""
        name = name.lower()
        headers = self._request.headers
        headers[name] = b"%b, %b" % (headers[name], value) if name in WISHES and name in headers else value
        self._head_size += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """The head is whole: refuse a body that says it is too long, and ask for one that waits to be asked for."""
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        request = self._request
        request.method = self._parser.get_method()
        request.is_old = self._parser.get_http_version() == "1.0"
        request.keep_alive = self._parser.should_keep_alive() and not request.is_old
        self._limit = self._plane.body_limit
        declared = request.headers.get(b"content-length", b"")
        if self._head_size > MAX_HEADER_BYTES:
            self._fail(HeadersTooLarge(f"The headers are over {MAX_HEADER_BYTES} bytes."))
        elif declared.isdigit() and int(declared) > self._limit:
            self._too_large()
        elif request.headers.get(b"expect", b"").lower() == b"100-continue" and not self._is_busy:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Part of the body."""
        request = self._request
        request.parts.append(data)
        request.size += len(data)
        if request.size > self._limit and not self._is_deaf:
            self._too_large()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_head, self._in_request = True, False
        if not self._is_deaf:
            self._stop_waiting()
            self._hand_on(self._request)

    # Requests

    def _hand_on(self, request: Request) -> None:
        """Serve the request, or let it wait for its turn."""
        if not self._is_busy:
            self._serve(request)
            return
        self._waiting.append(request)
        if len(self._waiting) >= MAX_WAITING:
            self.transport.pause_reading()

    def _serve(self, request: Request) -> None:
        self._is_busy = True
        self._keep = self._keep and request.keep_alive
        task = self._loop.create_task(self._plane.handle(request, self))
        request.task = task
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _too_large(self) -> None:
        self._fail(TooLarge(f"The body is over {self._limit} bytes."))

    def _fail(self, error: GatewayError) -> None:
        """Have the request under way answered with an error, on the record, and read no more of it."""
        self._is_deaf, self._in_request = True, False
        request = self._request
        request.fault, request.keep_alive = error, False
        request.parts.clear()
        self._hand_on(request)

    def _refuse(self, error: GatewayError) -> None:
        """Answer what is no request with an error, unless it would stand in the middle of another's answer."""
        self._is_deaf, self._keep = True, False
        if not self._is_busy and not self.transport.is_closing():
            self.respond(error.status, b"content-type: application/json\r\n", error.envelope())
        elif not self._is_busy:
            self.transport.close()

    # Patience

    def _wait(self, seconds: float) -> None:
        """Begin to be patient, unless we already are. The timer is left alone if it fires soon enough to look again."""
        if self._due != FOREVER:
            return
        due = self._due = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > due:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due, self._look)

    def _stop_waiting(self) -> None:
        self._due = FOREVER

    def _look(self) -> None:
        """The timer fired; since it was armed, patience may have ended, been renewed, or not be needed any more."""
        self._timer = None
        if self._due == FOREVER:
            return
        if self._loop.time() < self._due:
            self._arm()
            return
        self._due = FOREVER
        self._out_of_patience()

    def _out_of_patience(self) -> None:
        if self._in_request and not self._in_head:
            self._fail(TooSlow("The request was not complete in time."))
        elif self._in_request:
            self._refuse(TooSlow("The request was not complete in time."))
            if self._is_busy:
                self.transport.close()
        elif not self._is_busy:
            self.transport.close()  # connected, or kept, and never said a word

    # Answers

    def respond(self, status: int, headers: bytes, body: bytes, *, without_body: bool = False) -> None:
        """Send a whole answer: header lines as bytes, each with its line end."""
        length = b"content-length: %d\r\n" % len(body)
        self.transport.write(self._head(status, headers + length) + (b"" if without_body else body))
        self._end()

    def begin(self, status: int, headers: bytes, *, is_old: bool) -> None:
        """Begin a streamed answer; its head goes out with the first frame."""
        self._is_chunked = not is_old
        self._held = self._head(status, headers + (b"" if is_old else b"transfer-encoding: chunked\r\n"))

    async def send(self, frame: bytes) -> None:
        """Send one frame of a streamed answer, and wait while the client cannot take more."""
        frame = b"%b%x\r\n%b\r\n" % (self._held, len(frame), frame) if self._is_chunked else self._held + frame
        self._held = b""
        self.transport.write(frame)
        if self._drained is not None:
            await self._drained

    def end(self) -> None:
        """End a streamed answer."""
        self.transport.write(self._held + (b"0\r\n\r\n" if self._is_chunked else b""))
        self._held = b""
        self._end()

    def _head(self, status: int, headers: bytes) -> bytes:
        lines = [STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status]
        lines += [b"%b: %b\r\n" % header for header in self._server.default_headers]
        lines += (headers, b"\r\n" if self._keep else b"connection: close\r\n\r\n")
        return b"".join(lines)

    def _end(self) -> None:
        """The answer is whole: close, serve the next in line, or wait for one."""
        self._is_busy = False
        if not self._keep:
            if self._is_deaf:
                self._linger()
            else:
                self.transport.close()
        elif self._waiting:
            self._serve(self._waiting.popleft())
            self.transport.resume_reading()
        elif not self._in_request:
            self._wait(self.idle_seconds)

    def _linger(self) -> None:
        """Close when the client has had time to read: closing on unread bytes would reset the connection."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._stop_waiting()
        self._loop.call_later(LINGER_SECONDS, self.transport.close)


def _without_upgrade(data: bytes) -> bytes:
    """The data with no offer to upgrade in its head: the parser would skip the body of a request that makes one.

    Java's client offers HTTP/2 beside every request; a server may pass that over (RFC 9110, 7.8).
    """
    end = data.find(b"\r\n\r\n")
    head, rest = (data, b"") if end < 0 else (data[:end], data[end:])
    return UPGRADE.sub(b"\r\nx-upgrade:", head) + rest
