"""How soon the dashboard's pages are there over a million records, and what reading them does to calls.

    sluice bench dashboard              both; some ten minutes
    sluice bench dashboard --paint      only how soon pages are painted, in a real Chromium
    sluice bench dashboard --calls      only the p99 of calls, with heavy use of the dashboard and without

Both stand on a real `sluice serve` over a seeded ledger. What is timed is told at the top of `benchmarks.paint` and of
`benchmarks.readers`. Calls are measured with the gateway's processes on one core and the load on the other, and once
more with all of them on all cores. Exit status 1 if a target was missed for certain.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress

from benchmarks import paint, readers
from benchmarks.chromium import where
from benchmarks.paint import Painted, median
from benchmarks.readers import CONTROL, WITH, WITHOUT, Admin, Found, Load
from benchmarks.records import Recipe, seed
from benchmarks.stand import Cores, Stand, usual_cores
from benchmarks.statistics import Estimate, mean
from gateway.ledger import LedgerReader

PAINT_S = 2.0  # until the figures are painted
P99 = 1.05  # of that without anybody reading
_DAYS = 29.5  # so that all records lie within the 30 days of the page
_PARTS = ("paint", "calls")


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """What to measure, how often, and over how many records."""

    parts: tuple[str, ...] = _PARTS
    records: int = 1_000_000
    repetitions: int = 10
    seconds: float = 5.0
    share: float = 0.5
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class DashboardReport:
    """All measurements: of each page, and of calls in each arrangement of the cores."""

    painted: dict[str, list[Painted]]
    calls: dict[str, Found]

    @property
    def missed(self) -> list[str]:
        """Say which targets were missed for certain."""
        late = [name for name, all_ in self.painted.items() if median([p.first for p in all_]).low > PAINT_S * 1e3]
        moved = [name for name, found in self.calls.items() if (r := found.ratio(WITH)) is not None and r.low > P99]
        wrong = [name for name, found in self.calls.items() if found.errors]
        return [
            *(f"{name}: not painted in {PAINT_S:g} s" for name in late),
            *(f"{name}: heavy use moves the p99 of calls by more than {P99 - 1:.0%}" for name in moved),
            *(f"{name}: some calls failed" for name in wrong),
        ]


def run(options: DashboardOptions, console: Console) -> DashboardReport:
    """Seed, measure, and give the report. What was started has ended when this returns or raises."""
    report = DashboardReport({}, {})
    browser = where()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Progress(console=console) as progress:
        ledger = Path(folder) / "ledger.sqlite"
        bar = progress.add_task("seeding", total=options.records)
        seed(
            ledger,
            Recipe(options.records, time.time(), _DAYS),
            lambda written: progress.update(bar, completed=written),
        )
        if "paint" in options.parts and browser is None:
            console.print("pages were not measured: there is no Chromium (apt-get install chromium)")
        elif "paint" in options.parts and browser is not None:
            report.painted.update(_paint(browser, ledger, options.repetitions, progress))
        if "calls" in options.parts:
            report.calls.update(_calls(browser, ledger, options, progress))
    return report


def _paint(browser: str, ledger: Path, repetitions: int, progress: Progress) -> dict[str, list[Painted]]:
    (newest,) = LedgerReader(ledger).recent(1)
    pages = [*paint.OVERVIEWS, paint.REQUESTS, paint.one_call(newest["id"])]
    found: dict[str, list[Painted]] = {page.name: [] for page in pages}
    bar = progress.add_task("pages", total=repetitions * len(pages))
    with Stand(_everywhere()) as stand:
        admin = Admin.of(stand, stand.start(readers.gateway(ledger)))
        for name, painted in paint.visits(browser, admin.url, admin.token, pages, repetitions):
            found[name].append(painted)
            progress.advance(bar)
    return found


def _calls(browser: str | None, ledger: Path, options: DashboardOptions, progress: Progress) -> dict[str, Found]:
    load = Load(options.repetitions, options.seconds, options.share)
    found = {}
    for name, cores in (("gateway on one core", usual_cores()), ("no pinning", _everywhere())):
        bar = progress.add_task(name, total=load.repetitions)
        found[name] = readers.measure(ledger, cores, load, browser, lambda bar=bar: progress.advance(bar))  # type: ignore[misc]
    return found


def _everywhere() -> Cores:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    return Cores(cores, cores)


def show(report: DashboardReport, console: Console) -> None:
    """Print every figure with its interval."""
    if report.painted:
        console.print(f"Seconds until painted, median and its 95 % interval (target: {PAINT_S:g} s, never been here)")
    for name, all_ in report.painted.items():
        first, again = (median([getattr(p, way) / 1e3 for p in all_]) for way in ("first", "again"))
        console.print(f"  {name:16} {_interval(first)}   again {_interval(again)}", highlight=False)
    for name, found in report.calls.items():
        _show_calls(name, found, console)


def _show_calls(name: str, found: Found, console: Console) -> None:
    console.print(
        f"Calls, {name}: {found.rate:.0f} a second; {len(found.windows[WITH])} repetitions, "
        f"{found.crowded} left out, for other programs were busy",
        highlight=False,
    )
    for key, windows in found.windows.items():
        if windows:
            p50, p99, admin, worker, late = (
                mean([getattr(w, figure) for w in windows]).value
                for figure in ("p50_us", "p99_us", "admin", "worker", "late_p99_us")
            )
            told = f"p50 {p50:7.0f} us  p99 {p99:7.0f} us  admin {admin:4.0%}  worker {worker:4.0%} of a core"
            console.print(f"  {key:12} {told}  (sent late, p99: {late:.0f} us)", highlight=False)
    for key, figure in ((WITH, "p99_us"), (CONTROL, "p99_us"), (WITH, "p50_us"), (CONTROL, "p50_us")):
        if (ratio := found.ratio(key, figure)) is not None:
            said = f"{figure[:3]}, {key} over {WITHOUT}"
            console.print(f"  {said:32} {_interval(ratio)}", highlight=False)
    console.print(f"  p99 at most {P99:g} times: {_verdict(found)}", highlight=False)


def _verdict(found: Found) -> str:
    ratio = found.ratio(WITH)
    if ratio is None or found.errors:
        return "no verdict: some calls failed, or nothing could be measured"
    return "missed" if ratio.low > P99 else "met" if ratio.high <= P99 else "not certain"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f}  ({estimate.low:.2f} to {estimate.high:.2f})"


def options_from(argv: Sequence[str]) -> DashboardOptions:
    """Read the command line; ends the program on a wrong one, as argparse does."""
    parser = argparse.ArgumentParser(
        "sluice bench dashboard", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--paint", action="store_true", help="only how soon pages are painted")
    parser.add_argument("--calls", action="store_true", help="only what reading does to calls")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many to seed (1000000)")
    parser.add_argument("--repetitions", type=int, default=10, help="of each measurement (10)")
    parser.add_argument("--seconds", type=float, default=5.0, help="one window of calls (5)")
    parser.add_argument("--share", type=float, default=0.5, help="calls a second, of what the gateway can (0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements here")
    args = vars(parser.parse_args(argv))
    wanted = tuple(part for part in _PARTS if args.pop(part))
    return DashboardOptions(wanted or _PARTS, **args)


def main(argv: Sequence[str]) -> int:
    """Measure, print, write the JSON; status 1 if a target was missed for certain."""
    options = options_from(argv)
    # An unhandled SIGTERM would leave the gateways running; as an exception it passes every `with` on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 150)
    report = run(options, Console(stderr=True))
    show(report, console)
    for missed in report.missed:
        console.print(f"missed: {missed}")
    if options.json:
        options.json.write_bytes(orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2))
    return int(bool(report.missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
