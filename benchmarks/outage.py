"""Redis falls silent and dies under a steady load of calls over two gateways: what a call then waits, and what it gets.

The load is open-loop: calls begin when they are due, whatever became of those before, and a call's latency counts from
then. All calls differ, so that each looks into Redis, but for every fourth: it repeats one made a moment before, at the
same gateway (which has the answer in memory) or the other one (which has to look).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import uvloop

from benchmarks import echo, processes
from benchmarks.echo import Broken, Pace
from benchmarks.sharing import Asking, Heard, Place, Redis, connect, request, usual_cores
from benchmarks.statistics import Estimate, percentile

Action = Literal["", "pause", "resume", "kill", "start"]
Repeat = Literal["", "same", "other"]

HEALTHY = "healthy"
SETTLING = "settling"  # not shown: the first calls, on cold processes
FIRST_SILENT, SILENT = "black-holed: first second", "black-holed: afterwards"
FIRST_DEAD, DEAD = "killed: first second", "killed: afterwards"
RATE = 100  # calls a second
_GATEWAYS = 2
_PACE = Pace(8, 0.0)
_SETTLE_S = 3.0
_REPEATS = 4  # every so many-th call is a repeat
_REPEAT_S = 0.6  # how long after its first a call is repeated: by then it is written to Redis
_UNDER_WAY_S = 0.02  # a call that begins so shortly before a phase is still under way in it
_ANSWER_S = 30.0
_BLOCK = 10  # calls: a tenth of a second, whose calls a stall hits together
_RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run, how long it lasts, and what befalls Redis at its beginning."""

    name: str
    seconds: float
    action: Action = ""


