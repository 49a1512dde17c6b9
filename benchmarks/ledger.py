"""What the ledger costs the calls it records, and how soon its pages are there.

    sluice bench ledger             throughput with the ledger over throughput of a worker that keeps no record
    sluice bench ledger --pages     each of the dashboard's questions, over a million records

Calls are plain, of 1.7 KB, passed on without a cache: the lightest there are, so the ledger's share is the largest.
Both workers stand at once on one core and are measured in turn, each repetition beginning with the other one. A worker
without records does nothing at all with a call that ended: no row, no sums, no metrics. The other one has its recorder
beside it on the same core, as on a machine of one core; what the recorder has not done when a measurement ends it does
before the next one begins, and its CPU time is counted to the end of that.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress, track

from benchmarks import processes, statistics
from benchmarks.load import Spec
from benchmarks.records import Recipe, seed
from benchmarks.stand import Running, Stand, usual_cores
from benchmarks.statistics import Estimate
from benchmarks.targets import Gateway, Launch, Site
from gateway.admin.workers import read_workers
from gateway.families import CALLS
from gateway.ledger import Filters, LedgerReader
from gateway.metrics import merged
from gateway.state import State

SHARE = 0.05  # of the throughput that the ledger may cost
PAGE_MS = 150.0  # an overview may take, over any range
WITH, WITHOUT = "with ledger", "without"
_ROOT = Path(__file__).parent.parent
_CONNECTIONS = 32
_SETTLE_S = 0.5
_CATCH_UP_S = 120.0
_NUMBERS = 10_000_000  # for the bodies of one measurement; the next begins behind them
_NOW = 1_795_000_000.0  # Unix time at which the seeded records end
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """How often and how long to measure, and over how many records pages are asked for."""

    repetitions: int = 10
    seconds: float = 3.0
    records: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Measure:
    """One measurement of one worker: right answers a second, and its CPU time for each."""

    rps: float
    cpu_us: float  # of the worker
    errors: int
    recorder_us: float = 0.0  # CPU time of the recorder, for each
    behind: float = 0.0  # records that were still to be taken in at the end
    catch_up_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CostReport:
    """All measurements, pairwise."""

    measures: dict[str, list[Measure]]

    def ratio(self, figure: str) -> Estimate | None:
        """Estimate a figure with the ledger over the same without."""
        ours, theirs = ([getattr(m, figure) for m in self.measures[name]] for name in (WITH, WITHOUT))
        return statistics.ratio(ours, theirs)

    @property
    def is_valid(self) -> bool:
        """Say whether every call was answered rightly."""
        return not any(measure.errors for measures in self.measures.values() for measure in measures)


def cost(options: LedgerOptions, console: Console) -> CostReport:
    """Measure both workers. What was started has ended when this returns or raises."""
    cores = usual_cores()
    measures: dict[str, list[Measure]] = {WITH: [], WITHOUT: []}
    with processes.on_cores(cores.load), Stand(cores) as stand:
        targets = [stand.start(_worker(name)) for name in measures]
        numbers = iter(range(_NUMBERS, _NUMBERS * (2 * options.repetitions + 2), _NUMBERS))
        for repetition in track(range(options.repetitions), "with and without", console=console):
            for target in targets[:: 1 if repetition % 2 else -1]:
                measures[target.name].append(_measure(stand, target, options.seconds, next(numbers)))
                time.sleep(_SETTLE_S)  # what was left to do, of either kind, is not the next one's
    return CostReport(measures)


def _worker(name: str) -> Gateway:
    return Gateway(name, Path(sys.executable), "", "", partial(_launch, forgets=name == WITHOUT))


def _launch(program: Path, site: Site, *, forgets: bool) -> Launch:
    policy = site.folder / "policy.yaml"
    policy.write_text(
        f"upstreams:\n  static:\n    url: 'http://127.0.0.1:{site.upstream_port}/v1'\n"
        "    prices: {'*': {input: 1.25, cached_input: 0.125, output: 10}}\n"
        "models:\n  static: {targets: [{upstream: static}]}\n"
        "keys:\n  - {name: bench, key: '${BENCH_KEY}', tenant: bench}\n"
        "rules:\n  - {name: plain, cache: {exact: false, coalesce: false}}\n"
    )
    argv = [str(program), "-m", "benchmarks.recording", "--port", str(site.port), "--policy", str(policy)]
    argv += ["--state", str(site.folder / "state"), *(["--forget"] if forgets else [])]
    return Launch(argv, {"BENCH_KEY": site.key, "PYTHONPATH": str(_ROOT)})


def _measure(stand: Stand, target: Running, seconds: float, number: int) -> Measure:
    expected = stand.ask(target, "plain", "1.7k", number)
    spec = Spec(target.port, stand.key, "plain", "1.7k", _CONNECTIONS, 0.5, seconds, expected, number + 1)
    state = State(stand.folder / target.name / "state")
    worker, *recorder = target.pids()
    _until_caught_up(state)
    before, earlier, known = processes.cpu_seconds([worker]), processes.cpu_seconds(recorder), _counted(state)
    outcome = _load(spec)
    calls = max(outcome["answered_in_all"], 1)
    spent = processes.cpu_seconds([worker]) - before
    behind = max(0.0, calls + known - _counted(state)) if recorder else 0.0
    caught_up = _until_caught_up(state)
    later = processes.cpu_seconds(recorder) - earlier
    rps, errors = outcome["answers"] / outcome["seconds"], sum(outcome["errors"].values())
    return Measure(rps, spent / calls * 1e6, errors, later / calls * 1e6, behind, caught_up)


def _counted(state: State) -> float:
    """Calls that the recorder has counted."""
    return sum(sum(merged([each]).counters[CALLS.name].values()) for each in read_workers(state))


def _until_caught_up(state: State) -> float:
    """Wait until the spool has been read; how long that took, in seconds. Raises TimeoutError."""
    began = time.monotonic()
    time.sleep(_SETTLE_S)  # the worker itself hands its records over now and then
    while any(each.get("behind") for each in read_workers(state)):
        if time.monotonic() - began > _CATCH_UP_S:
            raise TimeoutError(f"the recorder has not caught up in {_CATCH_UP_S:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - began


def _load(spec: Spec) -> dict[str, Any]:
    """Run the load generator in a process of its own and give its outcome."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=orjson.dumps(asdict(spec)),
        capture_output=True,
        timeout=spec.warmup_s + spec.seconds + 45,
        cwd=_ROOT,
        check=True,
    )
    outcome: dict[str, Any] = orjson.loads(done.stdout)
    return outcome


