"""What a worker counts from its traces: plain dicts, written as JSON, summed and rendered by the admin process.

Nothing here is on a call's path: the journal's thread counts each trace after its call has ended.

Labels are bounded. A model's name becomes a label only when the policy knows it (a rule was chosen or an upstream was
asked); a client that invents names adds nothing. Whatever else goes wrong, a family keeps at most `MAX_SERIES` series
and counts the rest under "other".

Counts outlive a restart: a worker goes on from the file its predecessor left. Otherwise the sum over workers would
fall when one of them restarts, and Prometheus would read the fall as a reset and count the others' calls again.
"""

from __future__ import annotations

import os
import resource
import sys
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypedDict

from gateway.trace import Trace, Usage

Labels = tuple[str, ...]

FORMAT = 1  # of the snapshot; one of another format is ignored
MAX_SERIES = 2000
MAX_TOKENS = 2**40  # one answer claims no more: an upstream's absurd number must not spoil the sum for ever

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)  # seconds, as above


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it says, its labels, and, for a histogram, its buckets' upper bounds in seconds."""

    name: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


CALLS = Family("sluice_calls_total", "Calls ended.", ("endpoint", "model", "upstream", "outcome", "streamed"))
TOKENS = Family("sluice_tokens_total", "Tokens of answers given.", ("kind", "model", "upstream"))
ATTEMPTS = Family("sluice_attempts_total", "Upstreams asked; fault is empty where one answered.", ("upstream", "fault"))
DROPPED = Family("sluice_ledger_dropped_total", "Records that the ledger could not keep.", ())
CACHE_CALLS = Family(
    "sluice_cache_calls_total", "Calls ended, by what the caches had to do with them.", ("kind", "endpoint", "model")
)
SAVED = Family(
    "sluice_cache_saved_tokens_total", "Tokens that hits saved, and kept parts of misses.", ("kind", "model")
)
COUNTERS = (CALLS, TOKENS, ATTEMPTS, DROPPED, CACHE_CALLS, SAVED)

_TIMED = ("endpoint", "model", "streamed")
CALL = Family("sluice_call_seconds", "A call from its first byte in to its last byte out.", _TIMED, LATENCY)
FIRST = Family("sluice_first_byte_seconds", "A call until the first byte of its answer went out.", _TIMED, LATENCY)
SPENT = Family("sluice_overhead_seconds", "First byte less the wait for upstreams: our own share.", _TIMED, OVERHEAD)
HISTOGRAMS = (CALL, FIRST, SPENT)


class Status(TypedDict, total=False):
    """What the event loop knows and a thread may read: numbers and names, no secrets."""

    in_flight: int
    upstreams: dict[str, int]  # breaker by upstream: 0 closed, 1 half-open, 2 open
    policy: str  # version in force
    reloads_ok: int
    reloads_refused: int
    refusal: str  # the last refusal with file:line; empty when the policy in force is the file's
    cache: dict[str, Any]  # what `caching.cache.Cache.status` says of memory and of the store behind it


class Snapshot(TypedDict):
    """One worker's counts and status as they lie in its file."""

    format: int
    worker: int
    pid: int
    at: float  # Unix time of writing
    alive: bool  # False in the last one of a worker that ended in good order
    resident: int  # bytes
    ledger: str  # "ok", or what is wrong with it
    status: Status
    counters: dict[str, list[tuple[list[str], float]]]
    histograms: dict[str, list[tuple[list[str], list[int], float]]]


@dataclass(slots=True)
class Spread:
    """One histogram's series: how many fell into each bucket (the last one has no bound), and their sum."""

    counts: list[int]
    sum: float = 0.0

    @classmethod
    def of(cls, family: Family) -> Spread:
        """An empty one."""
        return cls([0] * (len(family.buckets) + 1))

    def observe(self, buckets: tuple[float, ...], seconds: float) -> None:
        """Put one duration into its bucket."""
        self.counts[bisect_left(buckets, seconds)] += 1
        self.sum += seconds

    def merge(self, counts: list[int], total: float) -> None:
        """Add another's. Raises ValueError if it has other buckets."""
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        self.sum += total


def _clean(labels: Labels) -> Labels:
    """Labels that JSON and Prometheus can carry: a lone surrogate would make the whole page fail."""
    return tuple(label[:200].encode("utf-8", "replace").decode("utf-8") for label in labels)


def _room(series: dict[Labels, Any], labels: Labels) -> Labels:
    """The labels under which a value not seen before is counted."""
    return _clean(labels) if len(series) < MAX_SERIES else ("other",) * len(labels)


class Counts:
    """Counters and histograms by family and labels."""

    __slots__ = ("counters", "histograms")

    def __init__(self) -> None:
        self.counters: dict[str, dict[Labels, float]] = {family.name: {} for family in COUNTERS}
        self.histograms: dict[str, dict[Labels, Spread]] = {family.name: {} for family in HISTOGRAMS}

    @classmethod
    def read(cls, snapshot: Snapshot) -> Counts:
        """What a worker's file says. Raises KeyError, TypeError or ValueError if it is not one of ours."""
        found = cls()
        for family in COUNTERS:
            for labels, value in snapshot["counters"].get(family.name, []):
                found.add(family, tuple(labels), value)
        for family in HISTOGRAMS:
            for labels, counts, total in snapshot["histograms"].get(family.name, []):
                found.spread(family, tuple(labels)).merge(counts, total)
        return found

    def add(self, family: Family, labels: Labels, amount: float = 1) -> None:
        """Add to a counter."""
        series = self.counters[family.name]
        if labels not in series:
            labels = _room(series, labels)
        series[labels] = series.get(labels, 0) + amount

    def spread(self, family: Family, labels: Labels) -> Spread:
        """A histogram's series, a new one if need be."""
        series = self.histograms[family.name]
        if labels not in series:
            labels = _room(series, labels)
            return series.setdefault(labels, Spread.of(family))
        return series[labels]

    def merge(self, other: Counts) -> None:
        """Add another's."""
        for family in COUNTERS:
            for labels, value in other.counters[family.name].items():
                self.add(family, labels, value)
        for family in HISTOGRAMS:
            for labels, spread in other.histograms[family.name].items():
                self.spread(family, labels).merge(spread.counts, spread.sum)


