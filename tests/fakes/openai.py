"""A local server that speaks OpenAI's format over real HTTP, plain and streamed, and misbehaves on demand.

`always` says how every request is met, `acts` what the next ones meet instead, in order. It keeps what it was asked
(`requests`) and when a client went away before its answer was whole (`left`).
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, Self, cast

import httptools

WORDS = ("One", " two", " three", " four", " five", " six")
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 6,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
DONE = b"data: [DONE]\n\n"
PIECE_SECONDS = 0.002  # between the pieces of a dribbled answer


@dataclass(frozen=True)
class Act:
    """How to meet one request. `after` counts the events of a stream that are sent before the fault."""

    kind: str = "answer"
    after: int = 0
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    piece: int = 0  # bytes a write, with a pause after each; 0 writes whole events
    pace: float = 0.0  # seconds between the events of a stream
    gate: asyncio.Event | None = None  # what comes after the first `after` events of a stream waits for it
    crlf: bool = False
    comments: bool = False  # a keep-alive comment before every event
    model: str = ""  # the name the answer bears instead of the one asked for


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, parsed."""
        return cast(dict[str, Any], json.loads(self.body))


def answer(model: str, endpoint: str = "chat") -> dict[str, Any]:
    """A whole plain answer."""
    text = "".join(WORDS)
    if endpoint == "embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]
        return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if endpoint == "chat":
        choice["message"] = {"role": "assistant", "content": text, "reasoning_content": "Counting."}
    else:
        choice["text"] = text
    return {"id": "a1", "model": model, "choices": [choice], "usage": USAGE, "x_unknown": {"kept": [1, None]}}


