"""Single flight and its Redis, by real gateways: are 1,000 equal calls one upstream call, and what does an outage cost?

sluice bench flight                    everything; some minutes
sluice bench flight --quick            each once
sluice bench flight --parts outage     only that; also: one, three, workers

Equal calls at once, plain, streamed and both, over one process, three gateways on a Redis, and two workers on a Redis;
the control has cache and single flight switched off. Then Redis is black-holed (stopped: it accepts and never answers),
resumed, killed and restarted, under a steady load of 100 calls a second over two gateways. Exit status 1 if equal calls
were not exactly one upstream call and one answer, or if any call failed or got another call's answer.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import equals, outage, processes
from benchmarks.equals import FORMS, SETUPS, Burst
from benchmarks.outage import Called, Cycle, PhaseReport
from benchmarks.report import Goal
from benchmarks.sharing import has_redis, usual_cores
from benchmarks.statistics import Estimate

OUTAGE = "outage"
PARTS = (*SETUPS, OUTAGE)
NO_REDIS = "redis-server is not installed"
DEADLINE_MS = 50.0  # the policy's default for the store behind memory


@dataclass(frozen=True, slots=True)
class FlightOptions:
    """What to measure. `seconds` is the length of each long phase of an outage."""

    calls: int = 1_000
    repetitions: int = 5
    seconds: float = 4.0
    parts: tuple[str, ...] = PARTS
    json: Path | None = None


@dataclass(slots=True)
class FlightReport:
    """All that was measured; `skipped` says of each part that was not why."""

    options: FlightOptions
    bursts: list[Burst] = field(default_factory=list)
    phases: list[PhaseReport] = field(default_factory=list)
    noise: Estimate | None = None
    trouble: list[str] = field(default_factory=list)  # of calls during an outage
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """Say what went wrong; nothing if all is well."""
        found = [f"{b.setup}, {b.form}: {fault}" for b in self.bursts if b.together for fault in b.faults]
        found += [f"{b.setup}, {b.form}, control: {fault}" for b in self.bursts if not b.together for fault in b.faults]
        return found + self.trouble

    def goals(self) -> list[Goal]:
        """Hold what an outage adds to the 99th percentile against the targets."""
        added = {phase.name: phase.added_p99 for phase in self.phases}
        at_first, then = "added p99 (ms) until the breaker is open", "added p99 (ms) while it is open"
        return [
            Goal(f"black-holed: {at_first}", DEADLINE_MS, added.get(outage.FIRST_SILENT)),
            Goal(f"black-holed: {then}", 0.0, added.get(outage.SILENT)),
            Goal(f"killed: {at_first}", DEADLINE_MS, added.get(outage.FIRST_DEAD)),
            Goal(f"killed: {then}", 0.0, added.get(outage.DEAD)),
        ]


def run(
    options: FlightOptions, console: Console | None = None, *, has_redis: Callable[[], bool] = has_redis
) -> FlightReport:
    """Measure one part after the other. Everything that was started has ended when this returns or raises."""
    report = FlightReport(options)
    with processes.on_cores(usual_cores().load), Progress(console=console or Console(stderr=True)) as progress:
        for part in options.parts:
            setup = SETUPS.get(part)
            if (setup is None or setup.on_redis) and not has_redis():
                report.skipped[part] = NO_REDIS
                continue
            steps = options.repetitions if setup is None else (options.repetitions + 1) * len(FORMS)
            bar = progress.add_task(part, total=steps)
            _measure(report, part, lambda bar=bar: progress.advance(bar))  # type: ignore[misc]
    return report


def _measure(report: FlightReport, part: str, done: Callable[[], None]) -> None:
    options = report.options
    if part == OUTAGE:
        measured: list[Cycle] = []
        for cycle in outage.cycles(options.seconds, options.repetitions):
            measured.append(cycle)
            report.trouble += _troubles(cycle.called)
            done()
        report.phases, report.noise = outage.report(measured), outage.noise(measured)
        return
    # The control needs no repetitions: it shows that what counts one call would count many.
    for together, repetitions in ((True, options.repetitions), (False, 1)):
        for burst in equals.bursts(SETUPS[part], options.calls, repetitions, together=together):
            report.bursts.append(burst)
            done()


def _troubles(called: Sequence[Called]) -> Iterator[str]:
    for one in called:
        if one.trouble or one.wrong:
            yield f"{one.phase}, {one.at:.2f} s in cycle {one.cycle}: {one.trouble or 'the answer to another call'}"


def to_json(report: FlightReport) -> dict[str, Any]:
    """Give the report as plain values."""
    options = {**asdict(report.options), "json": str(report.options.json)}
    goals = [{**asdict(goal), "verdict": goal.verdict} for goal in report.goals()]
    return {**asdict(report), "options": options, "faults": report.faults, "goals": goals}


def show(report: FlightReport, console: Console) -> None:
    """Print the tables, the goals and the verdict."""
    if report.bursts:
        console.print(_bursts(report.bursts))
    if report.phases:
        console.print(_phases(report.phases))
        noise = "-" if report.noise is None else _interval(report.noise)
        console.print(
            "hits: of repeated calls, at the gateway that had the first one and at the other; "
            "others' CPU: what other programs took of the cores, the most of all cycles",
            highlight=False,
        )
        console.print(f"control: added p99 of the second half of healthy to its first: {noise} ms", highlight=False)
        for goal in report.goals():
            measured = "-" if goal.measured is None else _interval(goal.measured)
            console.print(f"goal: {goal.what} ≤ {goal.bound:g}: {measured} {goal.verdict}", highlight=False)
    for part, why in report.skipped.items():
        console.print(f"{part} was not measured: {why}", highlight=False)
    for fault in report.faults:
        console.print(f"fault: {fault}", highlight=False, markup=False)


def _bursts(bursts: Sequence[Burst]) -> Table:
    title = "Equal calls at once (of several repetitions the lowest and the highest)"
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("over", "form", "cache and flight"):
        table.add_column(heading, no_wrap=True)
    for heading in ("repetitions", "calls", "upstream calls", "different answers", "failed", "last answer / direct"):
        table.add_column(heading, justify="right")
    groups: dict[tuple[str, bool, str], list[Burst]] = {}
    for burst in bursts:
        groups.setdefault((burst.setup, burst.together, burst.form), []).append(burst)
    for (setup, together, form), rows in groups.items():
        figures = map(_range, _columns(rows))
        table.add_row(setup, form, "on" if together else "control: off", str(len(rows)), *figures)
    return table


def _columns(rows: Sequence[Burst]) -> list[list[float]]:
    return [
        [b.calls for b in rows],
        [b.upstream for b in rows],
        [b.distinct for b in rows],
        [sum(b.failed.values()) for b in rows],
        [b.times for b in rows],
    ]


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:,.0f}" if value == int(value) else f"{value:.2f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _phases(phases: Sequence[PhaseReport]) -> Table:
    table = Table(
        title="Redis out of order under load: two gateways, 100 calls a second",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("Redis", no_wrap=True)
    latencies = ("p50 ms", "p99 ms", "longest ms", "+p99 ms (95 %)")
    for heading in ("calls", "failed", "wrong", *latencies, "hits, same gateway", "hits, other", "others' CPU"):
        table.add_column(heading, justify="right", no_wrap=heading in latencies)
    for phase in phases:
        counts = map(str, (phase.calls, phase.failed, phase.wrong))
        added = "" if phase.added_p99 is None else _interval(phase.added_p99)
        hits = (f"{phase.hits[where]:.0%}" for where in ("same", "other"))
        took = (f"{value:.2f}" for value in (phase.p50, phase.p99, phase.longest))
        table.add_row(phase.name, *counts, *took, added, *hits, f"{phase.others:.0%}")
    return table


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} ({estimate.low:+.2f} to {estimate.high:+.2f})"


def options_from(argv: Sequence[str]) -> FlightOptions:
    """Read the command line; ends the program on a wrong one, as argparse does."""
    parser = argparse.ArgumentParser(
        "sluice bench flight", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000, help="equal calls at once (1000)")
    parser.add_argument("--repetitions", type=int, default=5, help="bursts of each sort, and outages (5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each long phase of an outage (4)")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"only these, by comma ({','.join(PARTS)})")
    parser.add_argument("--quick", action="store_true", help="one repetition, phases of two seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report here")
    args = parser.parse_args(argv)
    parts = tuple(filter(None, args.parts.split(",")))
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}")
    if args.calls < 1 or args.repetitions < 1 or args.seconds <= 0:
        parser.error("calls, repetitions and seconds must be positive")
    repetitions, seconds = (1, 2.0) if args.quick else (args.repetitions, args.seconds)
    return FlightOptions(args.calls, repetitions, seconds, parts, args.json)


def main(argv: Sequence[str]) -> int:
    """Measure, print, write the JSON; status 1 if anything failed or equal calls were not one."""
    options = options_from(argv)
    # An unhandled SIGTERM would leave the gateways running; as an exception it passes every `with` on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(options)
    show(report, Console(width=None if sys.stdout.isatty() else 150))
    if options.json:
        options.json.write_bytes(orjson.dumps(to_json(report), option=orjson.OPT_INDENT_2))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