def phases(seconds: float) -> tuple[Phase, ...]:
    """One cycle; `seconds` is how long its long phases last."""
    return (
        Phase(SETTLING, min(_SETTLE_S, seconds)),
        Phase(HEALTHY, seconds),
        Phase(FIRST_SILENT, 1.0, "pause"),
        Phase(SILENT, seconds),
        Phase("resumed", seconds, "resume"),
        Phase(FIRST_DEAD, 1.0, "kill"),
        Phase(DEAD, seconds),
        Phase("restarted", seconds, "start"),
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """A call to make: when, in seconds from the beginning, which question, at which gateway."""

    at: float
    question: int
    gateway: int
    stream: bool
    repeat: Repeat


@dataclass(frozen=True, slots=True)
class Called:
    """A call that was made; `trouble` says why there is no answer, `wrong` that it was another call's."""

    cycle: int
    phase: str
    at: float
    seconds: float
    repeat: Repeat
    hit: bool
    trouble: str
    wrong: bool


def plan(seconds: float, rate: int, draw: random.Random) -> list[Planned]:
    """The calls of one cycle, in order."""
    lag = max(1, round(_REPEAT_S * rate) // _REPEATS) * _REPEATS + 1  # its first is no repeat itself
    planned: list[Planned] = []
    for i in range(round(seconds * rate)):
        gateway, stream, repeat, question = draw.randrange(_GATEWAYS), draw.random() < 0.5, "", i
        if i % _REPEATS == _REPEATS - 1 and i >= lag:
            question = i - lag
            repeat = "same" if gateway == planned[question].gateway else "other"
        planned.append(Planned(i / rate, question, gateway, stream, repeat))  # type: ignore[arg-type]
    return planned


def phase_at(cycle: Sequence[Phase], at: float) -> str:
    """The name of the phase that a call at this time meets."""
    ends = 0.0
    for phase in cycle:
        ends += phase.seconds
        if at < ends - _UNDER_WAY_S:
            return phase.name
    return cycle[-1].name


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle's calls in order, and by phase the share of the cores' time that other programs took."""

    called: list[Called]
    others: dict[str, float]


def cycles(seconds: float, repetitions: int) -> Iterator[Cycle]:
    """Give so many cycles, one after the other. Raises DidNotStart."""
    with Place(usual_cores(), _PACE) as place:
        redis = place.redis()
        ports = place.gateways(_GATEWAYS, "--redis-url", redis.url)
        for number in range(repetitions):
            yield uvloop.run(_Run(number, ports, redis, phases(seconds), _Watch(place)).run())


class _Watch:
    """What other programs take of our cores. Redis counts as one of them: it takes next to nothing."""

    def __init__(self, place: Place) -> None:
        self._cores = {*place.cores.gateway, *place.cores.load}
        self._pids = place.pids()
        self._last = self._read()

    def share(self) -> float:
        """The others' share since the last look."""
        before, self._last = self._last, self._read()
        busy, ours, clock = (now - then for now, then in zip(self._last, before, strict=True))
        return max(0.0, busy - ours) / max(clock, 1e-9) / len(self._cores)

    def _read(self) -> tuple[float, float, float]:
        return processes.busy_seconds(self._cores), processes.cpu_seconds(self._pids), time.monotonic()


class _Run:
    """One cycle under load."""

    def __init__(self, number: int, ports: Sequence[int], redis: Redis, cycle: Sequence[Phase], watch: _Watch) -> None:
        self._number = number
        self._name = secrets.token_hex(8)  # no other cycle's question is equal to one of this
        self._ports = ports
        self._cycle = cycle
        self._actions: Mapping[Action, Callable[[], None]] = {
            "pause": redis.pause,
            "resume": redis.resume,
            "kill": redis.kill,
            "start": redis.start,
        }
        self._idle: list[list[Asking]] = [[] for _ in ports]
        self._called: list[Called] = []
        self._watch = watch
        self._others: dict[str, float] = {}

    async def run(self) -> Cycle:
        planned = plan(sum(phase.seconds for phase in self._cycle), RATE, random.Random(self._number))
        began = time.monotonic() + 0.1
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._act(began))
                for call in planned:
                    await _until(began + call.at)
                    group.create_task(self._call(call, began))
        finally:
            for connection in (each for idle in self._idle for each in idle):
                connection.close()
        return Cycle(sorted(self._called, key=lambda called: called.at), self._others)

    async def _act(self, began: float) -> None:
        """Let befall Redis what the phases say, off the loop that measures."""
        at = began
        for phase in self._cycle:
            await _until(at)
            self._watch.share()
            if phase.action:
                await asyncio.to_thread(self._actions[phase.action])
            at += phase.seconds
            await _until(at)
            self._others[phase.name] = self._watch.share()

    async def _call(self, call: Planned, began: float) -> None:
        name = f"{self._name}-{call.question}"
        heard = Heard()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                heard = await self._ask(call.gateway, request(echo.call(name, stream=call.stream)))
        trouble, wrong = "", False
        try:
            wrong = not heard.text().startswith(echo.digest(echo.question(name)))
        except Broken as broken:
            trouble = str(broken) if heard.ended else "no answer in time"
        took = (heard.ended or time.monotonic()) - began - call.at
        phase = phase_at(self._cycle, call.at)
        self._called.append(
            Called(self._number, phase, call.at, took, call.repeat, heard.cache == "HIT", trouble, wrong)
        )

    async def _ask(self, gateway: int, what: bytes) -> Heard:
        """Ask over an idle connection, or a new one."""
        idle = self._idle[gateway]
        try:
            connection = idle.pop() if idle else await connect(self._ports[gateway])
        except OSError as error:
            return Heard(ended=time.monotonic(), trouble=type(error).__name__)
        try:
            heard = await connection.ask(what)
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.is_open:
            idle.append(connection)
        return heard


async def _until(clock: float) -> None:
    await asyncio.sleep(max(0.0, clock - time.monotonic()))


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What calls got in one phase, all cycles together; milliseconds. `hits`: share among repeats, by gateway.

    `others` is the largest share of the cores' time that other programs took in one cycle.
    """

    name: str
    calls: int
    failed: int
    wrong: int
    p50: float
    p99: float
    longest: float
    added_p99: Estimate | None  # to the healthy phase
    hits: dict[str, float]
    others: float


def report(measured: Sequence[Cycle]) -> list[PhaseReport]:
    """Sum up each phase, in the order they came."""
    called = [one for cycle in measured for one in cycle.called]
    names = dict.fromkeys(one.phase for one in called if one.phase != SETTLING)
    healthy = _latencies(called, HEALTHY)
    return [
        _phase(
            name,
            [one for one in called if one.phase == name],
            healthy,
            max(cycle.others.get(name, 0.0) for cycle in measured),
        )
        for name in names
    ]


def _phase(name: str, called: Sequence[Called], healthy: Sequence[float], others: float) -> PhaseReport:
    took = _latencies(called, name)
    ordered = sorted(took)
    return PhaseReport(
        name,
        len(called),
        sum(bool(one.trouble) for one in called),
        sum(one.wrong for one in called),
        percentile(ordered, 50) if took else 0.0,
        percentile(ordered, 99) if took else 0.0,
        max(took, default=0.0),
        added_p99(took, healthy) if took and healthy and name != HEALTHY else None,
        {where: _share([one.hit for one in called if one.repeat == where]) for where in ("same", "other")},
        others,
    )


def noise(measured: Sequence[Cycle]) -> Estimate | None:
    """The control: what the second half of each healthy phase adds to its first."""
    healthy = [one for cycle in measured for one in cycle.called if one.phase == HEALTHY and not one.trouble]
    middle = sum(one.at for one in healthy) / max(1, len(healthy))
    halves = [[one.seconds * 1e3 for one in healthy if (one.at < middle) is first] for first in (True, False)]
    return added_p99(halves[1], halves[0]) if all(halves) else None


def added_p99(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Our 99th percentile minus theirs, with a 95 % bootstrap interval over blocks of calls that were made in a row.

    Blocks, as a stall hits calls in a row: drawn singly they would look like many independent ones (Künsch 1989, "The
    jackknife and the bootstrap for general stationary observations"). Both series are in the order of the calls.
    """
    rng = np.random.default_rng(0)
    drawn = _resampled_p99(ours, rng) - _resampled_p99(theirs, rng)
    low, high = np.percentile(drawn, [2.5, 97.5])
    value = percentile(sorted(ours), 99) - percentile(sorted(theirs), 99)
    return Estimate(value, float(low), float(high), len(ours))


def _resampled_p99(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    block = min(_BLOCK, len(values))
    blocks = np.lib.stride_tricks.sliding_window_view(np.asarray(values), block)
    drawn = rng.integers(len(blocks), size=(_RESAMPLES, -(-len(values) // block)))
    quantiles: np.ndarray = np.percentile(blocks[drawn].reshape(_RESAMPLES, -1), 99, axis=1)
    return quantiles


def _latencies(called: Sequence[Called], phase: str) -> list[float]:
    return [one.seconds * 1e3 for one in called if one.phase == phase and not one.trouble]


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else float("nan")