class _Tally:
    """What was counted of calls alike in endpoint, model, upstream, outcome, streaming and kind of cache.

    One look-up a call instead of one a family: the families are taken apart when the snapshot is written.
    """

    __slots__ = ("cached", "call", "calls", "completion", "first", "prompt", "reasoning", "saved", "spent")

    def __init__(self) -> None:
        self.calls = self.prompt = self.completion = self.cached = self.reasoning = self.saved = 0
        self.call, self.first, self.spent = (Spread.of(family) for family in HISTOGRAMS)

    def use(self, usage: Usage) -> None:
        """Count tokens; what makes no sense is left out."""
        if usage.prompt > 0:
            self.prompt += min(usage.prompt, MAX_TOKENS)
        if usage.completion > 0:
            self.completion += min(usage.completion, MAX_TOKENS)
        if usage.cached > 0:
            self.cached += min(usage.cached, MAX_TOKENS)
        if usage.reasoning > 0:
            self.reasoning += min(usage.reasoning, MAX_TOKENS)

    def time(self, trace: Trace) -> None:
        """Count durations; an answer that never began has no first byte."""
        started, first = trace.started, trace.first_byte
        if trace.ended is not None:
            self.call.observe(LATENCY, trace.ended - started)
        if first is not None:
            self.first.observe(LATENCY, first - started)
            self.spent.observe(OVERHEAD, max(0.0, first - started - trace.upstream_seconds(first)))

    def put(self, total: Counts, labels: Labels) -> None:
        """Add this to the families."""
        endpoint, model, upstream, outcome, streamed, kind = labels
        total.add(CALLS, (endpoint, model, upstream, outcome, streamed), self.calls)
        total.add(CACHE_CALLS, (kind, endpoint, model), self.calls)
        if self.saved:
            total.add(SAVED, (kind, model), self.saved)
        for sort in ("prompt", "completion", "cached", "reasoning"):
            if number := getattr(self, sort):
                total.add(TOKENS, (sort, model, upstream), number)
        for family, spread in zip(HISTOGRAMS, (self.call, self.first, self.spent), strict=True):
            if any(spread.counts):
                total.spread(family, (endpoint, model, streamed)).merge(spread.counts, spread.sum)


class Metrics:
    """One worker's counts, from `before` on. Used by one thread only."""

    def __init__(self, before: Counts | None = None) -> None:
        self.counted = 0  # traces since start: a cheap way to see that something changed
        self._before = before or Counts()
        self._tallies: dict[Labels, _Tally] = {}
        self._attempts: dict[Labels, int] = {}
        self._dropped = 0

    def count(self, trace: Trace) -> None:
        """Count one call that has ended."""
        self.counted += 1
        upstream = ""
        for attempt in trace.attempts:
            upstream = attempt.upstream
            self._attempt((upstream, attempt.fault))
        model = trace.model if upstream or trace.rule else ""
        kind = trace.cache
        labels = (trace.endpoint, model, upstream, trace.outcome, "true" if trace.streamed else "false", kind)
        tally = self._tallies.get(labels) or self._new_tally(labels)
        tally.calls += 1
        tally.time(trace)
        if trace.usage is not None:
            tally.use(trace.usage)
        if (saved := trace.saved_tokens) > 0:
            tally.saved += min(saved, MAX_TOKENS)

    def drop(self, records: int) -> None:
        """Count records that the ledger could not keep."""
        self._dropped += records

    def counts(self) -> Counts:
        """Everything counted so far, by family."""
        total = Counts()
        total.merge(self._before)
        for labels, tally in self._tallies.items():
            tally.put(total, labels)
        for labels, number in self._attempts.items():
            total.add(ATTEMPTS, labels, number)
        total.add(DROPPED, (), self._dropped)
        return total

    def _new_tally(self, labels: Labels) -> _Tally:
        return self._tallies.setdefault(_room(self._tallies, labels), _Tally())

    def _attempt(self, labels: Labels) -> None:
        if labels not in self._attempts:
            labels = _room(self._attempts, labels)
        self._attempts[labels] = self._attempts.get(labels, 0) + 1

    def snapshot(self, worker: int, at: float, status: Status, ledger: str = "ok", *, alive: bool = True) -> Snapshot:
        """Everything counted so far, ready for JSON. `at` is Unix time."""
        counts = self.counts()
        return Snapshot(
            format=FORMAT,
            worker=worker,
            pid=os.getpid(),
            at=at,
            alive=alive,
            resident=resident_bytes(),
            ledger=ledger,
            status=status,
            counters={name: [(list(k), v) for k, v in series.items()] for name, series in counts.counters.items()},
            histograms={
                name: [(list(k), spread.counts, spread.sum) for k, spread in series.items()]
                for name, series in counts.histograms.items()
            },
        )


def merged(snapshots: Iterable[Snapshot]) -> Counts:
    """The sum over workers."""
    total = Counts()
    for snapshot in snapshots:
        total.merge(Counts.read(snapshot))
    return total


def resident_bytes() -> int:
    """This process's resident memory; where only its peak is known, the peak."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
