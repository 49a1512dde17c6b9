"""An upstream that speaks OpenAI's format, by URL: ask, judge the answer, pass its bytes on.

Before the first byte of an answer every fault is an `UpstreamFailed`, and another upstream may be asked. After it, a
fault ends the stream with one error event and no `[DONE]`, and nothing is said twice.

Streams pass as bytes. Only the first event is parsed, and later those that bear a usage or an error.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any, Protocol

from gateway import sse, wire
from gateway.call import Call, Reply
from gateway.errors import DeadlinePassed, Rejected, UpstreamFailed, envelope
from gateway.trace import Attempt
from gateway.upstreams.connection import Patience, Response, TransportFault
from gateway.upstreams.estimates import estimate, of_answer, of_part
from gateway.upstreams.http import Origin
from gateway.upstreams.watch import DONE_LINE, StreamWatch
from gateway.usage import usage_of

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_HELD_BYTES = 1024 * 1024  # of comments before the first event
THE_CLIENTS_OWN = (400, 404, 413, 422)
OUR_CREDENTIALS = (401, 402, 403)  # statuses that speak of the key we showed, or of the money behind it
UNTOLD = ("deadline", "stall", "cut", "timeout")  # ends after which nobody tells what a server has done
LINGER_SECONDS = 1.0  # that a server may take to end its answer after `[DONE]`
LONGEST_REST = 86_400.0  # seconds
PATHS = {"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}


class Requests(Protocol):
    """Whatever can send one request to the server: a pool, or an engine whose port may move."""

    async def request(self, head: bytes, body: bytes, patience: Patience) -> Response:
        """Send and wait for status and headers."""

    def close(self) -> None:
        """Close every connection."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How to speak to one server: where, with what headers, and how long to wait (seconds)."""

    origin: Origin
    headers: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()  # removed from whatever the server says
    connect: float = 2.0
    first_byte: float = 60.0  # of a stream
    answer: float = 300.0  # of a plain answer, which comes whole
    idle: float = 60.0
    stream_usage: bool = True
    accept_models: tuple[str, ...] = ()
    blames_requests: tuple[int, ...] = ()  # 5xx by which this server speaks of the request, not of itself


