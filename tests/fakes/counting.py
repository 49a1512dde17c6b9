"""A local server that speaks OpenAI's format and counts: who asked what how often, and who left before the end.

Every answer names its question's digest and bears a number that no other has, so a test can tell for which call its
bytes were made. `gate` holds answers back before their first byte, `pace` and `words` make streams long.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
PATIENCE = 10.0  # seconds a test waits here for something to happen


def digest(question: str) -> str:
    """What answers to this question begin with."""
    return hashlib.sha256(question.encode()).hexdigest()[:16]


def question_of(body: dict[str, Any]) -> str:
    """The last message of a chat request."""
    return str(body["messages"][-1]["content"])


class Counting:
    """The server, as a context manager: `async with Counting() as upstream`."""

    def __init__(self, port: int = 0, *, wait: float = 0.0, words: int = 4, pace: float = 0.0) -> None:
        """`wait` is in seconds before the first byte, `pace` between two words of a stream."""
        self.port = port
        self.wait = wait
        self.words = words
        self.pace = pace
        self.gate = asyncio.Event()  # answers begin while it is set
        self.gate.set()
        self.asked: Counter[str] = Counter()  # by question
        self.left: list[str] = []  # questions whose asker left before the end
        self.headers: list[str] = []  # heads of the requests
        self._numbers = 0
        self._changed = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()

    @property
    def url(self) -> str:
        """The base URL, /v1 included."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds of what was asked or who left."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def until_asked(self, question: str, times: int = 1) -> None:
        """Wait until this was asked so often."""
        await self.until(lambda: self.asked[question] >= times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
                await self._meet(json.loads(await reader.readexactly(length)), head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            self._open.discard(writer)
            writer.close()

    async def _meet(
        self, body: dict[str, Any], head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        question = question_of(body)
        self.asked[question] += 1
        self.headers.append(head)
        self._changed.set()
        answering = asyncio.ensure_future(self._answer(body, writer))
        leaving = asyncio.ensure_future(reader.read(1))  # a client says nothing before its answer has come
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            leaving.cancel()
            await asyncio.wait({leaving})
            return
        answering.cancel()
        self.left.append(question)
        self._changed.set()
        raise ConnectionError

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self._numbers += 1
        words = [digest(question_of(body)), f" n{self._numbers}", *(f" w{number}" for number in range(self.words))]
        await self.gate.wait()
        if self.wait:
            await asyncio.sleep(self.wait)
        if body.get("stream") is not True:
            answer = json.dumps(_document(body, "".join(words))).encode()
            writer.write(_head("application/json", f"content-length: {len(answer)}") + answer)
            return
        writer.write(_head("text/event-stream", "transfer-encoding: chunked"))
        for event in _events(body, words):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            if self.pace:
                await asyncio.sleep(self.pace)
        writer.write(b"0\r\n\r\n")


def _head(kind: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n".encode()


def _document(body: dict[str, Any], text: str) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {"id": "a", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": USAGE}


def _events(body: dict[str, Any], words: list[str]) -> Iterator[bytes]:
    base = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**base, "choices": [choice]}).encode() + b"\n\n"

    yield event({"role": "assistant", "content": ""})
    for word in words:
        yield event({"content": word})
    yield event({}, "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield b"data: " + json.dumps({**base, "choices": [], "usage": USAGE}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"
