"""The load generator with an open loop: calls come at set times, whatever has become of those before.

It reads one JSON `Arrivals` on standard input and prints one JSON `Waits`. A closed loop asks less while answers are
slow, and so hides the tail; here a call is timed from the moment at which it was due, so that waiting for a connection,
or for a stalled gateway, counts. Gaps between calls are exponential, as between strangers; equal seeds give equal gaps.

Run by `benchmarks.readers` as `python -m benchmarks.arrivals`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import selectors
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import cast

import httptools
import orjson

from benchmarks.bodies import request_body
from benchmarks.statistics import percentile

CONNECTIONS = 256  # at most; a call that finds them all busy waits
_ANSWER_DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How many plain calls of 1.7 KB a second, for how long; `expected` is the least bytes of an answer."""

    port: int
    key: str
    rate: float
    warmup_s: float
    seconds: float
    expected: int
    number: int = 1  # of the first call; no two bodies are equal
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Waits:
    """Microseconds from when calls were due until they were answered; `late_p99_us`, until they were sent."""

    answered: int
    p50_us: float
    p95_us: float
    p99_us: float
    late_p99_us: float
    errors: dict[str, int]


@dataclass(slots=True)
class _Crowd:
    """All calls of a run. Times are of the loop's clock, in seconds."""

    given: Arrivals
    begins: float
    idle: list[_Connection] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    opened: int = 0
    under_way: int = 0
    waits: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def counts(self, due: float) -> bool:
        return due >= self.begins


class _Connection(asyncio.Protocol):
    """One connection with at most one call under way."""

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd
        self._body = request_body("plain", "1.7k")
        self._head = _head(crowd.given, len(self._body.numbered(0)))
        self._due = self._length = 0.0
        self._is_asking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, due: float, number: int) -> None:
        """Send call `number`, which was due then."""
        self._due, self._length, self._is_asking = due, 0, True
        if self._crowd.counts(due):
            self._crowd.late.append(time.monotonic() - due)
        self._transport.write(self._head + self._body.numbered(number))

    def data_received(self, data: bytes) -> None:
        self._length += len(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Count an answer; httptools calls this."""
        crowd, status = self._crowd, self._parser.get_status_code()
        if status != 200 or self._length < crowd.given.expected:
            crowd.errors[f"status {status}, {self._length:.0f} bytes"] += 1
        elif crowd.counts(self._due):
            crowd.waits.append(time.monotonic() - self._due)
        crowd.under_way -= 1
        self._is_asking = False
        if not self._parser.should_keep_alive():
            self._transport.close()
        elif crowd.waiting:
            self.ask(*crowd.waiting.pop(0))
        else:
            crowd.idle.append(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Make room for another, and count a call that was cut."""
        crowd = self._crowd
        crowd.opened -= 1
        if self in crowd.idle:
            crowd.idle.remove(self)
        if self._is_asking:
            crowd.under_way -= 1
            crowd.errors["cut"] += 1


def _head(given: Arrivals, length: int) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{given.port}\r\nuser-agent: bench\r\naccept: */*\r\n"
        f"authorization: Bearer {given.key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def due_times(given: Arrivals, start: float) -> Iterator[float]:
    """When each call is due: exponential gaps from `start` on, until warm-up and window have passed."""
    rng = random.Random(given.seed)
    due, end = start, start + given.warmup_s + given.seconds
    while (due := due + rng.expovariate(given.rate)) < end:
        yield due


async def drive(given: Arrivals) -> Waits:
    """Make all calls at their times and wait for the last answers."""
    start = time.monotonic() + 0.05
    crowd = _Crowd(given, start + given.warmup_s)
    for number, due in enumerate(due_times(given, start), given.number):
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
        await _dispatch(crowd, due, number)
    until = time.monotonic() + _ANSWER_DEADLINE_S
    while crowd.under_way and time.monotonic() < until:  # noqa: ASYNC110 - the end of a measurement, not within it
        await asyncio.sleep(0.01)
    if crowd.under_way:
        crowd.errors["no answer in time"] += crowd.under_way
    return _waits(crowd)


async def _dispatch(crowd: _Crowd, due: float, number: int) -> None:
    """Send a call over a connection that is idle, or new; else it waits for the next that is free."""
    crowd.under_way += 1
    if crowd.idle:
        crowd.idle.pop().ask(due, number)
    elif crowd.opened >= CONNECTIONS:
        crowd.waiting.append((due, number))
    else:
        crowd.opened += 1
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(crowd), "127.0.0.1", crowd.given.port)
        connection.ask(due, number)


def _waits(crowd: _Crowd) -> Waits:
    waits, late = sorted(crowd.waits) or [0.0], sorted(crowd.late) or [0.0]
    p50, p95, p99 = (percentile(waits, q) * 1e6 for q in (50, 95, 99))
    return Waits(len(crowd.waits), p50, p95, p99, percentile(late, 99) * 1e6, dict(crowd.errors))


def _loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are exact to microseconds; those of epoll and libuv are to milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main() -> None:
    """Read what to ask, ask it, print what came of it."""
    given = Arrivals(**orjson.loads(sys.stdin.buffer.read()))
    gc.freeze()
    gc.disable()
    with asyncio.Runner(loop_factory=_loop) as runner:
        sys.stdout.buffer.write(orjson.dumps(asdict(runner.run(drive(given)))))


if __name__ == "__main__":
    main()
