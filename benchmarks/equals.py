"""Equal calls, all at once: how many reach the upstream, and whether every caller gets the one answer.

The control switches cache and single flight off: then each call is one at the upstream, with an answer of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import uvloop

from benchmarks import echo
from benchmarks.bodies import CHUNKS, PACE_S
from benchmarks.echo import Broken, Pace
from benchmarks.sharing import Asking, Heard, Place, connect, request, usual_cores

Form = Literal["plain", "streamed", "half and half"]

PACE = Pace(CHUNKS, PACE_S)
FORMS: dict[Form, tuple[bool, ...]] = {"plain": (False,), "streamed": (True,), "half and half": (False, True)}
_ANSWERS_S = 120.0  # for the last of all answers
_DIALLED = 64  # connections opened at a time


@dataclass(frozen=True, slots=True)
class Setup:
    """What stands between the callers and the upstream."""

    name: str
    gateways: int
    options: tuple[str, ...] = ()
    on_redis: bool = True


SETUPS = {
    "one": Setup("one process", 1, on_redis=False),
    "three": Setup("three gateways on Redis", 3),
    "workers": Setup("two workers on Redis", 1, ("--workers", "2")),
}


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst of equal calls; `times` is when the last answer was whole, in times of one direct call."""

    setup: str
    form: Form
    together: bool  # False: the control
    calls: int
    upstream: int
    distinct: int
    times: float
    failed: dict[str, int]

    @property
    def faults(self) -> list[str]:
        """Say what is not as it should be; nothing if all is well."""
        found = [f"{count} x {why}" for why, count in self.failed.items()]
        if not self.together:
            answered = self.calls - sum(self.failed.values())
            return [] if self.upstream >= answered else [*found, f"the control made {self.upstream} upstream calls"]
        found += [f"{self.upstream} upstream calls"] * (self.upstream != 1)
        return [*found, *([f"{self.distinct} different answers"] if self.distinct != 1 else [])]


def bursts(setup: Setup, calls: int, repetitions: int, *, together: bool, pace: Pace = PACE) -> Iterator[Burst]:
    """Start what the setup asks for and give each form's bursts. Raises DidNotStart."""
    with Place(usual_cores(), pace) as place:
        options = (*setup.options, *(("--redis-url", place.redis().url) if setup.on_redis else ()))
        ports = place.gateways(setup.gateways, *options, together=together)
        for _ in range(repetitions):
            one = request(echo.call(secrets.token_hex(8), stream=True))
            direct, _ = uvloop.run(ask_at_once([place.upstream_port], [one]))
            for form in FORMS:
                asked, took, heard = _burst(place, ports, form, number := secrets.token_hex(8), calls)
                texts, failed = judge(number, heard)
                yield Burst(setup.name, form, together, calls, asked, len(texts), took / direct, dict(failed))


def _burst(place: Place, ports: Sequence[int], form: Form, number: str, calls: int) -> tuple[int, float, list[Heard]]:
    """How many calls reached the upstream, the seconds to the last answer, and all answers."""
    modes = FORMS[form]
    requests = [request(echo.call(number, stream=modes[i % len(modes)])) for i in range(calls)]
    before = place.upstream_calls()
    took, heard = uvloop.run(ask_at_once(ports, requests))
    return place.upstream_calls() - before, took, heard


def judge(number: str, heard: Sequence[Heard]) -> tuple[Counter[str], Counter[str]]:
    """Count the texts of the answers to calls of this number, and what was wrong with those that are no such answer."""
    texts: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    right = echo.digest(echo.question(number))
    for one in heard:
        try:
            text = one.text()
        except Broken as broken:
            failed[str(broken)] += 1
            continue
        if text.startswith(right):
            texts[text] += 1
        else:
            failed["the answer to another call"] += 1
    return texts, failed


async def ask_at_once(ports: Sequence[int], requests: Sequence[bytes]) -> tuple[float, list[Heard]]:
    """Open a connection for each request, the ports in turn, then send all; give the seconds to the last answer."""
    connections = await _connected([ports[i % len(ports)] for i in range(len(requests))])
    began = time.monotonic()
    try:
        pending = [each.ask(request) for each, request in zip(connections, requests, strict=True)]
        await asyncio.wait(pending, timeout=_ANSWERS_S)
    finally:
        for connection in connections:
            connection.close()
    for one, answered in zip(connections, pending, strict=True):
        if not answered.done():
            one.heard.ended, one.heard.trouble = time.monotonic(), "no answer in time"
    heard = [each.heard for each in connections]
    return max(one.ended for one in heard) - began, heard


async def _connected(ports: Sequence[int]) -> list[Asking]:
    dialling = asyncio.Semaphore(_DIALLED)

    async def dial(port: int) -> Asking:
        async with dialling:
            return await connect(port)

    return await asyncio.gather(*map(dial, ports))
