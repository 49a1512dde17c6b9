"""The load generator: a closed loop of chat calls over raw connections, in a process of its own.

It reads one JSON `Spec` on standard input and prints one JSON `Outcome`. Each connection has one call under way; after
an answer the next call follows at once. Answers are checked, not only counted: their framing, the status, and at least
`expected` bytes (plain) or exactly `expected` events (streams), as a fully read first answer had. All times are of one
clock, `time.monotonic_ns`, which the static upstream also writes into paced chunks.

Run by the benchmarks as `python -m benchmarks.load`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import cast

import httptools
import orjson
import uvloop

from benchmarks.bodies import STAMP, STREAM_S, Kind, Size, request_body
from benchmarks.statistics import percentile

_ANSWER_DEADLINE_S = 20.0
_EVENT = b"data: "


@dataclass(frozen=True, slots=True)
class Spec:
    """What to ask, how hard and for how long; `expected` is in bytes (plain) or events (streams).

    Calls are numbered from `number` on, so that no two bodies are equal; with `equal` all are call `number`.
    """

    port: int
    key: str
    kind: Kind
    size: Size
    connections: int
    warmup_s: float
    seconds: float
    expected: int
    number: int = 1
    equal: bool = False


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The middle and the tail of a sample, in microseconds; zeros when nothing was sampled."""

    p50: float
    p99: float
    count: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `answered` counts the window's right answers, `answered_in_all` also those around it.

    `answers` is the window's work: one only partly within counts by the share of its time that is. Where answers take
    long and come in step, whole numbers would be off by as many as there are connections.
    """

    answered: int
    answers: float
    answered_in_all: int
    seconds: float
    latency: Quantiles
    first: Quantiles
    delay: Quantiles
    errors: dict[str, int]
    cpu_s: float


@dataclass(slots=True)
class Tally:
    """What all connections have counted; times are `monotonic_ns`."""

    begins: int
    ends: int
    answered: int = 0
    answers: float = 0.0
    in_all: int = 0
    number: int = 0
    latency: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    delay: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


class Connection(asyncio.Protocol):
    """One connection with one call under way. httptools calls the `on_` methods."""

    def __init__(self, spec: Spec, tally: Tally, done: asyncio.Future[None]) -> None:
        self._spec = spec
        self._tally = tally
        self._done = done
        self._body = request_body(spec.kind, spec.size)
        self._head = _head(spec, len(self._body.numbered(0)))
        self._raw: list[bytes] = []
        self._length = 0
        self._streamed = spec.kind != "plain"
        self._paced = spec.kind == "paced"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first call."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop registers no base class
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def _send(self) -> None:
        self._tally.number += not self._spec.equal
        self._first = self._length = 0
        self._raw.clear()
        self._sent = time.monotonic_ns()
        self._transport.write(self._head + self._body.numbered(self._tally.number))

    def data_received(self, data: bytes) -> None:
        """Take the time of what came, then parse it."""
        now = time.monotonic_ns()
        self._length += len(data)
        if self._streamed:
            self._raw.append(data)
            self._stamp(data, now)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("not HTTP")

    def _stamp(self, data: bytes, now: int) -> None:
        if not self._first and b"data:" in data:
            self._first = now
        if self._paced and self._tally.begins <= now <= self._tally.ends:
            self._tally.delay += [now - int(stamp) for stamp in STAMP.findall(data)]

    def on_message_complete(self) -> None:
        """Check and count a whole answer, then send the next call or end."""
        now = time.monotonic_ns()
        tally = self._tally
        if wrong := self._wrong():
            tally.errors[wrong] += 1
        else:
            tally.in_all += 1
            tally.answers += max(0, min(now, tally.ends) - max(self._sent, tally.begins)) / (now - self._sent)
            if tally.begins <= now <= tally.ends:
                self._count(now)
        if now >= tally.ends:
            self._end()
        elif self._parser.should_keep_alive():
            self._send()
        else:
            self._transport.close()

    def _count(self, now: int) -> None:
        self._tally.answered += 1
        self._tally.latency.append(now - self._sent)
        if self._streamed:
            self._tally.first.append(self._first - self._sent)

    def _wrong(self) -> str:
        """Say what is wrong with the answer; nothing if it is right."""
        status = self._parser.get_status_code()
        if status != 200:
            return f"status {status}"
        expected = self._spec.expected
        if not self._streamed:
            return "" if self._length >= expected else f"{self._length} bytes instead of {expected}"
        # A callback for each chunk would cost more than all the rest of this program, so events are counted in the raw
        # bytes. Only a gateway that cuts events in the middle makes that count too small; then decode and count again.
        raw = b"".join(self._raw)
        got = raw.count(_EVENT)
        if got != expected:
            got = decoded(raw).count(_EVENT)
        return "" if got == expected else f"{got} events instead of {expected}"

    def connection_lost(self, _exc: Exception | None) -> None:
        """Count a connection cut in the middle; the driver opens another."""
        if not self._done.done():
            self._done.set_result(None)

    def _fail(self, why: str) -> None:
        self._tally.errors[why] += 1
        self._transport.abort()

    def _end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
        self._transport.close()


class _Body:
    """What httptools finds in one answer."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self.parts.append(body)


