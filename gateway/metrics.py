"""What is counted of a worker's traces: plain dicts, written as JSON, summed and rendered by the admin process.

Nothing here is on a call's path: the recorder counts each trace after its call has ended, in a process of its own.

Labels are bounded. A model's name becomes a label only when the policy knows it (a rule was chosen or an upstream was
asked); a client that invents names adds nothing. Whatever else goes wrong, a family keeps at most `MAX_SERIES` series
and counts the rest under "other".

Counts outlive a restart: the recorder goes on from the file its predecessor left. Otherwise the sum over workers would
fall when one of them restarts, and Prometheus would read the fall as a reset and count the others' calls again.
"""

from __future__ import annotations

import os
import resource
import sys

from gateway.counts import FORMAT, MAX_SERIES, Counts, Labels, Snapshot, Spread, Status, merged, room
from gateway.families import (
    ATTEMPTS,
    BASELINE,
    CACHE_CALLS,
    CALLS,
    COST,
    COUNTERS,
    DROPPED,
    GAINS,
    HELD_OUT,
    HISTOGRAMS,
    LATENCY,
    LOSSES,
    MACHINE,
    OVERHEAD,
    OWN,
    SAVED,
    SPEND,
    TOKENS,
    UNKNOWN,
)
from gateway.trace import Bill, Trace, Usage

__all__ = [
    "CALLS",
    "COUNTERS",
    "DROPPED",
    "FORMAT",
    "HISTOGRAMS",
    "MAX_SERIES",
    "Counts",
    "Metrics",
    "Snapshot",
    "Status",
    "merged",
]

MAX_TOKENS = 2**40  # one answer claims no more: an upstream's absurd number must not spoil the sum for ever
MAX_USD = 1e6  # nor its price


def _usd(amount: float) -> float:
    """An amount that a counter can bear: it never falls, and no absurd one spoils the sum."""
    return min(amount, MAX_USD) if amount > 0 else 0.0  # neither is NaN


def _add(series: dict[Labels, float], labels: Labels, amount: float) -> None:
    known = series.get(labels)
    if known is None:
        labels = room(series, labels)
        known = series.get(labels, 0.0)
    series[labels] = known + (amount if 0 < amount < MAX_USD else _usd(amount))


class _Tally:
    """What was counted of calls alike in endpoint, model, upstream, outcome, streaming and kind of cache.

    One look-up a call instead of one a family: the families are taken apart when the snapshot is written.
    """

    __slots__ = (
        "baseline", "cached", "call", "calls", "completion", "costs", "first", "prompt", "reasoning", "saved",
        "spent", "unknown",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = self.prompt = self.completion = self.cached = self.reasoning = self.saved = self.unknown = 0
        self.baseline = 0.0
        self.costs: dict[str, float] = {}  # by basis
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

    def charge(self, bill: Bill) -> None:
        """Count what the call cost and would have cost."""
        cost, baseline = bill.cost, bill.baseline
        if cost is None or baseline is None:
            self.unknown += 1
        if cost is not None:
            self.costs[bill.basis] = self.costs.get(bill.basis, 0.0) + _usd(cost)
        if baseline is not None:
            self.baseline += _usd(baseline)

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
        for basis, usd in self.costs.items():
            if usd or upstream:  # what no upstream was asked for has no price to tell
                total.add(COST, (model, upstream, basis), usd)
        if self.baseline:
            total.add(BASELINE, (model,), self.baseline)
        if self.unknown:
            total.add(UNKNOWN, (model, upstream), self.unknown)
        for family, spread in zip(HISTOGRAMS, (self.call, self.first, self.spent), strict=True):
            if any(spread.counts):
                total.spread(family, (endpoint, model, streamed)).merge(spread.counts, spread.sum)


class _Money:
    """What calls cost and saved, by what their tallies do not tell them apart by."""

    __slots__ = ("held_out", "lines", "own", "seconds", "spend")

    def __init__(self) -> None:
        self.held_out = 0
        self.own = 0.0
        self.spend: dict[Labels, float] = {}
        self.lines: dict[Labels, float] = {}  # (technique, how, "+" or "-")
        self.seconds: dict[Labels, float] = {}

    def count(self, trace: Trace, bill: Bill) -> None:
        """Count one call's bill."""
        if bill.cost:
            _add(self.spend, (trace.tenant, trace.team, trace.key), bill.cost)
        if bill.own:
            self.own += _usd(bill.own)
        for technique, usd, how in bill.lines:
            _add(self.lines, (technique, how, "+" if usd > 0 else "-"), abs(usd))
        if trace.is_held_out:
            self.held_out += 1

    def work(self, upstream: str, seconds: float) -> None:
        """Count a machine's time."""
        _add(self.seconds, (upstream,), seconds)

    def put(self, total: Counts) -> None:
        """Add this to the families."""
        total.add(HELD_OUT, (), self.held_out)
        total.add(OWN, (), self.own)
        for labels, usd in self.spend.items():
            total.add(SPEND, labels, usd)
        for labels, usd in self.lines.items():
            technique, how, sign = labels
            total.add(LOSSES if sign == "-" else GAINS, (technique, how), usd)
        for labels, seconds in self.seconds.items():
            total.add(MACHINE, labels, seconds)


class Metrics:
    """One worker's counts, from `before` on. Used by one thread only."""

    def __init__(self, before: Counts | None = None) -> None:
        self.counted = 0  # traces since start: a cheap way to see that something changed
        self._before = before or Counts()
        self._tallies: dict[Labels, _Tally] = {}
        self._attempts: dict[Labels, int] = {}
        self._money = _Money()
        self._dropped = 0

    def count(self, trace: Trace) -> None:
        """Count one call that has ended."""
        self.counted += 1
        upstream = ""
        for attempt in trace.attempts:
            upstream = attempt.upstream
            self._attempt((upstream, attempt.fault))
            if attempt.seconds is not None:
                self._money.work(upstream, attempt.seconds)
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
        if trace.bill is not None:
            tally.charge(trace.bill)
            self._money.count(trace, trace.bill)

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
        self._money.put(total)
        total.add(DROPPED, (), self._dropped)
        return total

    def _new_tally(self, labels: Labels) -> _Tally:
        return self._tallies.setdefault(room(self._tallies, labels), _Tally())

    def _attempt(self, labels: Labels) -> None:
        if labels not in self._attempts:
            labels = room(self._attempts, labels)
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


def resident_bytes() -> int:
    """This process's resident memory; where only its peak is known, the peak."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
