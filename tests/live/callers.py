"""Callers of real gateways: chat calls over raw connections, read piece by piece, left when a test says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

import httptools

PATIENCE = 40.0  # seconds; a call that takes longer hangs


def unheard() -> str:
    """A question that nobody has asked before."""
    return f"What is {uuid4().hex}?"


def chat(question: str, **fields: Any) -> dict[str, Any]:
    """A call that may share its answer with equal ones."""
    return {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": question}], **fields}


@dataclass
class Answer:
    """One answer as it came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[float, bytes]] = field(default_factory=list)  # of the body, each with when it came
    began: float = field(default_factory=monotonic)
    ended: float = 0.0

    @property
    def body(self) -> bytes:
        """All of the body that came."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def events(self) -> list[str]:
        """The data of a stream's events."""
        told = self.body.decode().split("\n\n")
        return [event.removeprefix("data: ") for event in told if event.startswith("data: ")]

    @property
    def is_done(self) -> bool:
        """Say whether a stream came to its end."""
        return self.events[-1:] == ["[DONE]"]

    @property
    def errors(self) -> list[str]:
        """The events of a stream that tell of an error."""
        return [event for event in self.events if event.startswith('{"error"')]

    @property
    def text(self) -> str:
        """What was said, plain or streamed."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        chunks = [json.loads(event) for event in self.events if event != "[DONE]"]
        return "".join(
            choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices") or ()
        )

    @property
    def source(self) -> str:
        """Where it came from: "MISS", "BYPASS", or what a hit was."""
        return self.headers.get("x-sluice-cache", self.headers["x-cache"])

    @property
    def seconds(self) -> float:
        """How long the whole call took."""
        return self.ended - self.began


class Ask:
    """One call under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answer = Answer()
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._is_over = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answer.pieces.append((monotonic(), body))

    def on_message_complete(self) -> None:
        self._is_over = True
        self.answer.ended = monotonic()

    async def more(self) -> bool:
        """Read on; False at the end. Raises ConnectionError if the gateway hangs up before."""
        if self._is_over:
            return False
        async with asyncio.timeout(PATIENCE):
            data = await self._reader.read(65536)
        if not data:
            raise ConnectionError("the gateway hung up in the middle of an answer")
        self._parser.feed_data(data)
        return True

    async def until_said(self, words: bytes) -> None:
        """Read until this was said."""
        while words not in self.answer.body:
            assert await self.more(), f"it ended without {words!r}: {self.answer.body!r}"

    async def whole(self) -> Answer:
        """Read to the end."""
        while await self.more():
            pass
        return self.answer

    def leave(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


@asynccontextmanager
async def asking(port: int, body: Mapping[str, Any], **headers: str) -> AsyncIterator[Ask]:
    """Begin a call; whoever leaves the block hangs up."""
    raw = json.dumps(body).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: localhost", "content-type: application/json"]
    lines += [f"content-length: {len(raw)}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        ask = Ask(reader, writer)
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        yield ask
    finally:
        writer.transport.abort()


async def call(port: int, body: Mapping[str, Any], **headers: str) -> Answer:
    """Call and read the whole answer."""
    async with asking(port, body, **headers) as ask:
        return await ask.whole()
