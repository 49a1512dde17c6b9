"""A local server that speaks Anthropic's Messages format over real HTTP, plain and streamed, and misbehaves on demand.

`FakeAnthropic.says` is what it answers; `fault` is how it fails. It keeps what it was asked (`requests`) and sees when
a client leaves in the middle of an answer (`left`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """How to fail. Streamed answers count their events; `after` events are sent before the fault."""

    kind: str  # "status", "raw", "cut", "end", "stall", "error_event" or "garbage_event"
    after: int = 0
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


USAGE = {"input_tokens": 25, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 0, "output_tokens": 15}
TEXT = {"type": "text", "text": "Hello there, friend."}
TOOL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris", "days": [1, 2]}}
THINKING = {"type": "thinking", "thinking": "They greet me.", "signature": "c2lnbmVk"}


def error(kind: str, message: str) -> bytes:
    """The body of an error."""
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def message(blocks: list[dict[str, Any]], model: str) -> dict[str, Any]:
    """A whole plain answer."""
    stop = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
    }


def events(blocks: list[dict[str, Any]], model: str) -> Iterator[dict[str, Any]]:
    """The same answer as the events of a stream."""
    whole = message(blocks, model)
    start = {**whole, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(blocks):
        yield from _block_events(index, block)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": USAGE["output_tokens"]}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    empty, deltas = _parts(block)
    yield {"type": "content_block_start", "index": index, "content_block": empty}
    yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _parts(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "tool_use":
        pieces = ["", *_halves(json.dumps(block["input"]))]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    name = block["type"]
    deltas: list[dict[str, Any]] = [{"type": f"{name}_delta", name: piece} for piece in _halves(block[name])]
    if name == "thinking":
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, deltas
    return {**block, name: ""}, deltas


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [text[:middle], text[middle:]]


class FakeAnthropic:
    """The server. Use as an async context manager."""

    def __init__(self, *says: dict[str, Any], fault: Fault | None = None) -> None:
        self.says = list(says or (TEXT,))
        self.fault = fault
        self.requests: list[Asked] = []
        self.connections = 0
        self.left = asyncio.Event()  # a client left while its answer was not whole
        self.stalled = asyncio.Event()  # the server has sent what it will send and waits
        self._writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers.values():
            writer.transport.abort()
        await asyncio.gather(*self._writers)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            del self._writers[task]
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; say whether the connection may go on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
        self.requests.append(Asked(head[0].split()[1], headers, body))
        fault = self.fault
        if fault is not None and fault.kind == "raw":
            writer.write(fault.body)
            return False
        if fault is not None and fault.kind == "status":
            _write(writer, fault.status, fault.headers, fault.body)
            return True
        if body.get("stream"):
            return await self._stream(body["model"], reader, writer)
        return await self._plain(body["model"], reader, writer)

    async def _plain(self, model: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        body = json.dumps(message(self.says, model)).encode()
        if self.fault is None:
            _write(writer, 200, {"content-type": "application/json"}, body)
            return True
        if self.fault.kind == "stall":
            await self._stall(reader)
        elif self.fault.after:  # half a document
            _write(writer, 200, {"content-type": "application/json", "content-length": str(len(body))}, body[:40])
        return False

    async def _stream(self, model: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        fault = self.fault
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for index, event in enumerate(events(self.says, model)):
            if fault is not None and fault.after == index:
                return await self._fail(fault, reader, writer)
            _write_event(writer, event["type"], json.dumps(event).encode())
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        return True

    async def _fail(self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await writer.drain()
        if fault.kind == "stall":
            await self._stall(reader)
            return False
        if fault.kind == "error_event":
            _write_event(writer, "error", fault.body or error("overloaded_error", "Overloaded"))
            return True
        if fault.kind == "garbage_event":
            _write_event(writer, "content_block_delta", b'{"type": nonsense')
        if fault.kind != "cut":
            writer.write(b"0\r\n\r\n")  # the body ends as if all had been said
        return False

    async def _stall(self, reader: asyncio.StreamReader) -> None:
        self.stalled.set()
        with contextlib.suppress(ConnectionError):
            assert not await reader.read(1)
        self.left.set()


def _write(writer: asyncio.StreamWriter, status: int, headers: dict[str, str], body: bytes) -> None:
    lines = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body)


def _write_event(writer: asyncio.StreamWriter, name: str, data: bytes) -> None:
    event = b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
