"""What a gateway adds to a call: ourselves, the peers that are installed, and the direct call, in one run.

    sluice bench overhead --json FILE        everything; some twenty minutes
    sluice bench overhead --quick            the most telling cells; two minutes

A cell is a kind of answer, a size of request and a number of connections. In each repetition of a cell every target is
measured once, one after the other and each time beginning with another, so that what disturbs the machine disturbs all
alike. One target is measured twice in each repetition: what those two differ by is the noise floor.

No two bodies of a run are equal, so that an exact cache misses every call and pays for looking up and keeping; only in
the hit cells are all calls of a measurement equal. The upstream counts the calls that reach it: a measurement in which
a cache answered what it should have missed, or missed what it should have answered, has no figure.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import processes
from benchmarks.bodies import STREAM_S
from benchmarks.load import Spec
from benchmarks.report import AGAIN, Cell, CellReport, Measure, Report
from benchmarks.stand import Cores, DidNotStart, NoHit, Running, Stand, WrongAnswer, usual_cores
from benchmarks.tables import show
from benchmarks.targets import OURS, Gateway, Part, gateways

_ROOT = Path(__file__).parent.parent
_WARMUP_S = 0.5
_GRACE_S = 45.0  # for answers under way at the end, and for the load generator's own start
_STREAMED_HIT_S = 4.0  # LiteLLM takes more than a second for each of 32 at once
_NUMBERS = 10_000_000  # for the bodies of one measurement; the next begins behind them
_STRAY = 0.01  # of the calls of a measurement may be answered from elsewhere than the cell is about

ALL_CELLS = (
    *(
        Cell(kind, size, connections)
        for kind in ("plain", "burst", "whole")
        for size in ("1.7k", "100k")
        for connections in (1, 32)
    ),
    *(Cell("paced", "1.7k", connections) for connections in (1, 32, 64, 128, 256, 512)),
    Cell("paced", "100k", 32),
    *(Cell(kind, "1.7k", connections, hit=True) for kind in ("plain", "burst") for connections in (1, 32)),
)
QUICK_CELLS = ("plain-1.7k-*", "burst-1.7k-32", "whole-1.7k-32", "paced-1.7k-32", "hit*-1.7k-32")


@dataclass(frozen=True, slots=True)
class OverheadOptions:
    """What to measure. `seconds` is one measurement's window; empty `peers` or `cells` mean all of them."""

    json: Path | None = None
    peers: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    seconds: float = 2.0
    repetitions: int = 5
    peer_dir: Path = Path(".bench")


def run(options: OverheadOptions, console: Console | None = None) -> Report:
    """Measure, and give the report. Everything that was started has ended when this returns or raises."""
    console = console or Console(stderr=True)
    cores = usual_cores()
    known = [g for g in gateways(options.peer_dir) if not options.peers or {g.name, g.family} & set(options.peers)]
    cells = chosen_cells(options.cells)
    needed = [g for g in known if g.program and any(takes(g.part, cell) for cell in cells)]
    failed: dict[str, str] = {}
    with processes.on_cores(cores.load), Stand(cores) as stand:
        targets = [stand.direct(), *_start_all(stand, needed, failed, console)]
        measured = list(_measure_all(stand, targets, cells, options, console))
    return Report(
        machine=_machine(cores),
        versions={g.family: g.version for g in known if g.program},
        missing={g.family: g.install for g in known if not g.program},
        failed=failed,
        options={**asdict(options), "json": str(options.json), "peer_dir": str(options.peer_dir)},
        cells=measured,
    )


def _start_all(stand: Stand, found: Sequence[Gateway], failed: dict[str, str], console: Console) -> Iterator[Running]:
    for gateway in found:
        console.print(f"starting {gateway.name} {gateway.version}")
        try:
            yield stand.start(gateway)
        except DidNotStart as error:
            failed[gateway.name] = str(error)
            console.print(f"[red]{error}[/red]", highlight=False)


