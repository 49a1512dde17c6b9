"""One call between its client and its pipeline: its way in, its answer frame by frame, and its record.

A call's way: who calls (gate), what is asked (wire), how it is served (pipeline), its reply frame by frame, the
journal. A client that leaves cancels the call wherever it stands. Whatever happens, the record is written and the next
call is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Protocol

from gateway import auth, sse, wire, wishes
from gateway.call import Call, Reply
from gateway.errors import BadRequest, Draining, GatewayError
from gateway.money.bill import NOTHING, Books, usd
from gateway.recording import Recording
from gateway.runtime import Pipeline, Runtime, Way
from gateway.trace import BYPASS, EXACT, HITS, MISS, STALE, Source, Trace

CLIENT_LEFT = 499  # nginx's number for it; no client ever sees it
DEADLINE_HEADERS = (b"x-request-timeout", b"x-litellm-timeout")
JSON = b"content-type: application/json\r\n"
NOT_STORED = b"cache-control: no-cache\r\n"
X_CACHE = {BYPASS: "BYPASS", MISS: "MISS", **dict.fromkeys(HITS, "HIT")}
log = logging.getLogger("sluice")


class Request:
    """One request as it came off the wire, whole or with the fault that ended it."""

    __slots__ = ("fault", "headers", "is_old", "keep_alive", "method", "parts", "size", "target", "task")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.size = 0
        self.keep_alive = True
        self.is_old = False  # HTTP/1.0: no chunks
        self.fault: GatewayError | None = None
        self.task: asyncio.Task[None] | None = None  # that serves it

    @property
    def body(self) -> bytes:
        """The body in one piece."""
        parts = self.parts
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Client(Protocol):
    """What an exchange asks of the connection it answers on. Header lines are bytes, each with its line end."""

    on_leave: Callable[[], None] | None

    def respond(self, status: int, headers: bytes, body: bytes, *, without_body: bool = False) -> None:
        """Send a whole answer, or only its head."""

    def begin(self, status: int, headers: bytes, *, is_old: bool) -> None:
        """Begin a streamed one."""

    async def send(self, frame: bytes) -> None:
        """Send one frame of it, and wait while the client cannot take more."""

    def end(self) -> None:
        """End it."""


class Journal(Protocol):
    """Where finished calls are written down."""

    def add(self, trace: Trace) -> None:
        """Take one finished call, without waiting."""

    def health(self) -> str:
        """ "ok", or what is wrong."""


class Exchange:
    """One call between its client and its pipeline."""

    __slots__ = (
        "_answered", "_books", "_cancelled", "_client", "_holds", "_journal", "_left", "_recording", "_request",
        "_runtime", "_started", "_tell", "_trace",
    )  # fmt: skip

    def __init__(
        self, runtime: Runtime, journal: Journal, request_id: str, endpoint: str, request: Request, client: Client
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._request = request
        self._client = client
        self._left = False  # the client is gone
        self._cancelled = False  # and nobody else waits for its answer
        self._holds: list[object] = []  # who does
        self._tell: list[Callable[[], None]] = []
        self._trace = Trace(request_id, time(), monotonic(), endpoint)
        if runtime.begin is not None:
            self._trace.span = runtime.begin(request.headers)
        self._books: Books | None = None  # of the policy that serves the call
        self._recording: Recording | None = None  # where the policy records contents
        self._started = False  # the status line has gone out
        self._answered = False  # the last byte has, or the client is gone: nothing more to cancel

    async def run(self) -> None:
        """Serve the call and write its record."""
        trace = self._trace
        pipeline = self._runtime.enter()
        try:
            await self._serve(pipeline, self._request.headers)
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
            log.exception("call %s failed inside the gateway", trace.id, extra={"request_id": trace.id})
            await self._refuse(GatewayError("The gateway failed; the log has the reason under this request id."))
        finally:
            self._runtime.leave(pipeline)
            self._close_books()

    async def _serve(self, pipeline: Pipeline, headers: dict[bytes, bytes]) -> None:
        trace = self._trace
        trace.policy = pipeline.loaded.version
        caller = pipeline.gate.admit(headers)
        trace.tenant, trace.key, trace.team = caller.tenant, caller.key, caller.team
        if pipeline.gate.is_keyless:
            auth.check_json_type(headers)
        auth.check_plain_encoding(headers)
        limits = pipeline.loaded.policy.limits
        if self._request.fault is not None:
            raise self._request.fault
        body = self._request.body
        trace.request_bytes = len(body)
        fields = wire.parse_body(body)
        model = wire.check(trace.endpoint, fields, max_messages=limits.messages)
        wished = wishes.read(headers, fields)
        trace.tags = caller.tags + wished.tags if wished.tags else caller.tags
        way = pipeline.way(caller, model, trace.endpoint, trace.tags, headers)
        rule = way.rule
        trace.model, trace.rule = model, rule.name
        trace.streamed = fields.get("stream") is True
        self._books = pipeline.books
        if rule.record.content:
            self._recording = Recording(rule.record.longest, body)
        if wishes.LITELLM in fields and wishes.speaks_litellm(fields):
            fields = wishes.without_litellm(fields)
            body = wire.dumps(fields)
        total = rule.timeouts.total
        patience = _patience(headers, total)
        deadline = trace.started + patience
        call = Call(
            trace.endpoint, model, body, fields, caller, trace, deadline, (), wished, self, patience >= total
        )  # by position: as often as there are calls
        await self._answer(way, call)

    async def _answer(self, way: Way, call: Call) -> None:
        """Run the pipeline and send what it says; a client that leaves meanwhile cancels both."""
        task = self._request.task
        self._client.on_leave = self._leave
        try:
            reply = await way.handler(call)
            try:
                await self._send_reply(reply)
            finally:
                await reply.close()
        except asyncio.CancelledError:
            # Cancelled because the client left, and by nobody else?
            if self._cancelled and task is not None and task.uncancel() == 0:
                raise _ClientLeft from None
            raise
        finally:
            self._client.on_leave = None
            self._holds.clear()  # they know us as we know them: circles that only the collector would find
            self._tell.clear()
        if self._left:
            raise _ClientLeft

    # The caller's presence, as layers see it

    def hold(self, token: object) -> None:
        """Have the call go on without its caller for as long as this token is not released."""
        if token not in self._holds:
            self._holds.append(token)

    def release(self, token: object) -> None:
        """Give a token back; a call that nobody waits for any more is cancelled."""
        if token in self._holds:
            self._holds.remove(token)
        self._cancel_if_alone()

    def when_gone(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when the caller leaves."""
        self._tell.append(tell)

    def _leave(self) -> None:
        """The client has left: cancel the call wherever it stands, unless others wait for its answer."""
        if self._answered:
            return
        self._left = True
        for tell in self._tell:
            tell()
        self._cancel_if_alone()

    def _cancel_if_alone(self) -> None:
        if self._left and not self._holds and not self._cancelled and self._request.task is not None:
            self._cancelled = True
            self._request.task.cancel()

    async def _send_reply(self, reply: Reply) -> None:
        trace = self._trace
        trace.status = reply.status
        client = self._client
        if not reply.is_stream:
            body = reply.body
            if body is None:
                body = b"".join([frame async for frame in reply.frames])
            if self._left:
                return
            self._answered = self._started = True
            trace.response_bytes = len(body)
            if self._recording is not None:
                self._recording.see(body)
            client.respond(reply.status, self._head(reply.headers) + self._money_lines(), body)
            return
        self._started = True
        client.begin(reply.status, self._head(reply.headers) + NOT_STORED, is_old=self._request.is_old)
        async for frame in reply.frames:
            if not self._left:  # else it is for those who share it
                trace.response_bytes += len(frame)
                if self._recording is not None:
                    self._recording.see(frame)
                await client.send(frame)
        if not self._left:
            self._answered = True
            client.end()

    def _head(self, headers: dict[str, str]) -> bytes:
        """The header lines of an answer that begins now."""
        trace = self._trace
        now = trace.first_byte = monotonic()
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        lines.append(
            f"x-request-id: {trace.id}\r\nx-cache: {X_CACHE[trace.cache]}\r\nx-sluice-route: {trace.rule or 'none'}\r\n"
        )
        attempts = trace.attempts
        if trace.source is not None:
            lines.append(_source_lines(trace, trace.source))
        elif attempts:
            last = attempts[-1]
            lines.append(f"x-sluice-model: {last.model}\r\nx-sluice-upstream: {last.upstream}\r\n")
        overhead = max(0.0, now - trace.started - trace.upstream_seconds(now)) * 1000
        lines.append(f"x-sluice-attempts: {len(attempts)}\r\nx-sluice-overhead-ms: {overhead:.2f}\r\n")
        return "".join(lines).encode("ascii", "replace")

    def _money_lines(self) -> bytes:
        """What a plain answer cost and saved; of a stream nobody knows it before its end."""
        trace = self._trace
        if self._books is None:
            return b""
        bill = trace.bill = self._books.bill(trace)
        return f"x-sluice-cost-usd: {usd(bill.cost)}\r\nx-sluice-saved-usd: {usd(bill.saved)}\r\n".encode()

    async def _refuse(self, error: GatewayError) -> None:
        """Tell the client what went wrong: as the answer, or as the last event of a stream that has begun."""
        trace = self._trace
        if self._left:  # the call went on for others
            trace.status, trace.outcome = CLIENT_LEFT, "client_left"
            return
        trace.outcome = error.code
        body = error.envelope()
        self._answered = True
        if self._started:
            await self._client.send(sse.event(body))
            self._client.end()
            return
        trace.status = error.status
        self._client.respond(error.status, JSON + self._head(error.headers), body)
        trace.response_bytes = len(body)

    def _close_books(self) -> None:
        trace = self._trace
        trace.ended = monotonic()
        if trace.attempts:
            last = trace.attempts[-1]
            trace.usage = last.usage
            if not trace.outcome and trace.cache not in HITS:  # else the cache stood in for it
                trace.outcome = f"upstream_{last.fault}" if last.fault else ""
        if trace.broke and not trace.outcome:
            trace.outcome = f"upstream_{trace.broke}"
        if not trace.outcome:
            trace.outcome = "ok" if trace.status < 400 else "rejected"
        if trace.bill is None:
            trace.bill = NOTHING if self._books is None else self._books.bill(trace)
        if self._recording is not None:
            trace.content = self._recording.content
        self._journal.add(trace)


class _ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


def _source_lines(trace: Trace, source: Source) -> str:
    """Who made an answer that was not made for this call, and how old it is."""
    kind = f"{EXACT}; {STALE}" if trace.cache == STALE else trace.cache
    age = "" if trace.age is None else f"age: {trace.age}\r\n"
    return (
        f"{age}x-sluice-cache: {kind}\r\nx-sluice-model: {source.model}\r\nx-sluice-upstream: {source.upstream}\r\n"
        f"x-sluice-tokens-saved: {source.tokens}\r\n"
    )


def _patience(headers: dict[bytes, bytes], total: float) -> float:
    """Seconds the whole call may take: the rule's, or the client's own if that is shorter."""
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