def chunks(model: str, *, usage: bool, n: int = 1) -> list[dict[str, Any]]:
    """A whole streamed answer, an event an entry: role, reasoning, words with logprobs, a tool call, the end."""
    base = {"id": "s1", "object": "chat.completion.chunk", "model": model}

    def chunk(index: int, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {**base, "choices": [{"index": index, "delta": delta, "finish_reason": None, **more}]}

    parts = [chunk(0, {"role": "assistant", "content": ""})]
    for word in WORDS:
        logprobs = {"content": [{"token": word, "logprob": -0.1, "bytes": list(word.encode()), "top_logprobs": []}]}
        parts += [chunk(index, {"content": word}, logprobs=logprobs) for index in range(n)]
    parts.append(chunk(0, {"reasoning_content": "Counting."}))
    tool = {"index": 0, "id": "c1", "type": "function", "function": {"name": "sum", "arguments": '{"error": 1}'}}
    parts.append(chunk(0, {"tool_calls": [tool]}))
    parts += [chunk(index, {}, finish_reason="stop") for index in range(n)]
    if usage:
        parts.append({**base, "choices": [], "usage": USAGE})
    return parts


class FakeOpenAI:
    """The server, as a context manager: `async with FakeOpenAI() as fake`."""

    def __init__(self, *acts: Act, always: Act | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.always = always or Act()
        self.acts = deque(acts)
        self.requests: list[Asked] = []
        self.left: list[float] = []  # times of time.monotonic()
        self.connections = 0
        self.ended = 0  # answers sent to their end
        self._changed = asyncio.Event()
        self._tls = tls
        self._open: set[_Client] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for client in tuple(self._open):
            client.drop()

    @property
    def url(self) -> str:
        """The base URL, /v1 included."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._open)

    async def until(self, *, asked: int = 0, left: int = 0, open_at_most: int | None = None) -> None:
        """Wait until so many requests have come, clients have left, and no more connections than this are open."""
        async with asyncio.timeout(5):
            while (
                len(self.requests) < asked
                or len(self.left) < left
                or (open_at_most is not None and len(self._open) > open_at_most)
            ):
                self._changed.clear()
                await self._changed.wait()

    def changed(self) -> None:
        """Wake whoever waits."""
        self._changed.set()

    def opened(self, client: _Client) -> None:
        """Count a connection."""
        self.connections += 1
        self._open.add(client)

    def closed(self, client: _Client, *, in_the_middle: bool) -> None:
        """Take note of a client that went, in the middle of its answer or not."""
        self._open.discard(client)
        if in_the_middle:
            self.left.append(monotonic())
        self.changed()

    def take(self, asked: Asked) -> Act:
        """Write a request down and say how it is met."""
        self.requests.append(asked)
        self.changed()
        return self.acts.popleft() if self.acts else self.always


def unused_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Client(asyncio.Protocol):
    """One connection to the fake."""

    def __init__(self, fake: FakeOpenAI) -> None:
        self._fake = fake
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._by_us = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._fake.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        in_the_middle = self._task is not None and not self._task.done() and not self._by_us
        if self._task is not None:
            self._task.cancel()
        self._fake.closed(self, in_the_middle=in_the_middle)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        asked = Asked(self._url.decode(), dict(self._headers), b"".join(self._body))
        act = self._fake.take(asked)
        self._task = asyncio.get_running_loop().create_task(self._meet(act, asked))

    def drop(self) -> None:
        """Close at once."""
        self._by_us = True
        self._transport.abort()

    async def _meet(self, act: Act, asked: Asked) -> None:
        body = asked.json
        stream = body.get("stream") is True
        if act.kind == "blackhole":
            await asyncio.Event().wait()
        if act.gate is not None and not (stream and act.after):
            await act.gate.wait()
        if act.kind == "close":
            self.drop()
        elif act.kind == "raw":
            self._write(act.body)
            await asyncio.sleep(act.pace)
            self._close()
        elif act.kind == "status":
            self._document(act.status, act.body, act.headers)
        elif act.kind == "endless_headers":
            await self._endless_headers(act)
        elif act.kind in ("cut", "stall", "short") and not stream:
            await self._broken_document(act, _document(act, asked))
        elif stream:
            await self._stream(act, body)
        else:
            self._document(200, _document(act, asked), act.headers)
            await self._afterwards(act, asked)
        self._fake.ended += 1
        self._fake.changed()

    async def _afterwards(self, act: Act, asked: Asked) -> None:
        if act.kind == "twice":
            await asyncio.sleep(act.pace)
            self._document(200, json.dumps({**answer(asked.json["model"]), "id": "second"}).encode())
        elif act.kind == "close_idle":
            await asyncio.sleep(act.pace)
            self._close()

    async def _stream(self, act: Act, body: dict[str, Any]) -> None:
        self._head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked"), *act.headers))
        for number, event in enumerate(_events(act, body)):
            if act.gate is not None and number == act.after:
                await act.gate.wait()
            if number == act.after and act.kind in ("cut", "stall", "half_chunk"):
                await self._break_off(act)
                return
            await self._chunk(event, act)
            if act.pace:
                await asyncio.sleep(act.pace)
        if act.kind == "hang_after_done":
            await asyncio.Event().wait()
        self._write(b"0\r\n\r\n")
        if act.kind == "close_idle":
            self._close()

    async def _break_off(self, act: Act) -> None:
        if act.kind == "stall":
            await asyncio.Event().wait()
        if act.kind == "half_chunk":
            self._write(b'400\r\ndata: {"choices": [{"delta"')
        self._close()

    async def _broken_document(self, act: Act, body: bytes) -> None:
        length = len(body) + (100 if act.kind == "short" else 0)
        self._head(200, (("content-type", "application/json"), ("content-length", str(length))))
        self._write(body if act.kind == "short" else body[: len(body) // 2])
        if act.kind == "stall":
            await asyncio.Event().wait()
        self._close()

    async def _endless_headers(self, act: Act) -> None:
        self._write(b"HTTP/1.1 200 OK\r\n")
        while not self._transport.is_closing():
            self._write(b"x-more: " + b"y" * (act.piece or 4000) + b"\r\n")
            await asyncio.sleep(act.pace)

    async def _chunk(self, event: bytes, act: Act) -> None:
        framed = b"%x\r\n%b\r\n" % (len(event), event)
        if not act.piece:
            self._write(framed)
            return
        for at in range(0, len(framed), act.piece):
            self._write(framed[at : at + act.piece])
            await asyncio.sleep(PIECE_SECONDS)

    def _document(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        names = {name.lower() for name, _ in headers}
        kind = () if "content-type" in names else (("content-type", "application/json"),)
        self._head(status, (*kind, ("content-length", str(len(body))), *headers))
        self._write(body)

    def _head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers)]
        self._write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        self._by_us = True
        self._transport.close()


def _document(act: Act, asked: Asked) -> bytes:
    endpoint = "embeddings" if "embeddings" in asked.path else "chat" if "chat" in asked.path else "completions"
    return act.body or json.dumps(answer(act.model or asked.json["model"], endpoint)).encode()


def _events(act: Act, body: dict[str, Any]) -> Iterator[bytes]:
    """The events of a stream, with what the act puts among them."""
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    parts = [json.dumps(part).encode() for part in chunks(act.model or body["model"], usage=usage, n=body.get("n", 1))]
    if act.kind == "odd_event":
        parts.insert(act.after, act.body)
    elif act.kind == "error_event":
        parts[act.after :] = [act.body]
    elif act.kind == "finish_early":
        parts[act.after :] = []
    if act.kind not in ("no_done", "error_event", "finish_early"):
        parts.append(b"[DONE]")
    for part in parts:
        event = (b": keep-alive\n\n" if act.comments else b"") + b"data: " + part + b"\n\n"
        yield event.replace(b"\n", b"\r\n") if act.crlf else event


@dataclass
class Written:
    """A journal that only remembers."""

    traces: list[Any] = field(default_factory=list)
    said: str = "ok"
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, trace: Any) -> None:
        """Take one finished call."""
        self.traces.append(trace)
        self._changed.set()

    def health(self) -> str:
        """What the test says."""
        return self.said

    async def next(self) -> Any:
        """The next record not yet looked at, waited for."""
        async with asyncio.timeout(5):
            while not self.traces:
                self._changed.clear()
                await self._changed.wait()
        return self.traces.pop(0)
