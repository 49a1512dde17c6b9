"""The workers' counts as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway import families
from gateway.admin.workers import breakers, living
from gateway.counts import Counts, Snapshot, Spread, merged
from gateway.families import COUNTERS, HISTOGRAMS, Family, kind

Values = Iterable[tuple[tuple[str, ...], float]]

MEMORY = "memory"  # the one tier that workers can tell the size of at no cost
NO_STORE, STORE_UP = "none", "closed"  # as `caching.cache.Cache.status` tells of the store behind: its breaker's state
DISTRIBUTION = "sluice-gateway"


def render(snapshots: list[Snapshot], now: float, accept: str = "") -> tuple[bytes, str]:
    """The page and its content type: Prometheus's text format, or OpenMetrics for who accepts it. `now`: Unix time."""
    registry = CollectorRegistry()
    registry.register(_Workers(snapshots, now))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def build() -> str:
    """The version of what is installed; "unknown" where it runs from a folder that nobody installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


class _Workers(Collector):
    """All workers' counts summed, and the gauges of those that live."""

    def __init__(self, snapshots: list[Snapshot], now: float) -> None:
        self._snapshots = snapshots
        self._now = now

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: this registry holds one collector and lives for one page."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family in the order of the documentation."""
        counts = merged(self._snapshots)
        yield from (_metric(family, sorted(counts.counters[family.name].items())) for family in COUNTERS)
        yield from (_histogram(family, counts) for family in HISTOGRAMS)
        workers = living(self._snapshots, self._now)
        yield _reloads(self._snapshots)
        yield _metric(families.BUILD, [((build(),), 1)])
        yield from _policy(workers)
        yield from _processes(workers)
        yield from _caches(workers)
        yield from _fleet(workers)


def _metric(family: Family, values: Values) -> Metric:
    of_kind = CounterMetricFamily if kind(family) == "counter" else GaugeMetricFamily
    metric = of_kind(family.name.removesuffix("_total"), family.help, labels=family.labels)
    for labels, value in values:
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, counts: Counts) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, spread in sorted(counts.histograms[family.name].items()):
        metric.add_metric(labels, _buckets(family, spread), spread.sum)
    return metric


def _buckets(family: Family, spread: Spread) -> list[tuple[str, float]]:
    bounds = [*map(str, family.buckets), "+Inf"]
    return list(zip(bounds, map(float, accumulate(spread.counts)), strict=True))


def _policy(workers: list[Snapshot]) -> Iterator[Metric]:
    """Which policy is in force, whether its file's last edit is, and how its upstreams are."""
    told = [snapshot["status"] for snapshot in workers]
    versions = sorted({status.get("policy", "") for status in told} - {""})
    yield _metric(families.POLICY, [((each,), 1) for each in versions])
    refused = any(status.get("refusal") for status in told)
    yield _metric(families.POLICY_OK, [((), float(not refused))] if told else [])
    since = [status["policy_at"] for status in told if "policy_at" in status]
    yield _metric(families.POLICY_AT, [((), max(since))] if since else [])
    yield _metric(families.BREAKER, [((name,), state) for name, state in sorted(breakers(workers).items())])


def _processes(workers: list[Snapshot]) -> Iterator[Metric]:
    """How many workers live, what they are at, and how each is."""
    yield _metric(families.WORKERS, [((), len(workers))])
    yield _metric(families.IN_FLIGHT, [((), sum(s["status"].get("in_flight", 0) for s in workers))])
    yield _metric(families.LEDGER_UP, [(_number(s), float(s["ledger"] == "ok")) for s in workers])
    yield _metric(families.LEDGER_BEHIND, [(_number(s), s.get("behind", 0)) for s in workers])
    yield _metric(families.MEMORY, [(_number(s), s["resident"]) for s in workers])
    dropped = [(_number(s), s["status"]["spans_dropped"]) for s in workers if "spans_dropped" in s["status"]]
    yield _metric(families.SPANS_DROPPED, dropped)


def _caches(workers: list[Snapshot]) -> Iterator[Metric]:
    """By worker: each has a memory of its own, and its count of what was lost begins anew with it."""
    told = [(_number(s), cache) for s in workers if (cache := s["status"].get("cache"))]
    for family, name in ((families.CACHE_ENTRIES, "entries"), (families.CACHE_BYTES, "bytes")):
        yield _metric(family, [((MEMORY, *worker), cache.get(name, 0)) for worker, cache in told])
    for family, name in ((families.CACHE_QUEUE, "queue"), (families.CACHE_DROPPED, "dropped")):
        yield _metric(family, [(worker, cache.get(name, 0)) for worker, cache in told])
    stores = [(worker, cache.get("store", NO_STORE)) for worker, cache in told]
    up = [(worker, float(store == STORE_UP)) for worker, store in stores if store != NO_STORE]
    yield _metric(families.CACHE_STORE_UP, up)


def _fleet(workers: list[Snapshot]) -> Iterator[Metric]:
    """How the records of each worker get to the Redis that a fleet shares; nothing where there is none."""
    told = [(_number(s), fleet) for s in workers if (fleet := s["status"].get("fleet"))]
    yield _metric(families.FLEET_UP, [(worker, float(fleet.get("state") == "ok")) for worker, fleet in told])
    yield _metric(families.FLEET_QUEUE, [(worker, fleet.get("backlog", 0)) for worker, fleet in told])
    yield _metric(families.FLEET_DROPPED, [(worker, fleet.get("dropped", 0)) for worker, fleet in told])


def _number(snapshot: Snapshot) -> tuple[str]:
    return (str(snapshot["worker"]),)


def _reloads(snapshots: list[Snapshot]) -> Metric:
    """One edit is reloaded by every worker and counts once: the most over workers, not their sum."""
    found = [snapshot["status"] for snapshot in snapshots]
    ok = max((status.get("reloads_ok", 0) for status in found), default=0)
    refused = max((status.get("reloads_refused", 0) for status in found), default=0)
    return _metric(families.RELOADS, [(("ok",), ok), (("refused",), refused)])