def chosen_cells(patterns: Sequence[str]) -> list[Cell]:
    """Pick the cells whose names match one of the patterns; no patterns pick all. Raises ValueError if none match."""
    cells = [cell for cell in ALL_CELLS if not patterns or any(fnmatch.fnmatch(cell.name, p) for p in patterns)]
    if not cells:
        raise ValueError(f"no such cell; there are {', '.join(cell.name for cell in ALL_CELLS)}")
    return cells


def takes(part: Part, cell: Cell) -> bool:
    """Say whether a target that is measured with this part of the calls has a place in this cell."""
    return part in {"both", "hits" if cell.hit else "misses"}


def with_control(targets: Sequence[Running]) -> list[Running]:
    """Add the control: ourselves a second time, or whoever is first besides the direct call, or the direct call."""
    first = next((t for t in targets if t.name == OURS), targets[min(1, len(targets) - 1)])
    return [*targets, replace(first, name=first.name + AGAIN)]


def _measure_all(
    stand: Stand, targets: Sequence[Running], cells: Sequence[Cell], options: OverheadOptions, console: Console
) -> Iterator[CellReport]:
    lineups = {cell: with_control([target for target in targets if takes(target.part, cell)]) for cell in cells}
    numbers = itertools.count(_NUMBERS, _NUMBERS)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=sum(map(len, lineups.values())) * options.repetitions)
        for cell, lineup in lineups.items():
            measures: dict[str, list[Measure]] = {target.name: [] for target in lineup}
            for repetition in range(options.repetitions):
                for target in _rotated(lineup, repetition):
                    progress.update(bar, description=f"{cell.name} {target.name}")
                    if not console.is_terminal:
                        console.print(
                            f"{cell.name} {repetition + 1}/{options.repetitions} {target.name}", highlight=False
                        )
                    measures[target.name].append(_measure(stand, target, cell, options.seconds, next(numbers)))
                    progress.advance(bar)
            yield CellReport(cell, measures)


def _rotated(lineup: Sequence[Running], by: int) -> list[Running]:
    start = by % len(lineup)
    return [*lineup[start:], *lineup[:start]]


def _measure(stand: Stand, target: Running, cell: Cell, seconds: float, number: int) -> Measure:
    """Check one answer, then load the target with calls from `number` on and weigh it meanwhile."""
    check = stand.warm if cell.hit and target.program else stand.ask
    try:
        expected = check(target, cell.kind, cell.size, number)
    except (OSError, WrongAnswer, NoHit) as error:
        return _failure(f"{type(error).__name__}: {error}")
    paced = cell.kind == "paced"
    warmup, seconds = (STREAM_S, max(seconds, 2 * STREAM_S)) if paced else (min(_WARMUP_S, seconds), seconds)
    if cell.hit and cell.kind == "burst" and cell.connections > 1:
        seconds = max(seconds, _STREAMED_HIT_S)
    spec = Spec(target.port, stand.key, cell.kind, cell.size, cell.connections, warmup, seconds, expected)
    # A miss is never asked twice: the check itself was call `number`, and may have been kept.
    spec = replace(spec, number=number if cell.hit else number + 1, equal=cell.hit)
    return judged(_weighed(stand, target, spec), hit=cell.hit and target.program is not None)


def judged(measure: Measure, *, hit: bool) -> Measure:
    """Make a measurement an error whose calls were not what the cell is about."""
    share = measure.upstream_share
    if measure.valid and (share > _STRAY if hit else share < 1 - _STRAY):
        wrong = f"should be {'hits' if hit else 'misses'}, but {share:.0%} reached the upstream"
        return replace(measure, errors={wrong: 1})
    return measure


