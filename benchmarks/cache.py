"""The cache library by itself: keys, lookups, byte bounds, and which answers are worth keeping.

sluice bench cache                  everything with a million entries; some minutes
sluice bench cache --entries 50000  less of it
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import eviction, statistics
from benchmarks.bodies import SIZES, request_body
from benchmarks.entries import Lengths
from benchmarks.eviction import EvictionReport
from benchmarks.keeping import FEW, Bound, Kind, Lookups, Task
from benchmarks.statistics import Estimate
from caching.identity import Identifier, Scope

_ROOT = Path(__file__).parent.parent
_TASK_S = 1_800.0
_IDENTIFIED = 500  # calls of one repetition
# Bytes of a bound for each entry that is put: a tenth of what they take, and more than all of it.
_TIGHT, _AMPLE = 200, 3_000
# Times its bound that a store may really take. In memory allocators round up; in a file there is SQLite's journal.
_SLACK: Mapping[Kind, float] = {"memory": 1.1, "sqlite": 1.2}


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """How much to measure. `data` is a folder with a published trace, to take lengths of calls from."""

    entries: int = 1_000_000
    repetitions: int = 10
    seeds: int = 5
    json: Path | None = None
    data: Path | None = None


@dataclass(frozen=True, slots=True)
class Keying:
    """Microseconds for the key of a call of this size, and for parsing its JSON; one mean a repetition."""

    size: str
    identify: list[float]
    parse: list[float]


@dataclass(slots=True)
class CacheReport:
    """All that was measured."""

    options: CacheOptions
    keying: list[Keying] = field(default_factory=list)
    lookups: list[Lookups] = field(default_factory=list)
    collections_ms: list[float] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    evictions: list[EvictionReport] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """Say which bounds were not kept, and what was lost where all should have fitted."""
        return [trouble for bound in self.bounds for trouble in _troubles(bound)]


def _troubles(bound: Bound) -> list[str]:
    found = []
    if bound.counted > bound.bound:
        found.append(f"{bound.store} counts {bound.counted / bound.bound:.2f} times its bound")
    if bound.real > _SLACK[bound.store] * bound.bound:
        found.append(f"{bound.store} really takes {bound.real / bound.bound:.2f} times its bound")
    if bound.refused:
        found.append(f"{bound.store} refused {bound.refused:,} of {bound.puts:,} puts")
    if bound.held < bound.puts and bound.offered < bound.bound:
        found.append(f"{bound.store} holds {bound.held:,} of {bound.puts:,} entries, but has room for all")
    return found


def run(options: CacheOptions, console: Console | None = None) -> CacheReport:
    """Measure one thing after the other; the large stores each in a process of its own."""
    report = CacheReport(options)
    lengths = Lengths.read(options.data) if options.data else Lengths()
    for step in track(_steps(report, lengths), "cache", console=console or Console(stderr=True)):
        step()
    return report


def _steps(report: CacheReport, lengths: Lengths) -> list[Callable[[], None]]:
    options = report.options

    def look_up(store: Kind) -> None:
        outcome = _perform(Task(store, options.entries, options.repetitions, data=str(options.data or "")))
        report.lookups += [Lookups(**one) for one in outcome["lookups"]]
        report.collections_ms += outcome["collections_ms"]

    def bound(store: Kind, each: int) -> None:
        task = Task(store, options.entries, bound=each * options.entries, data=str(options.data or ""))
        report.bounds.append(Bound(**_perform(task)["bound"]))

    def evict(workload: eviction.Workload) -> None:
        report.evictions.append(eviction.compare(workload, range(options.seeds), lengths))

    stores: tuple[Kind, ...] = ("memory", "sqlite")
    return [
        lambda: report.keying.extend(keying(options.repetitions)),
        *(partial(look_up, store) for store in stores),
        *(partial(bound, store, each) for store in stores for each in (_TIGHT, _AMPLE)),
        *(partial(evict, workload) for workload in eviction.WORKLOADS),
    ]


def _perform(task: Task) -> dict[str, Any]:
    """Do a task in a process of its own. Raises subprocess.CalledProcessError, its reason on standard error."""
    argv = [sys.executable, "-m", "benchmarks.keeping"]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:  # a process that is killed leaves its own
        env = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(
            argv,
            input=orjson.dumps(asdict(task)),
            stdout=subprocess.PIPE,
            timeout=_TASK_S,
            cwd=_ROOT,
            check=True,
            env=env,
        )
    outcome: dict[str, Any] = orjson.loads(done.stdout)
    return outcome


def keying(repetitions: int, calls: int = _IDENTIFIED) -> list[Keying]:
    """Time `identify` beside the parsing of the same calls, which a gateway does anyway."""
    identifier = Identifier(Scope("bench", "", "chat", "static", "", ""))
    found = []
    for size in SIZES:
        body = request_body("plain", size)
        raws = [body.numbered(number) for number in range(calls)]
        parsed = [orjson.loads(raw) for raw in raws]
        pairs = list(zip(parsed, raws, strict=True))
        identify, parse = [], []
        for _ in range(repetitions):
            parse.append(_microseconds(orjson.loads, [(raw,) for raw in raws]))
            identify.append(_microseconds(identifier.identify, pairs))
        found.append(Keying(size, identify, parse))
    return found


def _microseconds(work: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> float:
    began = time.perf_counter_ns()
    for one in arguments:
        work(*one)
    return (time.perf_counter_ns() - began) / len(arguments) / 1e3


def to_json(report: CacheReport) -> dict[str, Any]:
    """Give the report as plain values, the estimates beside what they were made of."""
    options = report.options
    return {
        "options": asdict(options) | {"json": str(options.json), "data": str(options.data)},
        "keying": [asdict(one) | {"ratio": _plain(_ratio(one.identify, one.parse))} for one in report.keying],
        "lookups": [asdict(one) | {"ratio": _plain(_ratio(one.many, one.few))} for one in report.lookups],
        "collections_ms": report.collections_ms,
        "bounds": [asdict(bound) for bound in report.bounds],
        "evictions": [_eviction_json(one) for one in report.evictions],
        "missed": report.missed,
    }


def _eviction_json(one: EvictionReport) -> dict[str, Any]:
    ratios = {name: _plain(one.ratio(name)) for name in one.saved}
    return {"workload": asdict(one.workload), "saved": dict(one.saved), "ratios": ratios}


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Estimate | None:
    return statistics.ratio(ours, theirs)


def _plain(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in asdict(estimate).items()}


def show(report: CacheReport, console: Console) -> None:
    """Print the tables and what was missed."""
    console.print("Each figure: mean ± half its 95 % interval; ratios with their intervals.\n")
    for table in (_keying(report), _lookup(report), _bounds(report), *map(_eviction, report.evictions)):
        console.print(table)
    if report.collections_ms:
        pause = _shown(statistics.mean(report.collections_ms))
        console.print(f"a full garbage collection with all entries in memory: {pause} ms", highlight=False)
    for trouble in report.missed:
        console.print(f"missed: {trouble}", highlight=False)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _keying(report: CacheReport) -> Table:
    table = _table("the key of a call", "request", "identify µs", "parse µs", "identify / parse")
    for one in report.keying:
        ratio = _interval(_ratio(one.identify, one.parse))
        table.add_row(one.size, _shown(statistics.mean(one.identify)), _shown(statistics.mean(one.parse)), ratio)
    return table


def _lookup(report: CacheReport) -> Table:
    few, many = f"{FEW:,} µs", f"{report.options.entries:,} µs"
    table = _table("a lookup among so many entries", "lookup", few, many, "ratio", "found")
    for one in report.lookups:
        means = (_shown(statistics.mean(series)) for series in (one.few, one.many))
        table.add_row(one.name, *means, _interval(_ratio(one.many, one.few)), f"{one.found:.1%}")
    return table


def _bounds(report: CacheReport) -> Table:
    headings = ("store", "puts", "offered MB", "bound MB", "held", "refused", "counted / bound", "real / bound")
    table = _table("bytes: as the store counts them, and as the system does", *headings)
    for one in report.bounds:
        sizes = (f"{one.offered / 1e6:,.0f}", f"{one.bound / 1e6:,.0f}", f"{one.held:,}", f"{one.refused:,}")
        shares = (f"{one.counted / one.bound:.3f}", f"{one.real / one.bound:.3f}")
        table.add_row(one.store, f"{one.puts:,}", *sizes, *shares)
    return table


def _eviction(one: EvictionReport) -> Table:
    title = f"{one.workload.name}, room for {one.workload.room:.0%} of the answers"
    table = _table(title, "policy", "upstream seconds saved", "ours / policy")
    for name in one.saved:
        share = one.share(name)
        table.add_row(name, f"{share.value:.1%} ±{(share.high - share.low) / 2:.1%}", _interval(one.ratio(name)))
    return table


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} ±{(estimate.high - estimate.low) / 2:.2g}"


def _interval(estimate: Estimate | None) -> str:
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})" if estimate else "-"


def main(argv: Sequence[str]) -> int:
    """Measure, print, write the JSON; status 1 if a store broke its bound or lost what it had room for."""
    parser = argparse.ArgumentParser(
        "sluice bench cache", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1_000_000, help="how many are many (1,000,000)")
    parser.add_argument("--repetitions", type=int, default=10, help="of each timing (10)")
    parser.add_argument("--seeds", type=int, default=5, help="traces to replay for each workload (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report here")
    parser.add_argument("--data", type=Path, metavar="DIR", help="take lengths of calls from Azure's trace in here")
    options = CacheOptions(**vars(parser.parse_args(argv)))
    if options.entries < FEW:
        parser.error(f"--entries: at least {FEW:,}")
    # As an exception it ends the process that fills a store on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(options)
    show(report, Console(width=None if sys.stdout.isatty() else 150))
    if options.json:
        options.json.write_bytes(orjson.dumps(to_json(report), option=orjson.OPT_INDENT_2))
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
