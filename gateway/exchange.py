"""One call between its client and its pipeline: its way in, its answer frame by frame, and its record.

A call's way: who calls (gate), what is asked (wire), how it is served (pipeline), its reply frame by frame, the
journal. A client that leaves cancels the call wherever it stands. Whatever happens, the record is written and the next
call is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic, time
from typing import Any, Protocol, cast

from gateway import auth, sse, wire
from gateway.call import Call, Reply
from gateway.errors import (
    BadRequest,
    Draining,
    GatewayError,
    TooLarge,
)
from gateway.runtime import Pipeline, Runtime, Way
from gateway.trace import Trace

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("sluice")

CLIENT_LEFT = 499  # nginx's number for it; no client ever sees it
CONNECTION = "sluice.connection"  # where the listener puts itself in the scope
DEADLINE_HEADERS = (b"x-request-timeout", b"x-litellm-timeout")
JSON = (b"content-type", b"application/json")


class Journal(Protocol):
    """Where finished calls are written down."""

    def add(self, trace: Trace) -> None:
        """Take one finished call, without waiting."""

    def health(self) -> str:
        """ "ok", or what is wrong."""


class Connection:
    """What the listener tells an exchange of its client: it calls `on_leave` when the connection is lost.

    A task that waits for ASGI's disconnect message would do the same for every call, at the price of a task each.
    """

    on_leave: Callable[[], None] | None = None


class Exchange:
    """One call between its client and its pipeline."""

    __slots__ = (
        "_answered",
        "_connection",
        "_journal",
        "_left",
        "_receive",
        "_runtime",
        "_send",
        "_started",
        "_task",
        "_trace",
    )

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        request_id: str,
        endpoint: str,
        connection: Connection,
        receive: Receive,
        send: Send,
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._connection = connection
        self._receive = receive
        self._send = send
        self._task: asyncio.Task[Any] | None = None
        self._left = False
        self._trace = Trace(request_id, time(), monotonic(), endpoint)
        self._started = False  # the status line has gone out
        self._answered = False  # the last byte has, or the client is gone: nothing more to cancel

    async def run(self, scope: Scope) -> None:
        """Serve the call and write its record."""
        trace = self._trace
        pipeline = self._runtime.enter()
        try:
            await self._serve(pipeline, dict(scope["headers"]))
        except GatewayError as error:
            await self._refuse(error)
        except _ClientLeft:
            trace.status, trace.outcome = CLIENT_LEFT, "client_left"
        except asyncio.CancelledError:
            # The time to drain is over. The cancellation ends here, where the server's task would end with it: raised
            # further it would only be logged as a fault.
            await self._refuse(Draining("The gateway is going down and could not finish this call."))
        except Exception:
            # A fault of our own in any layer: the client is told, the record says so, and the next call is served.
            log.exception("call %s failed inside the gateway", trace.id)
            await self._refuse(GatewayError("The gateway failed; the log has the reason under this request id."))
        finally:
            self._runtime.leave(pipeline)
            self._close_books()

    async def _serve(self, pipeline: Pipeline, headers: dict[bytes, bytes]) -> None:
        trace = self._trace
        trace.policy = pipeline.loaded.version
        caller = pipeline.gate.admit(headers)
        trace.tenant, trace.key = caller.tenant, caller.key
        if pipeline.gate.is_keyless:
            auth.check_json_type(headers)
        limits = pipeline.loaded.policy.limits
        body = await self._read_body(headers, limits.body)
        trace.request_bytes = len(body)
        fields = wire.parse_body(body)
        model = wire.check(trace.endpoint, fields, max_messages=limits.messages)
        way = pipeline.way(caller, model, trace.endpoint)
        trace.model, trace.rule = model, way.rule.name
        trace.streamed = fields.get("stream") is True
        deadline = trace.started + _patience(headers, way)
        await self._answer(way, Call(trace.endpoint, model, body, fields, caller, trace, deadline))

    async def _read_body(self, headers: dict[bytes, bytes], limit: int) -> bytes:
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        message = await self._receive_body()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        parts, size = [body], len(body)
        while message.get("more_body"):
            if size > limit:
                raise _too_large(limit)
            message = await self._receive_body()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        return b"".join(parts)

    async def _receive_body(self) -> Message:
        """The next part of the body; the listener ends the patience with a client that is too slow."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        return message

    async def _answer(self, way: Way, call: Call) -> None:
        """Run the pipeline and send what it says; a client that leaves meanwhile cancels both."""
        task = self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._connection.on_leave = self._leave
        try:
            reply = await way.handler(call)
            try:
                await self._send_reply(reply)
            finally:
                await reply.close()
        except asyncio.CancelledError:
            if self._left and task.uncancel() == 0:  # cancelled because the client left, and by nobody else
                raise _ClientLeft from None
            raise
        finally:
            self._connection.on_leave = None

    def _leave(self) -> None:
        """The client has left: cancel the call wherever it stands."""
        if not self._answered and self._task is not None:
            self._left = True
            self._task.cancel()

    async def _send_reply(self, reply: Reply) -> None:
        trace = self._trace
        trace.status = reply.status
        send = self._send
        size = 0
        if not reply.is_stream:
            body = b"".join([frame async for frame in reply.frames])
            await self._start(reply, len(body))
            self._answered = True
            await send({"type": "http.response.body", "body": body})
            trace.response_bytes = len(body)
            return
        await self._start(reply, None)
        async for frame in reply.frames:
            size += len(frame)
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        trace.response_bytes = size
        self._answered = True
        await send({"type": "http.response.body", "body": b""})

    async def _start(self, reply: Reply, length: int | None) -> None:
        trace = self._trace
        trace.first_byte = monotonic()
        headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        headers += _told(trace, trace.first_byte)
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        else:
            headers.append((b"cache-control", b"no-cache"))
        self._started = True
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})

    async def _refuse(self, error: GatewayError) -> None:
        """Tell the client what went wrong: as the answer, or as the last event of a stream that has begun."""
        trace = self._trace
        trace.outcome = error.code
        if self._started:
            await self._send({"type": "http.response.body", "body": sse.event(error.envelope())})
            return
        trace.status = error.status
        body = error.envelope()
        trace.first_byte = monotonic()
        headers = [JSON, (b"content-length", b"%d" % len(body)), *_told(trace, trace.first_byte)]
        headers += [(name.encode(), value.encode("latin-1")) for name, value in error.headers.items()]
        # The connection stays open, and what still comes of a body over the limit is dropped as it comes: to close with
        # bytes unread would reset the connection, and the client would never read why.
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
        trace.response_bytes = len(body)

    def _close_books(self) -> None:
        trace = self._trace
        trace.ended = monotonic()
        if trace.attempts:
            last = trace.attempts[-1]
            trace.usage = last.usage
            if not trace.outcome:
                trace.outcome = f"upstream_{last.fault}" if last.fault else ""
        if not trace.outcome:
            trace.outcome = "ok" if trace.status < 400 else "rejected"
        self._journal.add(trace)


