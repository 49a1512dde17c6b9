"""Does a gateway stay flat? Many mixed calls (plain, streamed, upstream errors, disconnects), and what remains of them.

    sluice bench soak                   200,000 calls, some minutes
    sluice bench soak --calls 20000     a first look

Memory, descriptors and connections of all its processes are sampled on the way. After the first quarter, memory must
not rise; at the end, when all clients have gone, no client's connection, no other descriptor than before, and no call
on the upstream may be left. Exit status 1 if one of these is not so.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import uvloop
from rich.console import Console
from rich.progress import Progress

from benchmarks import mix, processes, statistics
from benchmarks.mix import Score
from benchmarks.stand import Running, Stand, usual_cores
from benchmarks.statistics import Estimate
from benchmarks.targets import OURS, gateways

_WARM_UP = 0.25  # of all calls; before that, pools and caches fill
_SETTLE_S = 15.0
_SAMPLES = 200
_FLAT_MB = 2.0  # a rise per 100,000 calls that nobody would notice in a month of a small office


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """What to soak and how long; `target` is a gateway's name."""

    calls: int = 200_000
    connections: int = 32
    target: str = OURS
    json: Path | None = None
    peer_dir: Path = Path(".bench")


@dataclass(frozen=True, slots=True)
class Sample:
    """A gateway at one moment, all its processes together."""

    calls: int
    rss_mb: float
    descriptors: int
    connections: int


@dataclass(frozen=True, slots=True)
class Rest:
    """A gateway without clients: what it still holds. `others` are descriptors that are no connections."""

    rss_mb: float
    others: int
    client_connections: int
    upstream_connections: int
    upstream_busy: int


@dataclass(frozen=True, slots=True)
class SoakReport:
    """A whole run; `rise` is MB of resident memory per 100,000 calls after warm-up."""

    options: SoakOptions
    seconds: float
    score: Score
    samples: list[Sample]
    rise: Estimate
    before: Rest
    after: Rest
    by_process: dict[str, float] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """Say what is not flat; nothing if all is well."""
        after, before = self.after, self.before
        found = [f"{count} x {what}" for what, count in self.score.wrong.items()]
        if self.rise.low > 0 and self.rise.value > _FLAT_MB:
            found.append(f"memory rises by {self.rise.value:.1f} MB per 100,000 calls")
        if after.client_connections:
            found.append(f"{after.client_connections} connections of clients that are gone")
        if after.upstream_busy:
            found.append(f"{after.upstream_busy} calls still under way at the upstream")
        if after.others > before.others:
            found.append(f"{after.others - before.others} descriptors more than before")
        if after.upstream_connections > self.options.connections:
            found.append(f"{after.upstream_connections} connections kept to the upstream")
        return found


