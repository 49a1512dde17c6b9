"""The data plane's HTTP server: uvicorn's, with bounds on headers and on patience that uvicorn leaves open.

An overlong header block is answered 431, a request that is not complete in time 408, what is not HTTP 400, each in
OpenAI's envelope, and the connection is closed. A connection that is lost tells the exchange under way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.errors import BadRequest, GatewayError, HeadersTooLarge, TooSlow
from gateway.exchange import CONNECTION

MAX_HEADER_BYTES = 64 * 1024
UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Cork:
    """A client's transport that sends a status line and headers together with what follows them.

    uvicorn writes them apart; on loopback and small answers the second system call is a tenth of all the work.
    """

    __slots__ = ("_held", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write, but hold a final answer's head until its first byte of body or the end."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send what is held: the answer has no body."""
        if self._held:
            self._transport.write(self._held)
            self._held = b""

    def close(self) -> None:
        """Send what is held, then close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)


class Listener(HttpToolsProtocol):
    """One client connection."""

    header_seconds = 20.0  # from a request's first byte to the end of its headers
    body_seconds = 60.0  # from there to its last byte
    on_leave: Callable[[], None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0  # of the request whose headers are not complete
        self._in_head = True
        self._in_request = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._cork = Cork(self.transport)
        self.transport = self._cork  # type: ignore[assignment] # it is one but for the held head
        self._wait(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting, and tell the exchange under way."""
        self._stop_waiting()
        super().connection_lost(exc)
        if self.on_leave is not None:
            self.on_leave()

    def data_received(self, data: bytes) -> None:
        """Feed the parser. A request that came whole, as nearly all do, costs no timer."""
        self._in_request = True
        if self._in_head:
            self._head_bytes += len(data)
            if b"pgrade:" in data:
                data = _without_upgrade(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(HeadersTooLarge(f"The headers are over {MAX_HEADER_BYTES} bytes."))
        elif not self._in_request:
            self._stop_waiting()
        elif self._patience is None:
            self._wait(self.header_seconds if self._in_head else self.body_seconds)

    def on_message_begin(self) -> None:
        """Put ourselves where the exchange finds us."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[CONNECTION] = self

    def on_headers_complete(self) -> None:
        """The headers are whole; the body has a patience of its own."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes begin a new request."""
        self._in_head, self._in_request, self._head_bytes = True, False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is whole; one without a body still has its head held."""
        self._cork.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(BadRequest(msg))

    def _wait(self, seconds: float) -> None:
        self._patience = self.loop.call_later(seconds, self._out_of_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _out_of_patience(self) -> None:
        self._patience = None
        if self._in_request:
            self._refuse(TooSlow("The request was not complete in time."))
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.close()  # connected and never said a word

    def _refuse(self, error: GatewayError) -> None:
        if self.transport.is_closing():
            return
        is_silent = self.cycle is None or not self.cycle.response_started or self.cycle.response_complete
        if is_silent and not self.pipeline:  # else the refusal would stand in the middle of an earlier answer
            body = error.envelope()
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """The data with no offer to upgrade in its head: the parser would skip the body of a request that makes one.

    Java's client offers HTTP/2 beside every request; a server may pass that over (RFC 9110, 7.8).
    """
    end = data.find(b"\r\n\r\n")
    head, rest = (data, b"") if end < 0 else (data[:end], data[end:])
    return UPGRADE.sub(b"\r\nx-upgrade:", head) + rest