class _ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is over {limit} bytes.")


def _patience(headers: dict[bytes, bytes], way: Way) -> float:
    """Seconds the whole call may take: the rule's, or the client's own if that is shorter."""
    total = way.rule.timeouts.total
    for name in DEADLINE_HEADERS:
        if name in headers:
            return min(total, _seconds(name, headers[name]))
    return total


def _seconds(name: bytes, value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise BadRequest(f"The header '{name.decode()}' must be a positive number of seconds.", param=name.decode())
    return seconds


def _told(trace: Trace, now: float) -> Headers:
    """The headers that say how a call was answered, the same on plain and streamed answers."""
    headers = [(b"x-request-id", trace.id.encode()), (b"x-cache", b"BYPASS")]
    attempts = trace.attempts
    if attempts:
        last = attempts[-1]
        headers.append((b"x-sluice-model", _header_text(last.model)))
        headers.append((b"x-sluice-upstream", _header_text(last.upstream)))
    headers.append((b"x-sluice-route", _header_text(trace.rule or "none")))
    headers.append((b"x-sluice-attempts", b"%d" % len(attempts)))
    overhead = max(0.0, now - trace.started - trace.upstream_seconds(now))
    headers.append((b"x-sluice-overhead-ms", b"%.2f" % (overhead * 1000)))
    return headers


def _header_text(text: str) -> bytes:
    return text.encode("ascii", "replace")
