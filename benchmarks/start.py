"""How soon a gateway serves, and what it weighs: from the command to the first right answer, without models.

sluice bench start                  ten starts
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import track

from benchmarks import processes, statistics
from benchmarks.stand import Stand, usual_cores
from benchmarks.statistics import Estimate
from benchmarks.targets import OURS, Gateway, gateways

FIRST_ANSWER_S = 1.5
WORKER_MB = 150.0
_WORKER = "gateway.worker"


@dataclass(frozen=True, slots=True)
class StartOptions:
    """Which gateway to start, and how often."""

    starts: int = 10
    target: str = OURS
    json: Path | None = None
    peer_dir: Path = Path(".bench")


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds to the first right answer and to the end after SIGTERM; resident MB."""

    answer_s: float
    stop_s: float
    worker_mb: float
    all_mb: float


@dataclass(frozen=True, slots=True)
class StartReport:
    """All starts and their means."""

    starts: list[Start]

    @property
    def means(self) -> dict[str, Estimate]:
        """Estimate each figure's mean."""
        names = ("answer_s", "stop_s", "worker_mb", "all_mb")
        return {name: statistics.mean([getattr(start, name) for start in self.starts]) for name in names}

    @property
    def missed(self) -> list[str]:
        """Say which of the design's targets were missed."""
        means = self.means
        late, heavy = means["answer_s"].value > FIRST_ANSWER_S, means["worker_mb"].value > WORKER_MB
        found = [f"first answer later than {FIRST_ANSWER_S} s"] if late else []
        return [*found, f"worker over {WORKER_MB:.0f} MB"] if heavy else found


def run(options: StartOptions, console: Console | None = None) -> StartReport:
    """Start and stop the gateway again and again. Raises ValueError if it is not installed."""
    console = console or Console(stderr=True)
    gateway = next((g for g in gateways(options.peer_dir) if g.name == options.target), None)
    if gateway is None or gateway.program is None:
        raise ValueError(f"{options.target} is not here: {gateway.install if gateway else 'no such gateway'}")
    cores = usual_cores()
    starts: list[Start] = []
    with processes.on_cores(cores.load):
        for _ in track(range(options.starts), "starts", console=console):
            with Stand(cores) as stand:
                starts.append(_start(stand, gateway))
    return StartReport(starts)


def _start(stand: Stand, gateway: Gateway) -> Start:
    began = time.monotonic()
    running = stand.start(gateway)
    answered = time.monotonic()
    weights = {pid: processes.memory_bytes(pid)[0] / 1e6 for pid in running.pids()}
    # A gateway without worker processes is its own worker.
    worker = max((w for pid, w in weights.items() if _WORKER in processes.command(pid)), default=sum(weights.values()))
    asked = time.monotonic()
    stand.stop(running)
    return Start(answered - began, time.monotonic() - asked, worker, sum(weights.values()))


def to_json(report: StartReport) -> dict[str, Any]:
    """Give the report as plain values."""
    return {
        "starts": [asdict(start) for start in report.starts],
        "means": {name: asdict(estimate) for name, estimate in report.means.items()},
        "missed": report.missed,
    }


def main(argv: Sequence[str]) -> int:
    """Measure, print, write the JSON; status 1 if a target was missed."""
    parser = argparse.ArgumentParser(
        "sluice bench start", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=10, help="how many starts (10)")
    parser.add_argument("--target", default=OURS, help="which gateway; the peers of `overhead` work too (sluice)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here")
    parser.add_argument("--peer-dir", type=Path, default=Path(".bench"), help="where peers have their environments")
    options = StartOptions(**vars(parser.parse_args(argv)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report, console = run(options), Console()
    for name, mean in report.means.items():
        console.print(f"{name:10} {mean.value:8.2f}  (95 %: {mean.low:.2f} to {mean.high:.2f})", highlight=False)
    for target in report.missed:
        console.print(f"missed: {target}")
    if options.json:
        options.json.write_bytes(orjson.dumps(to_json(report), option=orjson.OPT_INDENT_2))
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
