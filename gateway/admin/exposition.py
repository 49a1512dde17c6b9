"""The workers' counts as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.admin.workers import breakers, living
from gateway.metrics import COUNTERS, HISTOGRAMS, Counts, Family, Snapshot, Spread, merged

MEMORY = "memory"  # the one tier that workers can tell the size of at no cost
NO_STORE, STORE_UP = "none", "closed"  # as `caching.cache.Cache.status` tells of the store behind: its breaker's state


def render(snapshots: list[Snapshot], now: float, accept: str = "") -> tuple[bytes, str]:
    """The page and its content type: Prometheus's text format, or OpenMetrics for who accepts it. `now`: Unix time."""
    registry = CollectorRegistry()
    registry.register(_Workers(snapshots, now))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


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
        yield from (_counter(family, counts) for family in COUNTERS)
        yield from (_histogram(family, counts) for family in HISTOGRAMS)
        yield from _gauges(living(self._snapshots, self._now))
        yield _reloads(self._snapshots)


def _counter(family: Family, counts: Counts) -> Metric:
    metric = CounterMetricFamily(family.name.removesuffix("_total"), family.help, labels=family.labels)
    for labels, value in sorted(counts.counters[family.name].items()):
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


def _gauges(workers: list[Snapshot]) -> Iterator[Metric]:
    flight = GaugeMetricFamily("sluice_calls_in_flight", "Calls begun and not ended.")
    flight.add_metric((), sum(s["status"].get("in_flight", 0) for s in workers))
    yield flight
    policy = GaugeMetricFamily("sluice_policy_info", "Versions of the policy in force.", labels=("version",))
    for version in sorted({s["status"].get("policy", "") for s in workers} - {""}):
        policy.add_metric((version,), 1)
    yield policy
    upstream = GaugeMetricFamily(
        "sluice_upstream_state", "Breaker, the worst over workers: 0 closed, 1 half-open, 2 open.", labels=("upstream",)
    )
    for name, state in sorted(breakers(workers).items()):
        upstream.add_metric((name,), state)
    yield upstream
    yield from _processes(workers)
    yield from _caches(workers)


def _processes(workers: list[Snapshot]) -> Iterator[Metric]:
    ledger = GaugeMetricFamily("sluice_ledger_up", "1 while a worker can write its records.", labels=("worker",))
    memory = GaugeMetricFamily("sluice_resident_memory_bytes", "Resident memory of a worker.", labels=("worker",))
    for snapshot in workers:
        worker = (str(snapshot["worker"]),)
        ledger.add_metric(worker, float(snapshot["ledger"] == "ok"))
        memory.add_metric(worker, snapshot["resident"])
    yield ledger
    yield memory


def _caches(workers: list[Snapshot]) -> Iterator[Metric]:
    """By worker: each has a memory of its own, and its count of what was lost begins anew with it."""
    entries = GaugeMetricFamily("sluice_cache_entries", "Answers held.", labels=("tier", "worker"))
    held = GaugeMetricFamily("sluice_cache_bytes", "Bytes of answers held.", labels=("tier", "worker"))
    queue = GaugeMetricFamily("sluice_cache_queue", "Changes not yet in the store behind memory.", labels=("worker",))
    up = GaugeMetricFamily("sluice_cache_store_up", "1 while the store behind memory is used.", labels=("worker",))
    lost = CounterMetricFamily("sluice_cache_dropped", "Changes the store never heard of.", labels=("worker",))
    for snapshot in workers:
        told = snapshot["status"].get("cache")
        if not told:
            continue
        worker = (str(snapshot["worker"]),)
        entries.add_metric((MEMORY, *worker), told.get("entries", 0))
        held.add_metric((MEMORY, *worker), told.get("bytes", 0))
        queue.add_metric(worker, told.get("queue", 0))
        lost.add_metric(worker, told.get("dropped", 0))
        if told.get("store", NO_STORE) != NO_STORE:
            up.add_metric(worker, float(told["store"] == STORE_UP))
    yield from (entries, held, queue, up, lost)


def _reloads(snapshots: list[Snapshot]) -> Metric:
    """One edit is reloaded by every worker and counts once: the most over workers, not their sum."""
    metric = CounterMetricFamily("sluice_policy_reloads", "Policy files read again.", labels=("result",))
    metric.add_metric(("ok",), max((s["status"].get("reloads_ok", 0) for s in snapshots), default=0))
    metric.add_metric(("refused",), max((s["status"].get("reloads_refused", 0) for s in snapshots), default=0))
    return metric
