"""What a run of `overhead` found: figures with intervals, ratios, the noise floor, and whether the goals were met."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import statistics
from benchmarks.bodies import Kind, Size
from benchmarks.statistics import Estimate
from benchmarks.targets import DIRECT, LITELLM_CACHED, OURS, UNCACHED

RIVALS = ("sglang-router", "vllm-router")
_HITS = {"plain": "hit", "burst": "hit-streamed"}
AGAIN = " again"  # the control: the same target measured a second time in each repetition
SATURATED = 0.9  # from here on the load side itself may be what limits a figure


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to measure: a kind of answer, a size of request, and how many calls are under way.

    Every call is new, so a cache misses it; in a `hit` cell all are equal, and a cache has the answer.
    """

    kind: Kind
    size: Size
    connections: int
    hit: bool = False

    @property
    def name(self) -> str:
        """The cell's name on the command line and in the report."""
        return f"{_HITS[self.kind] if self.hit else self.kind}-{self.size}-{self.connections}"


@dataclass(frozen=True, slots=True)
class Measure:
    """One target, measured once in one cell. Times in microseconds, memory in MB, shares of all cores of that side.

    `upstream_share` is how many calls reached the upstream, of those answered: 1 without a cache, 0 for hits.
    """

    rps: float
    cpu_us: float
    p50_us: float
    p99_us: float
    first_p50_us: float
    first_p99_us: float
    delay_p50_us: float
    delay_p99_us: float
    memory_mb: float
    gateway_busy: float
    load_busy: float
    others_busy: float
    errors: dict[str, int] = field(default_factory=dict)
    upstream_share: float = 1.0

    @property
    def valid(self) -> bool:
        """Say whether every answer was right and there was one."""
        return not self.errors and self.rps > 0


_VALUES: dict[str, Callable[[Measure], float]] = {
    "rps": lambda m: m.rps,
    "cpu_us": lambda m: m.cpu_us,
    "p50_us": lambda m: m.p50_us,
    "p99_us": lambda m: m.p99_us,
    "memory_mb": lambda m: m.memory_mb,
}
_STREAM_VALUES: dict[str, Callable[[Measure], float]] = {
    "first_p50_us": lambda m: m.first_p50_us,
    "first_p99_us": lambda m: m.first_p99_us,
}
_PACED_VALUES: dict[str, Callable[[Measure], float]] = {
    "delay_p50_us": lambda m: m.delay_p50_us,
    "delay_p99_us": lambda m: m.delay_p99_us,
}
_WITHOUT_DIRECT = frozenset({"cpu_us", "memory_mb"})  # the direct call has no gateway to weigh
_TIMES = ("p50_us", "p99_us", "first_p50_us", "first_p99_us", "delay_p50_us", "delay_p99_us")


