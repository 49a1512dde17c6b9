"""One request to a provider, seen from the wire: sent once at most, cut off at once when asked, timed by its bytes.

It is the transport below litellm's HTTP client. What happened is told by the wire rather than by the library's
exceptions, which turn most faults into a 500.

Laws:

* One request per exchange. The library repeats a POST whose connection broke; the second one is refused here.
* Redirects are not followed, bodies not compressed, and their size is bounded.
* After `abort` the connection is closed, whatever the library still holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
DRAIN_SECONDS = 0.2
CLOCK_STEP = 0.002  # seconds; the loop's clock steps in milliseconds, so a timer may fire a step before its time
_LINES = frozenset({"text/event-stream", "application/x-ndjson"})
_STREAMS = _LINES | {"application/vnd.amazon.eventstream"}


class Patience:
    """How long one call waits for its provider, in seconds; every byte that arrives starts the idle clock anew."""

    def __init__(self, *, first: float, idle: float, deadline: float) -> None:
        self._now = asyncio.get_running_loop().time
        self._first = self._now() + first
        self._idle = idle
        self._deadline = deadline
        self._began = False
        self._timeout: asyncio.Timeout | None = None

    def wait(self) -> asyncio.Timeout:
        """A context that ends with TimeoutError when patience runs out; see `fault` for why."""
        self._timeout = asyncio.timeout_at(self._until())
        return self._timeout

    def begin(self) -> None:
        """Say that the answer has begun: from now on only silence counts."""
        self._began = True

    def heard(self) -> None:
        """Say that bytes arrived."""
        timeout = self._timeout
        if self._began and timeout is not None:
            with contextlib.suppress(RuntimeError):  # a wait that is over takes no new limit
                timeout.reschedule(self._until())

    @property
    def ran_out(self) -> bool:
        """Say whether the last wait was ended."""
        return self._timeout is not None and self._timeout.expired()

    @property
    def fault(self) -> str:
        """Which limit it was: the call's own "deadline", "timeout" before the answer began, or "stall" after."""
        if self._now() + CLOCK_STEP >= self._deadline:
            return "deadline"
        return "stall" if self._began else "timeout"

    def _until(self) -> float:
        return min(self._deadline, self._now() + self._idle if self._began else self._first)


class Exchange(httpx.AsyncBaseTransport):
    """One request and its answer. `fault` is "" or "connect", "tls", "cut" or "garbage"."""

    def __init__(self, pool: httpx.AsyncBaseTransport, connect: float, heard: Callable[[], None]) -> None:
        self._pool = pool
        self._timeouts = {"connect": connect, "pool": connect, "read": None, "write": None}
        self._heard = heard
        self._response: httpx.Response | None = None
        self.asked = False
        self.is_sent = False  # the request has gone out: from now on the provider may be at work on it
        self.status: int | None = None
        self.headers: httpx.Headers = httpx.Headers()
        self.said = b""  # the body of an error, as far as it was read
        self.got = 0  # bytes of body
        self.fault = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request. Raises httpx.ReadError for every fault: the one error the library does not retry."""
        if self.asked:
            raise httpx.ReadError("only one request is sent")
        self.asked = True
        request.headers["accept-encoding"] = "identity"
        request.extensions["timeout"] = self._timeouts
        request.extensions["trace"] = self._see_step
        try:
            response = await self._pool.handle_async_request(request)
        except httpx.TransportError as error:
            self.fault = _fault_of(error)
            raise httpx.ReadError(self.fault) from error
        self.is_sent = True
        self._response, self.status, self.headers = response, response.status_code, response.headers
        self._heard()
        return httpx.Response(response.status_code, headers=response.headers, stream=_Body(self, response))

    async def _see_step(self, step: str, _: Any) -> None:
        if step.endswith(".send_request_headers.complete"):
            self.is_sent = True

    @property
    def is_stream(self) -> bool:
        """Say whether the answer comes in pieces that stand for themselves."""
        return self._kind in _STREAMS

    @property
    def _kind(self) -> str:
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    async def drain(self) -> None:
        """Read what follows the answer's last word, if it comes at once, so that the connection can serve again."""
        if self._response is None:
            return
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in self._response.stream:  # type: ignore[union-attr]  # an async transport's is async
                    pass

    async def abort(self) -> None:
        """Close the connection unless the answer has been read to its end. Safe to call twice."""
        if self._response is not None:
            await self._response.aclose()

    def saw(self, chunk: bytes, line: int) -> None:
        """Count what arrived. Raises httpx.ReadError for a body, or a line of an event stream, that does not end."""
        self._heard()
        self.got += len(chunk)
        if self.status is not None and self.status >= 300:
            self.said = (self.said + chunk)[:MAX_ERROR_BYTES]
        if line > MAX_EVENT_BYTES if self._kind in _LINES else self.got > MAX_ANSWER_BYTES:
            self.fault = "garbage"
            raise httpx.ReadError("too long")


class _Body(httpx.AsyncByteStream):
    """The bytes of an answer, each chunk shown to its exchange."""

    def __init__(self, exchange: Exchange, response: httpx.Response) -> None:
        self._exchange = exchange
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        line = 0
        try:
            async for chunk in self._response.stream:  # type: ignore[union-attr]  # an async transport's is async
                end = chunk.rfind(b"\n")
                line = line + len(chunk) if end < 0 else len(chunk) - end
                self._exchange.saw(chunk, line)
                yield chunk
        except httpx.TransportError as error:
            self._exchange.fault = self._exchange.fault or "cut"
            raise httpx.ReadError(self._exchange.fault) from error

    async def aclose(self) -> None:
        await self._response.aclose()


def _fault_of(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):  # only connecting has a limit down there
        return "connect"
    if isinstance(error, httpx.ConnectError):
        return "tls" if _is_tls(error) else "connect"
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error):
        return "garbage"
    return "cut"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
