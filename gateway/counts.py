"""One worker's counts by family and labels, as they lie in its file, and their sum over workers.

Labels are bounded: a family keeps at most `MAX_SERIES` series and counts the rest under "other".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from gateway.families import COUNTERS, HISTOGRAMS, Family

Labels = tuple[str, ...]

FORMAT = 1  # of the snapshot; one of another format is ignored. A family that a file lacks begins at zero
MAX_SERIES = 2000


class Status(TypedDict, total=False):
    """What the event loop knows and a thread may read: numbers and names, no secrets."""

    in_flight: int
    upstreams: dict[str, int]  # breaker by upstream: 0 closed, 1 half-open, 2 open
    policy: str  # version in force
    reloads_ok: int
    reloads_refused: int
    refusal: str  # the last refusal with file:line; empty when the policy in force is the file's
    policy_at: float  # Unix time at which the policy came into force
    spans_dropped: int  # since start; absent where nothing is traced
    prices: list[dict[str, Any]]  # what `gateway.money.prices.Prices.describe` says
    fleet: dict[str, Any]  # what `gateway.ledger.fleet.Publisher.status` says; absent where there is no Redis
    retention: dict[str, float]  # how long the policy has records and sums kept: the fields of `Retention`
    cache: dict[str, Any]  # what `caching.cache.Cache.status` says of memory and of the store behind it


class Told(TypedDict):
    """What one worker says of itself, as it lies in its file."""

    format: int
    worker: int
    pid: int
    at: float  # Unix time of writing
    alive: bool  # False in the last one of a worker that ended in good order
    resident: int  # bytes
    ledger: str  # "ok", or what is wrong with it
    status: Status


class Snapshot(Told):
    """The same, and what was counted of its calls."""

    spool: NotRequired[dict[str, list[int]]]  # how far segments were read: see `gateway.ledger.taking.Place`
    behind: NotRequired[int]  # bytes of records that the ledger has not taken in
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


def clean(labels: Labels) -> Labels:
    """Labels that JSON and Prometheus can carry: a lone surrogate would make the whole page fail."""
    return tuple(label[:200].encode("utf-8", "replace").decode("utf-8") for label in labels)


def room(series: dict[Labels, Any], labels: Labels) -> Labels:
    """The labels under which a value not seen before is counted."""
    return clean(labels) if len(series) < MAX_SERIES else ("other",) * len(labels)


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
            labels = room(series, labels)
        series[labels] = series.get(labels, 0) + amount

    def spread(self, family: Family, labels: Labels) -> Spread:
        """A histogram's series, a new one if need be."""
        series = self.histograms[family.name]
        if labels not in series:
            labels = room(series, labels)
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


def merged(snapshots: Iterable[Snapshot]) -> Counts:
    """The sum over workers."""
    total = Counts()
    for snapshot in snapshots:
        total.merge(Counts.read(snapshot))
    return total