class OpenAIUpstream:
    """A handler that ends a call at one server."""

    def __init__(self, name: str, settings: Wire, requests: Requests) -> None:
        self._name = name
        self._settings = settings
        self._requests = requests
        self._heads = {endpoint: _head(settings, path) for endpoint, path in PATHS.items()}

    async def __call__(self, call: Call) -> Reply:
        """Ask for `call.targets[0]` and answer with what the server says, or raise UpstreamFailed."""
        target = call.targets[0]
        body = self._body(call, target.model)
        attempt = Attempt(self._name, target.model, monotonic())
        call.trace.attempts.append(attempt)
        patience = self._patience(call)
        came = 0
        try:
            response = await self._ask(call, body, patience)
            attempt.status = response.status
            try:
                return await self._judge(call, attempt, response)
            except BaseException:
                came = response.came
                response.abort()
                raise
        except TransportFault as fault:
            if fault.kind in UNTOLD:
                _count(call, attempt, patience, came)
            if fault.kind == "deadline":
                attempt.fault = "deadline"
                raise DeadlinePassed("The call's deadline passed before an upstream answered.") from fault
            raise self._failed(attempt, fault.kind, str(fault)) from fault
        except asyncio.CancelledError:
            _count(call, attempt, patience, came)
            raise
        finally:
            if attempt.first_byte is None:
                attempt.ended = monotonic()

    def close(self) -> None:
        """Close the connections to the server."""
        self._requests.close()

    def _patience(self, call: Call) -> Patience:
        settings = self._settings
        wait = settings.first_byte if call.wants_stream else settings.answer
        return Patience(settings.connect, wait, settings.idle, call.deadline)

    async def _ask(self, call: Call, body: bytes, patience: Patience) -> Response:
        trace = call.trace
        head = self._heads[call.endpoint] + b"x-request-id: %b\r\ncontent-length: %d\r\n" % (
            trace.id.encode(),
            len(body),
        )
        if trace.span is not None:
            head += b"traceparent: %b\r\n" % trace.span.header(len(trace.attempts))
        return await self._requests.request(head + b"\r\n", body, patience)

    def _body(self, call: Call, model: str) -> bytes:
        body: bytes = call.body
        if call.json["model"] != model:
            body = wire.with_model(call.json, model)
        elif wire.has_twin_keys(body, call.json):
            body = wire.dumps(call.json)
        if call.wants_stream and self._settings.stream_usage and call.endpoint != "embeddings":
            body = wire.with_usage_chunk(body, {**call.json, "model": model})
        return body

    async def _judge(self, call: Call, attempt: Attempt, response: Response) -> Reply:
        status = response.status
        if 300 <= status < 400:
            raise self._failed(attempt, "redirect", f"answered {status}, a redirect")
        if status >= 500 or status in (*OUR_CREDENTIALS, 408, 429):
            raise await self._refused(attempt, response)
        if status >= 400:
            return await self._client_error(attempt, response)
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            if not call.wants_stream:
                raise self._failed(attempt, "garbage", "answered a plain request with a stream")
            return await self._stream(call, attempt, response)
        return await self._plain(call, attempt, response)

    # Answers that are errors

    async def _refused(self, attempt: Attempt, response: Response) -> UpstreamFailed:
        status = response.status
        answer = wire.parse_answer(await response.read(MAX_ERROR_BYTES)) or {}
        if status in OUR_CREDENTIALS:  # the client's key is not at fault, and the server may quote ours
            return self._failed(attempt, "auth", f"refused our credentials ({status})")
        said = str((wire.error_of(answer) or {}).get("message", ""))[:500]
        if status in self._settings.blames_requests:
            raise Rejected(f"Upstream '{self._name}': {self._clean(said)}", status=400)
        message = f"answered {status}" + (f": {self._clean(said)}" if said else "")
        rest = _retry_after(response.headers)
        told = {408: 504}.get(status, status if status < 600 else 502)
        return self._failed(attempt, f"http_{status}", message, status=told, rest=rest)

    async def _client_error(self, attempt: Attempt, response: Response) -> Reply:
        """The client's own mistake, in OpenAI's envelope; words that are no JSON are not quoted."""
        body = await response.read(MAX_ERROR_BYTES)
        attempt.first_byte = attempt.ended = monotonic()
        answer = wire.parse_answer(body) or {}
        error = wire.error_of(answer) or {"message": answer.get("message") or answer.get("detail")}
        said = error.get("message")
        code = error.get("code")
        whole = {
            "param": None,
            "type": "invalid_request_error",
            **error,
            "message": said if isinstance(said, str) else f"Upstream '{self._name}' answered {response.status}.",
            "code": code if isinstance(code, str | None) else None,
        }
        text = self._clean(json.dumps({"error": whole}))
        return Reply(response.status, {"content-type": "application/json"}, text.encode())

    def _clean(self, text: str) -> str:
        """Text that may be shown: without our secrets, and without the half characters that no JSON can carry."""
        for secret in self._settings.secrets:
            text = text.replace(secret, "[removed]")
        return text.encode("utf-8", "replace").decode()

    def _failed(
        self, attempt: Attempt, fault: str, message: str, *, status: int = 502, rest: float | None = None
    ) -> UpstreamFailed:
        attempt.fault = fault
        if fault in ("timeout", "stall"):
            status = 504
        elif fault == "busy":
            status = 503
        return UpstreamFailed(f"Upstream '{self._name}' {message}.", fault=fault, status=status, retry_after=rest)

    # Answers

    async def _plain(self, call: Call, attempt: Attempt, response: Response) -> Reply:
        body = await response.read(MAX_ANSWER_BYTES)
        answer = wire.parse_answer(body)
        if answer is None:
            kind = response.headers.get("content-type", "no content type")[:60]
            raise self._failed(attempt, "garbage", f"answered what is not JSON ({kind})")
        attempt.usage = usage_of(answer)  # before it is judged: what is refused was paid for
        self._check(call, attempt, answer)
        attempt.usage = of_answer(call, attempt.usage, answer)
        if call.wants_stream:
            raise self._failed(attempt, "garbage", "answered a stream request with a plain document")
        attempt.first_byte = attempt.ended = monotonic()
        return Reply(200, {"content-type": "application/json"}, body)

    def _check(self, call: Call, attempt: Attempt, answer: dict[str, Any]) -> None:
        """Refuse an error in disguise, what is no answer at all, and another model's answer."""
        error = wire.error_of(answer)
        if error is not None:
            message = self._clean(str(error.get("message", ""))[:500])
            if error.get("code") in THE_CLIENTS_OWN:
                raise Rejected(f"Upstream '{self._name}': {message}", status=int(error["code"]))
            raise self._failed(attempt, "error_in_200", f"answered 200 with an error inside: {message}")
        expected = "data" if call.endpoint == "embeddings" else "choices"
        if not isinstance(answer.get(expected), list):
            raise self._failed(attempt, "garbage", f"answered JSON without {expected}")
        if not wire.is_model(answer.get("model"), attempt.model, self._settings.accept_models):
            attempt.usage = of_answer(call, attempt.usage, answer)
            told = str(answer.get("model"))[:100]
            raise self._failed(
                attempt, "wrong_model", f"answered as '{told}', not as '{attempt.model}' (see accept_models)"
            )

    async def _stream(self, call: Call, attempt: Attempt, response: Response) -> Reply:
        splitter = sse.EventSplitter()
        block = await self._first_events(call, attempt, response, splitter)
        attempt.first_byte = monotonic()
        withhold = self._settings.stream_usage and not (call.keeps_usage or call.wants_usage)
        watch = StreamWatch(attempt, withhold=withhold)

        async def release() -> None:
            response.abort()
            watch.settle(call)

        frames = self._frames(call, response, splitter, watch, block)
        return Reply(200, {"content-type": "text/event-stream; charset=utf-8"}, frames, release)

    async def _first_events(
        self, call: Call, attempt: Attempt, response: Response, splitter: sse.EventSplitter
    ) -> bytes:
        """Read up to the first event that carries data, and check it while another upstream may still be asked."""
        held = b""
        while True:
            data = await response.next()
            if not data:
                attempt.usage = estimate(call, 0)
                raise self._failed(attempt, "cut", "ended its stream before the first event")
            try:
                block = splitter.feed(data)
                first = _first_data(block)
            except (ValueError, sse.EventTooLong) as error:
                raise self._failed(attempt, "garbage", "sent an event that is not JSON") from error
            held += block
            if first is not None:
                attempt.usage = usage_of(first)
                self._check(call, attempt, first)
                return held
            if DONE_LINE.search(block):
                raise self._failed(attempt, "garbage", "ended its stream without an answer")
            if len(held) > MAX_HELD_BYTES:
                raise self._failed(attempt, "garbage", f"sent {len(held)} bytes of comments and no event")

    async def _frames(
        self,
        call: Call,
        response: Response,
        splitter: sse.EventSplitter,
        watch: StreamWatch,
        block: bytes,
    ) -> AsyncIterator[bytes]:
        """The stream as blocks of whole events, to its end or to one honest error event."""
        try:
            while True:
                if frame := watch.see(block):
                    yield frame
                if watch.error is not None:
                    yield self._broken(watch, watch.error[0], self._clean(watch.error[1]))
                    return
                data = await _next_or_end(response, watch)
                if not data:
                    break
                block = splitter.feed(data)
            if ending := self._ending(watch, splitter.rest):
                yield ending
        except TransportFault as fault:
            if not watch.is_done:  # else all was said, and only the connection ended badly
                yield self._broken(watch, fault.kind, str(fault))
        except sse.EventTooLong:
            yield self._broken(watch, "garbage", "an event without end")
        finally:
            response.abort()
            watch.settle(call)

    def _ending(self, watch: StreamWatch, rest: bytes) -> bytes:
        """What the client still gets when the server has said all it says."""
        if watch.is_done:
            return b""
        if watch.is_finished or DONE_LINE.search(rest):
            return sse.DONE
        return self._broken(watch, "cut", "the stream ended before the answer did")

    def _broken(self, watch: StreamWatch, fault: str, message: str) -> bytes:
        watch.attempt.fault = fault
        text = f"Upstream '{self._name}' failed in the middle of its answer: {message}."
        return sse.event(envelope(text, type="upstream_error", param=None, code=f"upstream_{fault}"))