def pages(path: Path, repetitions: int = 5) -> Iterator[tuple[str, float]]:
    """Ask each of the pages' questions and give its name and its median time in ms, over records seeded to `_NOW`."""
    for name, ask in questions(LedgerReader(path, seconds=60.0), _NOW):
        times = []
        for _ in range(repetitions):
            began = time.perf_counter()
            ask()
            times.append((time.perf_counter() - began) * 1e3)
        yield name, sorted(times)[len(times) // 2]


def questions(reader: LedgerReader, now: float) -> list[tuple[str, Callable[[], Any]]]:
    """What pages ask, over records that end at `now` (Unix time)."""
    (newest,) = reader.recent(1)
    (oldest,) = reader.recent(1, before=2)
    month, acme = now - 30 * _DAY, Filters(tenant="acme")
    return [
        *(
            (f"overview, {hours} h", partial(reader.overview, now - hours * 3600, now))
            for hours in (1, 24, 7 * 24, 30 * 24)
        ),
        ("overview, 30 d, one tenant", partial(reader.overview, month, now, acme)),
        ("overview, 24 h, one tag (rows)", partial(reader.overview, now - _DAY, now, Filters(tag="eval"))),
        ("search, newest", reader.search),
        ("search, newest of an outcome", partial(reader.search, 50, None, Filters(outcome="timeout"))),
        ("search, dearest", partial(reader.search, 50, None, None, "dearest")),
        ("search, slowest", partial(reader.search, 50, None, None, "slowest")),
        ("search, a whole id", partial(reader.search, 50, None, Filters(q=newest["id"]))),
        ("search, a word that is nowhere", partial(reader.search, 50, None, Filters(q="nowhere"))),
        ("one, the newest", partial(reader.one, newest["id"])),
        ("one, the oldest", partial(reader.one, oldest["id"])),
        ("profile by model, 24 h", partial(reader.profile, now - _DAY, now, "model")),
        ("profile by tag, 30 d", partial(reader.profile, month, now, "tag")),
    ]


def options_from(argv: Sequence[str]) -> tuple[LedgerOptions, bool]:
    """Read the command line: the options, and whether it is pages that are asked for."""
    parser = argparse.ArgumentParser(
        "sluice bench ledger", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pages", action="store_true", help="time the pages' questions instead")
    parser.add_argument("--records", type=int, default=1_000_000, help="seeded for --pages (1000000)")
    parser.add_argument("--repetitions", type=int, default=10, help="measurements of each worker (10)")
    parser.add_argument("--seconds", type=float, default=3.0, help="one measurement's window (3)")
    args = vars(parser.parse_args(argv))
    asks_pages = args.pop("pages")
    return LedgerOptions(**args), asks_pages


def main(argv: Sequence[str]) -> int:
    """Measure and print; status 1 if a target was missed for certain."""
    options, asks_pages = options_from(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console()
    return _main_pages(options, console) if asks_pages else _main_cost(options, console)


def _main_cost(options: LedgerOptions, console: Console) -> int:
    report = cost(options, Console(stderr=True))
    for name, measures in report.measures.items():
        rps, cpu = statistics.mean([m.rps for m in measures]), statistics.mean([m.cpu_us for m in measures])
        console.print(f"{name:12} {rps.value:8.0f} calls/s  {cpu.value:7.1f} us CPU a call", highlight=False)
    spent, behind, late = (
        statistics.mean([getattr(m, figure) for m in report.measures[WITH]]).value
        for figure in ("recorder_us", "behind", "catch_up_s")
    )
    console.print(
        f"{'recorder':29} {spent:7.1f} us CPU a call; {behind:.0f} calls behind at the end, {late:.1f} s to catch up",
        highlight=False,
    )
    throughput, cpu_time = report.ratio("rps"), report.ratio("cpu_us")
    for what, found in (("throughput", throughput), ("worker's CPU a call", cpu_time)):
        if found is not None:
            console.print(f"{what}, with over without: {found.value:.3f}  (95 %: {found.low:.3f} to {found.high:.3f})")
    if throughput is None or not report.is_valid:
        console.print("some calls failed: no verdict")
        return 1
    verdict = "missed" if throughput.high < 1 - SHARE else "met" if throughput.low >= 1 - SHARE else "not certain"
    console.print(f"at most {SHARE:.0%} of the throughput: {verdict}")
    return int(verdict == "missed")


def _main_pages(options: LedgerOptions, console: Console) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "ledger.sqlite"
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("seeding", total=options.records)
            seed(path, Recipe(options.records, _NOW), lambda written: progress.update(bar, completed=written))
        found = list(pages(path))
    for name, ms in found:
        console.print(f"{name:45} {ms:8.1f} ms", highlight=False)
    late = [name for name, ms in found if name.startswith("overview") and "rows" not in name and ms > PAGE_MS]
    for name in late:
        console.print(f"missed: {name} in {PAGE_MS:.0f} ms")
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