def _weighed(stand: Stand, target: Running, spec: Spec) -> Measure:
    asked = stand.upstream_calls()
    before = _Gauge.read(stand, target)
    try:
        outcome = _load(spec)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        return _failure(f"load generator: {type(error).__name__}")
    spent = _Gauge.read(stand, target).since(before)
    wall = spec.warmup_s + spec.seconds
    latency, first, delay = outcome["latency"], outcome["first"], outcome["delay"]
    return Measure(
        rps=outcome["answers"] / outcome["seconds"] if outcome["answered"] else 0.0,
        cpu_us=spent.gateway / max(outcome["answered_in_all"], 1) * 1e6,
        p50_us=latency["p50"],
        p99_us=latency["p99"],
        first_p50_us=first["p50"],
        first_p99_us=first["p99"],
        delay_p50_us=delay["p50"],
        delay_p99_us=delay["p99"],
        memory_mb=sum(processes.memory_bytes(pid)[1] for pid in target.pids()) / 1e6,
        gateway_busy=spent.gateway / wall / len(stand.cores.gateway),
        load_busy=(spent.upstream + outcome["cpu_s"]) / wall / len(stand.cores.load),
        others_busy=max(0.0, spent.core - spent.gateway) / spent.clock / len(stand.cores.gateway),
        errors=outcome["errors"],
        upstream_share=(stand.upstream_calls() - asked) / max(outcome["answered_in_all"], 1),
    )


@dataclass(frozen=True, slots=True)
class _Gauge:
    """CPU seconds of the gateway, of the upstream and of the gateway's cores for whomever, at a time of the clock."""

    gateway: float
    upstream: float
    core: float
    clock: float

    @classmethod
    def read(cls, stand: Stand, target: Running) -> _Gauge:
        gateway = processes.cpu_seconds(target.pids())
        upstream = processes.cpu_seconds([stand.upstream.pid])
        return cls(gateway, upstream, processes.busy_seconds(stand.cores.gateway), time.monotonic())

    def since(self, before: _Gauge) -> _Gauge:
        return _Gauge(
            self.gateway - before.gateway,
            self.upstream - before.upstream,
            self.core - before.core,
            self.clock - before.clock,
        )


def _failure(why: str) -> Measure:
    return Measure(**dict.fromkeys((f.name for f in fields(Measure) if f.name != "errors"), 0.0), errors={why: 1})


def _load(spec: Spec) -> dict[str, Any]:
    """Run the load generator in a process of its own and give its outcome."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=orjson.dumps(asdict(spec)),
        capture_output=True,
        timeout=spec.warmup_s + spec.seconds + _GRACE_S,
        cwd=_ROOT,
        check=True,
    )
    outcome: dict[str, Any] = orjson.loads(done.stdout)
    return outcome


def _machine(cores: Cores) -> dict[str, Any]:
    return {
        "cpu": processes.cpu_model(),
        "cores": os.cpu_count(),
        "gateway_cores": list(cores.gateway),
        "load_cores": list(cores.load),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def options_from(argv: Sequence[str]) -> OverheadOptions:
    """Read the command line; ends the program on a wrong one, as argparse does."""
    parser = argparse.ArgumentParser(
        "sluice bench overhead", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report here")
    parser.add_argument(
        "--peers", default="", help="only these gateways, by comma (sluice is one); `none`: the direct call only"
    )
    parser.add_argument("--cells", default="", help="only these cells, by comma; * matches: plain-*,burst-1.7k-32")
    parser.add_argument("--seconds", type=float, default=2.0, help="one measurement's window (2)")
    parser.add_argument("--repetitions", type=int, default=5, help="measurements of each target in each cell (5)")
    parser.add_argument("--quick", action="store_true", help="few cells, three repetitions of one second")
    parser.add_argument(
        "--peer-dir", type=Path, default=Path(".bench"), help="where peers have their environments (.bench)"
    )
    args = parser.parse_args(argv)
    cells = tuple(filter(None, args.cells.split(","))) or (QUICK_CELLS if args.quick else ())
    try:
        chosen_cells(cells)
    except ValueError as error:
        parser.error(str(error))
    quick = (
        {"seconds": 1.0, "repetitions": 3} if args.quick else {"seconds": args.seconds, "repetitions": args.repetitions}
    )
    return OverheadOptions(
        args.json, tuple(filter(None, args.peers.split(","))), cells, peer_dir=args.peer_dir, **quick
    )


def main(argv: Sequence[str]) -> int:
    """Measure, print the tables, write the JSON; status 1 if an answer of ours was wrong."""
    options = options_from(argv)
    # An unhandled SIGTERM would leave the gateways running; as an exception it passes every `with` on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(options)
    show(report, Console(width=None if sys.stdout.isatty() else 150))
    if options.json:
        options.json.write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
    return 0 if report.valid else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