@dataclass(frozen=True, slots=True)
class CellReport:
    """All repetitions of a cell: for each target as many measures as there were repetitions, in their order."""

    cell: Cell
    measures: dict[str, list[Measure]]

    def figures(self, target: str) -> dict[str, Estimate]:
        """Estimate each of a target's figures, and what it adds to the direct call."""
        found: dict[str, Estimate] = {}
        for name in self._names(target):
            found[name] = statistics.mean(self._series(target, name))
            if name in _TIMES and target != DIRECT and DIRECT in self.measures:
                found[f"added_{name}"] = statistics.difference(self._series(target, name), self._series(DIRECT, name))
        return found

    def ratio(self, ours: str, theirs: str, name: str) -> Estimate | None:
        """Estimate one target's figure over another's; None where one of them had errors or the figure has no ratio."""
        if not (self.valid(ours) and self.valid(theirs)):
            return None
        return statistics.ratio(self._series(ours, name), self._series(theirs, name))

    def ratios(self, ours: str, theirs: str) -> dict[str, Estimate | None]:
        """Estimate all ratios of two targets, also of what each adds to the direct call."""
        names = [name for name in self._names(ours) if name in self._names(theirs)]
        added = [f"added_{name}" for name in names if name in _TIMES] if DIRECT in self.measures else []
        return {name: self.ratio(ours, theirs, name) for name in names + added}

    def valid(self, target: str) -> bool:
        """Say whether a target was measured and answered everything rightly."""
        return target in self.measures and all(measure.valid for measure in self.measures[target])

    def errors(self, target: str) -> dict[str, int]:
        """Sum a target's errors over repetitions."""
        total: Counter[str] = Counter()
        for measure in self.measures[target]:
            total.update(measure.errors)
        return dict(total)

    def peak(self, target: str, share: Callable[[Measure], float]) -> float:
        """Give the mean over repetitions of a share, such as how busy a side was."""
        return math.fsum(map(share, self.measures[target])) / len(self.measures[target])

    def pairs(self) -> list[tuple[str, str]]:
        """List whom to compare: ourselves with rivals and with ourselves without the cache, then the control."""
        rivals = [LITELLM_CACHED] if self.cell.hit else [*RIVALS, UNCACHED]
        wanted = [(OURS, rival) for rival in rivals] + [(UNCACHED, rival) for rival in RIVALS]
        controls = [(name, name.removesuffix(AGAIN)) for name in self.measures if name.endswith(AGAIN)]
        return [pair for pair in wanted if set(pair) <= set(self.measures)] + controls

    def _names(self, target: str) -> list[str]:
        values = _VALUES | (_STREAM_VALUES if self.cell.kind != "plain" else {})
        values |= _PACED_VALUES if self.cell.kind == "paced" else {}
        return [name for name in values if not (target.startswith(DIRECT) and name in _WITHOUT_DIRECT)]

    def _series(self, target: str, name: str) -> list[float]:
        if name.startswith("added_"):
            base = name.removeprefix("added_")
            return [a - b for a, b in zip(self._series(target, base), self._series(DIRECT, base), strict=True)]
        value = (_VALUES | _STREAM_VALUES | _PACED_VALUES)[name]
        return [value(measure) for measure in self.measures[target]]

    def to_json(self) -> dict[str, Any]:
        """Give the cell as plain values."""
        return {
            "cell": self.cell.name,
            **asdict(self.cell),
            "targets": {target: self._target_json(target) for target in self.measures},
            "ratios": {f"{a}/{b}": {k: _plain(v) for k, v in self.ratios(a, b).items()} for a, b in self.pairs()},
        }

    def _target_json(self, target: str) -> dict[str, Any]:
        return {
            "valid": self.valid(target),
            "errors": self.errors(target),
            "gateway_busy": round(self.peak(target, lambda m: m.gateway_busy), 3),
            "load_busy": round(self.peak(target, lambda m: m.load_busy), 3),
            "others_busy": round(self.peak(target, lambda m: m.others_busy), 3),
            "upstream_share": round(self.peak(target, lambda m: m.upstream_share), 4),
            "figures": {name: _plain(value) for name, value in self.figures(target).items()},
            "repetitions": [asdict(measure) for measure in self.measures[target]],
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """One target of the design, held against what was measured."""

    what: str
    bound: float
    measured: Estimate | None
    higher_is_better: bool = False

    @property
    def verdict(self) -> str:
        """`met` or `missed` if the whole interval lies on one side, else `open`; `not measured` without a figure."""
        if self.measured is None:
            return "not measured"
        low, high = self.measured.low, self.measured.high
        good, bad = (
            (low >= self.bound, high < self.bound) if self.higher_is_better else (high <= self.bound, low > self.bound)
        )
        return "met" if good else "missed" if bad else "open"


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    machine: dict[str, Any]
    versions: dict[str, str]
    missing: dict[str, str]
    failed: dict[str, str]
    options: dict[str, Any]
    cells: list[CellReport]

    @property
    def valid(self) -> bool:
        """Say whether ourselves (or the direct call, where we were not measured) answered everything rightly."""
        return all(
            cell.valid(name)
            for cell in self.cells
            for name in ({OURS, UNCACHED} & set(cell.measures) or {DIRECT} & set(cell.measures))
        )

    def goals(self) -> list[Goal]:
        """Hold the figures against the targets of the design."""
        cells = {cell.cell.name: cell for cell in self.cells}
        plain, burst, whole, hit, streamed_hit = (
            cells.get(f"{kind}-1.7k-32") for kind in ("plain", "burst", "whole", "hit", "hit-streamed")
        )
        paced = [cell for cell in self.cells if cell.cell.kind == "paced" and cell.cell.size == "1.7k"]
        return [
            _rps_goal("plain req/s, cache off, x SGLang router", 1.0, plain, UNCACHED, RIVALS[0]),
            _rps_goal("burst req/s, cache off, x vLLM router", 1.0, burst, UNCACHED, RIVALS[1]),
            _rps_goal("whole stream req/s, cache off, x vLLM router", 1.0, whole, UNCACHED, RIVALS[1]),
            _rps_goal("exact miss, plain req/s, x SGLang router", 0.7, plain, OURS, RIVALS[0]),
            _rps_goal("exact miss, burst req/s, x SGLang router", 0.7, burst, OURS, RIVALS[0]),
            _rps_goal("exact hit, plain req/s, x LiteLLM's in-memory hit", 100.0, hit, OURS, LITELLM_CACHED),
            _rps_goal(
                "exact hit, streamed req/s, x LiteLLM's in-memory hit", 100.0, streamed_hit, OURS, LITELLM_CACHED
            ),
            *_paced_goals(paced),
        ]

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain values; infinite bounds become null."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "not_installed": self.missing,
            "did_not_start": self.failed,
            "options": self.options,
            "valid": self.valid,
            "cells": [cell.to_json() for cell in self.cells],
            "goals": [
                {"what": g.what, "bound": g.bound, "measured": _plain(g.measured), "verdict": g.verdict}
                for g in self.goals()
            ],
        }


def _rps_goal(what: str, bound: float, cell: CellReport | None, ours: str, theirs: str) -> Goal:
    return Goal(what, bound, cell.ratio(ours, theirs, "rps") if cell else None, higher_is_better=True)


def carried(cells: Sequence[CellReport], target: str, limit_us: float = 5_000.0) -> CellReport | None:
    """Find the cell with most streams that a target carries, added p99 a chunk within the limit and without errors."""
    fine = [cell for cell in cells if cell.valid(target) and _added_delay(cell, target) <= limit_us]
    return max(fine, key=lambda cell: cell.cell.connections, default=None)


def _added_delay(cell: CellReport, target: str) -> float:
    added = cell.figures(target).get("added_delay_p99_us")
    return added.value if added else math.inf


def _paced_goals(cells: Sequence[CellReport]) -> list[Goal]:
    """Streams at 20 ms a chunk: nothing held back, and on time at as many streams as the vLLM router carries."""
    most = carried(cells, RIVALS[1])
    if most is None or OURS not in most.measures:
        return []
    figures = most.figures(OURS)
    where = f"at {most.cell.connections} paced streams"
    return [
        Goal(f"added p99 a chunk {where}, us", 5_000.0, figures.get("added_delay_p99_us")),
        Goal(f"added p99 to the first chunk {where}, us", 5_000.0, figures.get("added_first_p99_us")),
    ]


def _plain(estimate: Estimate | None) -> dict[str, float | int | None] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "low": estimate.low if math.isfinite(estimate.low) else None,
        "high": estimate.high if math.isfinite(estimate.high) else None,
        "n": estimate.n,
    }