def run(options: SoakOptions, console: Console | None = None) -> SoakReport:
    """Soak one gateway and give the report. Everything that was started has ended when this returns or raises."""
    console = console or Console(stderr=True)
    gateway = next((g for g in gateways(options.peer_dir) if g.name == options.target), None)
    if gateway is None or gateway.program is None:
        raise ValueError(f"{options.target} is not here: {gateway.install if gateway else 'no such gateway'}")
    cores = usual_cores()
    with processes.on_cores(cores.load), Stand(cores, faulty=True) as stand:
        target = stand.start(gateway)
        # The same traffic first, a little of it: lazily opened files and full pools are no leak.
        _drive(stand, target, max(1_000, options.calls // 100), options.connections, lambda _: None)
        before = _rest(stand, target)
        samples: list[Sample] = []
        began = time.monotonic()
        with Progress(console=console) as progress:
            bar = progress.add_task(f"{options.calls:,} calls", total=options.calls)
            every = max(1, options.calls // _SAMPLES)

            def on_call(calls: int) -> None:
                if calls % every == 0:
                    samples.append(_sample(target, calls))
                    progress.update(bar, completed=calls)

            score = _drive(stand, target, options.calls, options.connections, on_call)
        seconds = time.monotonic() - began
        after = _rest(stand, target)
        return SoakReport(options, seconds, score, samples, _rise(samples), before, after, _by_process(target))


def _drive(stand: Stand, target: Running, calls: int, workers: int, on_call: Callable[[int], None]) -> Score:
    """Make the calls and tell their number after each."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_call(done)

    return uvloop.run(mix.drive(target.port, stand.key, calls, workers, count))


def _sample(target: Running, calls: int) -> Sample:
    pids = target.pids()
    rss = sum(processes.memory_bytes(pid)[0] for pid in pids) / 1e6
    held = sum(len(processes.connections(pid)) for pid in pids)
    return Sample(calls, rss, sum(map(processes.descriptors, pids)), held)


def _rise(samples: Sequence[Sample]) -> Estimate:
    warm = samples[int(len(samples) * _WARM_UP) :]
    return statistics.slope([s.calls / 100_000 for s in warm], [s.rss_mb for s in warm])


def _rest(stand: Stand, target: Running) -> Rest:
    """Wait until the gateway holds no client and the upstream answers no call, or for some seconds; then look."""
    ends = time.monotonic() + _SETTLE_S
    while True:
        rest = _look(stand, target)
        if not (rest.client_connections or rest.upstream_busy) or time.monotonic() > ends:
            return rest
        time.sleep(0.1)


def _look(stand: Stand, target: Running) -> Rest:
    pids = target.pids()
    held = [pair for pid in pids for pair in processes.connections(pid)]
    return Rest(
        rss_mb=sum(processes.memory_bytes(pid)[0] for pid in pids) / 1e6,
        others=sum(map(processes.descriptors, pids)) - len(held),
        client_connections=sum(1 for local, _ in held if local == target.port),
        upstream_connections=sum(1 for _, remote in held if remote == stand.upstream_port),
        upstream_busy=_upstream_busy(stand.upstream_port),
    )


def _upstream_busy(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/stats")
        return int(orjson.loads(connection.getresponse().read())["busy"])
    finally:
        connection.close()


def _by_process(target: Running) -> dict[str, float]:
    return {processes.command(pid): processes.memory_bytes(pid)[0] / 1e6 for pid in target.pids()}


def to_json(report: SoakReport) -> dict[str, Any]:
    """Give the report as plain values."""
    options = {**asdict(report.options), "json": str(report.options.json), "peer_dir": str(report.options.peer_dir)}
    score = {"calls": report.score.calls, "done": dict(report.score.done), "wrong": dict(report.score.wrong)}
    plain = {name: value for name, value in asdict(replace(report, score=Score())).items() if name != "score"}
    return {**plain, "options": options, "score": score, "faults": report.faults}


def show(report: SoakReport, console: Console) -> None:
    """Print what was done, what remained, and the verdict."""
    score, rise = report.score, report.rise
    console.print(f"{score.calls:,} calls in {report.seconds:.0f} s:", highlight=False)
    for name, count in score.done.most_common():
        console.print(f"  {count:>9,}  {name}", highlight=False)
    console.print(
        f"resident memory after warm-up: {rise.value:+.2f} MB per 100,000 calls "
        f"(95 %: {rise.low:+.2f} to {rise.high:+.2f})",
        highlight=False,
    )
    console.print(f"before: {report.before}\nafter:  {report.after}", highlight=False)
    for name, megabytes in report.by_process.items():
        console.print(f"  {megabytes:7.1f} MB  {name}", highlight=False, markup=False)
    for fault in report.faults:
        console.print(f"not flat: {fault}", highlight=False, markup=False)
    console.print("flat" if not report.faults else "NOT flat")


def main(argv: Sequence[str]) -> int:
    """Soak, print, write the JSON; status 1 if something is not flat."""
    parser = argparse.ArgumentParser(
        "sluice bench soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=200_000, help="how many calls (200000)")
    parser.add_argument("--connections", type=int, default=32, help="how many at a time (32)")
    parser.add_argument("--target", default=OURS, help="which gateway; the peers of `overhead` work too (sluice)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report here")
    parser.add_argument("--peer-dir", type=Path, default=Path(".bench"), help="where peers have their environments")
    options = SoakOptions(**vars(parser.parse_args(argv)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(options)
    show(report, Console())
    if options.json:
        options.json.write_bytes(orjson.dumps(to_json(report), option=orjson.OPT_INDENT_2))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
