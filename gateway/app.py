"""The data plane's edge: raw ASGI in, OpenAI's wire format out, one record a call.

A call's way: who calls (gate), what is asked (wire), how it is served (pipeline), its reply frame by frame, the
journal. A client that leaves cancels the call wherever it stands. Whatever happens, the record is written and the next
call is served.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from itertools import count
from time import monotonic, time
from typing import Any, Protocol, cast

import orjson

from gateway import auth, sse, wire
from gateway.call import Call, Reply
from gateway.errors import (
    BadRequest,
    Draining,
    GatewayError,
    NoSuchMethod,
    NoSuchPath,
    TooLarge,
    UnknownModel,
)
from gateway.runtime import Pipeline, Runtime, Way
from gateway.trace import Trace

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ENDPOINTS = {"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1/embeddings": "embeddings"}
MODELS = "/v1/models"
CLIENT_LEFT = 499  # nginx's number for it; no client ever sees it
CONNECTION = "sluice.connection"  # where the listener puts itself in the scope
JSON = (b"content-type", b"application/json")
DEADLINE_HEADERS = (b"x-request-timeout", b"x-litellm-timeout")
log = logging.getLogger("sluice")


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


class DataPlane:
    """The ASGI application that clients talk to."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal
        prefix = f"req_{os.urandom(6).hex()}"
        self._ids = (f"{prefix}{number:08x}" for number in count(1))
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        endpoint = ENDPOINTS.get(scope["path"])
        if endpoint is not None and scope["method"] == "POST":
            connection = scope.get(CONNECTION) or Connection()
            exchange = _Exchange(self._runtime, self._journal, next(self._ids), endpoint, connection, receive, send)
            await exchange.run(scope)
        else:
            await self._page(scope, send, next(self._ids))

    async def _page(self, scope: Scope, send: Send, request_id: str) -> None:
        """Serve what is not a call: health, readiness, the list of models, and every wrong path."""
        try:
            status, body = self._read_page(scope)
        except GatewayError as error:
            status, body = error.status, error.envelope()
        headers = [JSON, (b"x-request-id", request_id.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _read_page(self, scope: Scope) -> tuple[int, bytes]:
        path: str = scope["path"]
        if path in ENDPOINTS:
            raise NoSuchMethod(f"Only POST is served at {path}.")
        is_model = path == MODELS or path.startswith(MODELS + "/")
        if path not in ("/healthz", "/readyz") and not is_model:
            raise NoSuchPath(f"Nothing is served at {path[:200]}.")
        if scope["method"] not in ("GET", "HEAD"):
            raise NoSuchMethod(f"Only GET is served at {path[:200]}.")
        if path == "/healthz":
            return 200, b'{"status":"alive"}'
        if path == "/readyz":
            return self._readiness()
        return 200, self._models(dict(scope["headers"]), path.removeprefix(MODELS).removeprefix("/"))

    def _readiness(self) -> tuple[int, bytes]:
        """Ready or not, and the truth about every part. A part that calls can do without only degrades."""
        runtime = self._runtime
        pipeline = runtime.pipeline
        waiting = runtime.engines_waiting()
        upstreams = {name: str(station.breaker.state(monotonic())) for name, station in pipeline.stations.items()}
        upstreams.update(dict.fromkeys(waiting, "starting"))
        ledger = self._journal.health()
        whole = not waiting and ledger == "ok" and runtime.last_refusal is None
        whole = whole and all(state == "closed" for state in upstreams.values())
        starting = bool(waiting) and len(waiting) == len(pipeline.stations)
        status = "draining" if self.is_draining else "starting" if starting else "ready" if whole else "degraded"
        told = {
            "status": status,
            "policy": pipeline.loaded.version,
            "policy_edit_refused": runtime.last_refusal is not None,
            "ledger": ledger,
            "upstreams": upstreams,
        }
        return 503 if status in ("draining", "starting") else 200, orjson.dumps(told)

    def _models(self, headers: Mapping[bytes, bytes], name: str) -> bytes:
        pipeline = self._runtime.pipeline
        names = pipeline.visible_models(pipeline.gate.admit(headers))
        if not name:
            return orjson.dumps({"object": "list", "data": [_model_card(each) for each in names]})
        if name not in names:
            raise UnknownModel(f"The model '{name[:200]}' does not exist.", param="model")
        return orjson.dumps(_model_card(name))


def _model_card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sluice"}


class _Exchange:
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