def _head(settings: Wire, path: str) -> bytes:
    """The request line and the headers that never change; what a client sends is never part of them."""
    lines = [
        f"POST {settings.origin.path}{path} HTTP/1.1",
        f"host: {settings.origin.authority}",
        "content-type: application/json",
        "accept: application/json, text/event-stream",
        "accept-encoding: identity",
        "user-agent: sluice",
        *(f"{name}: {value}" for name, value in settings.headers),
    ]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


def _count(call: Call, attempt: Attempt, patience: Patience, came: int) -> None:
    """Estimate what a server did that was cut off: the prompt it got, and the bytes that came. Unasked, it did none."""
    if patience.is_sent and attempt.usage is None and (attempt.status or 200) < 300:
        attempt.usage = of_part(call, came)


async def _next_or_end(response: Response, watch: StreamWatch) -> bytes:
    """The next bytes. After `[DONE]` the client is not kept waiting for a server that does not end its answer."""
    if not watch.is_done or response.is_whole:
        return await response.next()
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            return await response.next()
    except TimeoutError:
        return b""


def _first_data(block: bytes) -> dict[str, Any] | None:
    for event in sse.events(block):
        chunk = sse.json_of(event)
        if chunk is not None:
            return chunk
    return None


def _retry_after(headers: dict[str, str], now: Callable[[], float] = time) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` in seconds or as a date (RFC 9110, 10.2.3)."""
    try:
        if "retry-after-ms" in headers:
            return _bounded(float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.strip().replace(".", "", 1).isdigit():
            return _bounded(float(value))
        return _bounded(parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float | None:
    """A wait that makes sense: what a hostile server says may be negative, infinite or no number."""
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_REST)
