"""Which answers to keep when not all fit: upstream seconds that the memory store saves, beside its alternatives.

Calls follow Zipf's law, as repeated questions do. `steady`: what is asked for often stays so. `shifting`: each quarter
of the trace draws its favourites anew, which rewards recency. The measure is the share of all upstream seconds that
hits save; what makes answers differ are the model that wrote them (some 1 : 4 : 16 a token) and their length.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from moka_py import Moka

from benchmarks import statistics
from benchmarks.entries import NOW, Lengths, entries
from benchmarks.statistics import Estimate
from caching.entry import Entry
from caching.stores.memory import Memory, weight

OURS = "cost-aware TinyLFU (ours)"
_PHASES = 4
_SAMPLED = 32  # residents that the clairvoyant compares; more change its result by less than a hundredth


@dataclass(frozen=True, slots=True)
class Workload:
    """A trace to replay: `distinct` questions, Zipf's exponent, and the cache's room as a share of all answers."""

    name: str
    room: float
    phases: int = 1
    distinct: int = 20_000
    calls: int = 200_000
    exponent: float = 0.9


WORKLOADS = (Workload("steady", 0.01), Workload("steady", 0.1), Workload("shifting", 0.1, _PHASES))


@dataclass(frozen=True, slots=True)
class Trace:
    """Which entry each call asks for, and how many bytes may be kept."""

    entries: Sequence[Entry]
    calls: Sequence[int]
    capacity: int


def draw(workload: Workload, seed: int, lengths: Lengths) -> Trace:
    """Invent a trace; equal arguments give equal traces."""
    rng = random.Random(seed)
    kept = list(entries(range(workload.distinct), lengths, seed))
    ranks = list(itertools.accumulate((rank + 1) ** -workload.exponent for rank in range(workload.distinct)))
    calls: list[int] = []
    for _ in range(workload.phases):
        order = rng.sample(range(workload.distinct), workload.distinct)
        share = workload.calls // workload.phases
        calls += [order[bisect.bisect(ranks, rng.random() * ranks[-1])] for _ in range(share)]
    return Trace(kept, calls, int(workload.room * sum(map(_weight, kept))))


def _weight(entry: Entry) -> int:
    return weight(entry)


def ours(trace: Trace) -> float:
    """Replay on the memory store as it is."""
    store = Memory(trace.capacity, lambda: NOW)
    return _replay(trace, store.get, store.put)


def plain_tinylfu(trace: Trace) -> float:
    """Replay on the memory store without regard to cost."""
    store = Memory(trace.capacity, lambda: NOW, weigh_cost=False)
    return _replay(trace, store.get, store.put)


def lru(trace: Trace) -> float:
    """Replay on a table that drops what was not asked for longest."""
    table: Moka[bytes, Entry] = Moka(trace.capacity, policy="lru", weigher=lambda _, entry: weight(entry))
    return _replay(trace, table.get, lambda entry: table.set(entry.key, entry))


def _replay(trace: Trace, get: Callable[[bytes], Entry | None], put: Callable[[Entry], object]) -> float:
    """Ask for each call's entry and put it where it was missed; give the upstream seconds that hits saved."""
    saved = 0.0
    for call in trace.calls:
        entry = trace.entries[call]
        if get(entry.key) is None:
            put(entry)
        else:
            saved += entry.seconds
    return saved


def best_fixed(trace: Trace) -> float:
    """Keep one set for all time, chosen knowing how often each is asked for: by seconds saved a byte.

    The first call of each still misses. No policy that learns can do much better on a steady trace.
    """
    gains = [(times - 1, trace.entries[call]) for call, times in Counter(trace.calls).items()]
    gains.sort(key=lambda gain: gain[0] * gain[1].seconds / _weight(gain[1]), reverse=True)
    saved, room = 0.0, trace.capacity
    for again, entry in gains:
        if _weight(entry) <= room:
            room -= _weight(entry)
            saved += again * entry.seconds
    return saved


def clairvoyant(trace: Trace) -> float:
    """Know when each entry is asked for next, and drop the one of least seconds / (bytes x calls until then).

    Belady's rule (1966) with costs and sizes, over a sample of those kept; nobody can do this online.
    """
    rng = random.Random(1)
    shelf = _Shelf(trace, rng)
    saved = 0.0
    for at, (call, following) in enumerate(zip(trace.calls, _next_uses(trace.calls), strict=True)):
        if call in shelf:
            saved += trace.entries[call].seconds
            shelf.drop(call)
        if following < math.inf:
            shelf.add(call, int(following), at)
    return saved


def _next_uses(calls: Sequence[int]) -> list[float]:
    """Give for each call when the same is asked for next; infinity if never."""
    following: dict[int, float] = {}
    uses = [math.inf] * len(calls)
    for at in range(len(calls) - 1, -1, -1):
        uses[at] = following.get(calls[at], math.inf)
        following[calls[at]] = at
    return uses


class _Shelf:
    """What the clairvoyant keeps: a dict for membership, and a list to draw samples from."""

    def __init__(self, trace: Trace, rng: random.Random) -> None:
        self._weights = [_weight(entry) for entry in trace.entries]
        self._worth = [entry.seconds / _weight(entry) for entry in trace.entries]
        self._room = trace.capacity
        self._rng = rng
        self._places: dict[int, int] = {}
        self._kept: list[int] = []
        self._next: dict[int, int] = {}

    def __contains__(self, call: int) -> bool:
        return call in self._places

    def add(self, call: int, following: int, now: int) -> None:
        """Keep an entry, and drop the least valuable, itself perhaps, until all fit."""
        self._places[call] = len(self._kept)
        self._kept.append(call)
        self._next[call] = following
        self._room -= self._weights[call]
        while self._room < 0:
            sample = [call] * (call in self) + self._rng.choices(self._kept, k=_SAMPLED)
            self.drop(min(sample, key=lambda one: self._worth[one] / (self._next[one] - now)))

    def drop(self, call: int) -> None:
        """Give an entry's room back."""
        place, last = self._places.pop(call), self._kept.pop()
        if last != call:
            self._kept[place] = last
            self._places[last] = place
        self._room += self._weights[call]


CONTENDERS: Mapping[str, Callable[[Trace], float]] = {
    OURS: ours,
    "TinyLFU": plain_tinylfu,
    "LRU": lru,
    "best fixed set, known beforehand": best_fixed,
    "clairvoyant": clairvoyant,
}


@dataclass(frozen=True, slots=True)
class EvictionReport:
    """For each contender the share of upstream seconds that it saved, one a seed."""

    workload: Workload
    saved: Mapping[str, Sequence[float]]

    def share(self, name: str) -> Estimate:
        """Estimate the share of upstream seconds that a contender saves."""
        return statistics.mean(self.saved[name])

    def ratio(self, name: str) -> Estimate | None:
        """Estimate what ours saves over what a contender saves, on the same traces."""
        return statistics.ratio(self.saved[OURS], self.saved[name])


def compare(workload: Workload, seeds: Sequence[int], lengths: Lengths) -> EvictionReport:
    """Replay one trace a seed with every contender."""
    saved: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for seed in seeds:
        trace = draw(workload, seed, lengths)
        total = math.fsum(trace.entries[call].seconds for call in trace.calls)
        for name, contender in CONTENDERS.items():
            saved[name].append(contender(trace) / total)
    return EvictionReport(workload, saved)
