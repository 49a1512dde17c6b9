"""The soak's client: mixed calls, good and bad, over connections of its own, some of them left in the middle.

Each worker keeps one connection and makes one call after another. What is sent and where the client leaves is drawn at
random with a fixed seed, so that two runs make the same calls.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.bodies import Kind, RequestBody, request_body

Leaving = Literal["stays", "at once", "waiting", "amid"]

_ANSWER_S = 30.0
_LIMIT = 1 << 20
_WAITING_S = 0.02


@dataclass(frozen=True, slots=True)
class Act:
    """One sort of call: what it asks for, where its client leaves, and the statuses that are right."""

    kind: Kind
    leaving: Leaving
    weight: float
    right: frozenset[int] = frozenset({200})

    @property
    def name(self) -> str:
        """The sort's name in the report."""
        return self.kind if self.leaving == "stays" else f"{self.kind}, client leaves {self.leaving}"


# A gateway that knows a failing upstream may refuse (429, 503) or say what it thinks of the answer (502, 504).
_REFUSED = frozenset({429, 500, 502, 503, 504})
ACTS = (
    Act("plain", "stays", 0.54),
    Act("burst", "stays", 0.24),
    Act("error", "stays", 0.06, _REFUSED),
    Act("garbage", "stays", 0.04, _REFUSED),
    Act("cut", "stays", 0.01, _REFUSED | {200}),
    Act("plain", "at once", 0.03),
    Act("hang", "waiting", 0.04),
    Act("paced", "amid", 0.04),
)


@dataclass(slots=True)
class Score:
    """What was done: calls by sort, and by sort the answers that were not right."""

    calls: int = 0
    done: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)


class Client:
    """One worker with one connection."""

    def __init__(self, port: int, key: str, score: Score) -> None:
        self._port = port
        self._key = key
        self._score = score
        self._bodies: dict[Kind, RequestBody] = {act.kind: request_body(act.kind, "1.7k") for act in ACTS}
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, act: Act, number: int) -> None:
        """Make one call and judge its answer; a connection in doubt is given up."""
        self._score.calls += 1
        self._score.done[act.name] += 1
        try:
            status = await asyncio.wait_for(self._exchange(act, number), _ANSWER_S)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self._abandon()
            # A stream that the upstream cut may be cut for the client too; it must only never look whole.
            if act.kind != "cut":
                self._score.wrong[f"{act.name}: {type(error).__name__}"] += 1
        else:
            if status is not None and status not in act.right:
                self._score.wrong[f"{act.name}: status {status}"] += 1

    async def _exchange(self, act: Act, number: int) -> int | None:
        reader, writer = await self._connected()
        writer.write(self._request(self._bodies[act.kind].numbered(number)))
        if act.leaving in {"at once", "waiting"}:
            await asyncio.sleep(_WAITING_S if act.leaving == "waiting" else 0)
            self._abandon()
            return None
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if act.leaving == "amid" and status == 200:
            await reader.readuntil(b"data: ")
            self._abandon()
            return status
        await _read_body(reader, head.lower())
        if b"connection: close" in head.lower():
            self._abandon()
        return status

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=_LIMIT)
        return self._streams

    def _request(self, body: bytes) -> bytes:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _abandon(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    def close(self) -> None:
        """Give up the connection."""
        self._abandon()


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        _, _, rest = head.partition(b"content-length:")
        await reader.readexactly(int(rest.partition(b"\r\n")[0]))


async def drive(port: int, key: str, calls: int, workers: int, on_call: Callable[[], None]) -> Score:
    """Make all calls with this many workers; `on_call` is told after each."""
    score = Score()
    numbers = iter(range(calls))
    draw = random.Random(calls)
    weights = [act.weight for act in ACTS]

    async def work() -> None:
        client = Client(port, key, score)
        try:
            for number in numbers:
                await client.call(draw.choices(ACTS, weights)[0], number)
                on_call()
        finally:
            client.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    return score