def decoded(answer: bytes) -> bytes:
    """Give the body of one whole HTTP answer, its transfer coding undone."""
    body = _Body()
    httptools.HttpResponseParser(body).feed_data(answer)
    return b"".join(body.parts)


def _head(spec: Spec, length: int) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{spec.port}\r\nuser-agent: bench\r\naccept: */*\r\n"
        f"authorization: Bearer {spec.key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


async def _keep_calling(spec: Spec, tally: Tally, delay_s: float) -> None:
    """Keep one connection busy until the window ends; one that was closed is opened anew."""
    await asyncio.sleep(delay_s)
    loop = asyncio.get_running_loop()
    while time.monotonic_ns() < tally.ends:
        done: asyncio.Future[None] = loop.create_future()
        try:
            await loop.create_connection(lambda done=done: Connection(spec, tally, done), "127.0.0.1", spec.port)  # type: ignore[misc]
        except OSError as error:
            tally.errors[f"connect: {type(error).__name__}"] += 1
            await asyncio.sleep(0.01)
            continue
        await done


async def drive(spec: Spec) -> Outcome:
    """Make calls for the whole window and wait for those under way at its end."""
    cpu = time.process_time()
    now = time.monotonic_ns()
    begins = now + int(spec.warmup_s * 1e9)
    tally = Tally(begins, begins + int(spec.seconds * 1e9), number=spec.number - (not spec.equal))
    # Paced streams are spread over a stream's length, or all would start, and all send, in the same moment.
    spread = min(STREAM_S, spec.warmup_s) / spec.connections if spec.kind == "paced" else 0.0
    calls = [asyncio.create_task(_keep_calling(spec, tally, i * spread)) for i in range(spec.connections)]
    _, late = await asyncio.wait(calls, timeout=spec.warmup_s + spec.seconds + _ANSWER_DEADLINE_S)
    for call in late:
        tally.errors["no answer in time"] += 1
        call.cancel()
    return _outcome(tally, spec.seconds, time.process_time() - cpu)


def _outcome(tally: Tally, seconds: float, cpu_s: float) -> Outcome:
    return Outcome(
        answered=tally.answered,
        answers=tally.answers,
        answered_in_all=tally.in_all,
        seconds=seconds,
        latency=_quantiles(tally.latency),
        first=_quantiles(tally.first),
        delay=_quantiles(tally.delay),
        errors=dict(tally.errors),
        cpu_s=cpu_s,
    )


def _quantiles(sample_ns: list[int]) -> Quantiles:
    if not sample_ns:
        return Quantiles(0.0, 0.0, 0)
    sample_ns.sort()
    return Quantiles(percentile(sample_ns, 50) / 1e3, percentile(sample_ns, 99) / 1e3, len(sample_ns))


def main() -> None:
    """Read a spec, drive it, print the outcome."""
    spec = Spec(**orjson.loads(sys.stdin.buffer.read()))
    gc.freeze()
    gc.disable()
    sys.stdout.buffer.write(orjson.dumps(asdict(uvloop.run(drive(spec)))))


if __name__ == "__main__":
    main()
