"""What heavy use of the dashboard does to calls: their p99 with it over that without, and without over without.

Calls come at set times, as many as half of what the gateway could answer. In each repetition three windows follow each
other, beginning with another one each time: nobody reads; readers ask for pages, search and export without a pause
while a Chromium looks at the overview; and nobody again, which is the control. Readers and Chromium run on the load's
cores, though in truth they are other machines; readers only when nothing else wants these (SCHED_IDLE). A repetition in
which other programs took more of the cores than `CROWDED` is made again.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks import processes, statistics
from benchmarks.arrivals import Arrivals
from benchmarks.browsing import Browsing
from benchmarks.chromium import Tab, tab
from benchmarks.load import Spec
from benchmarks.stand import Cores, Running, Stand
from benchmarks.statistics import Estimate
from benchmarks.targets import Gateway, Launch, Site

WITH, WITHOUT, CONTROL = "heavy use", "nobody", "nobody again"
CROWDED = 0.1  # of a core that other programs may take
ADMIN, WORKER = "gateway.admin", "gateway.worker"
_ROOT = Path(__file__).parent.parent
_NUMBERS = 10_000_000  # for the bodies of one measurement; the next begins behind them
_WARMUP_S = 1.0
_TRIES = 3  # times the repetitions, at most
_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """How often and how long to measure, and at which share of what the gateway could answer."""

    repetitions: int = 10
    seconds: float = 5.0
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """One window: microseconds from when calls were due; shares are of one core; `read` are the readers' answers."""

    p50_us: float
    p99_us: float
    late_p99_us: float
    answered: int
    errors: dict[str, int]
    admin: float
    worker: float
    others: float
    read: dict[str, int]


@dataclass(slots=True)
class Found:
    """All that was measured in one arrangement of cores; `crowded` repetitions are not in it."""

    rate: float = 0.0
    crowded: int = 0
    windows: dict[str, list[Window]] = field(default_factory=lambda: {name: [] for name in (WITHOUT, WITH, CONTROL)})

    def ratio(self, name: str, figure: str = "p99_us") -> Estimate | None:
        """Estimate a figure of these windows over that of those in which nobody reads."""
        ours, theirs = ([getattr(window, figure) for window in self.windows[key]] for key in (name, WITHOUT))
        return statistics.ratio(ours, theirs)

    @property
    def errors(self) -> int:
        """Calls that were not answered rightly."""
        return sum(sum(window.errors.values()) for windows in self.windows.values() for window in windows)


def gateway(ledger: Path) -> Gateway:
    """Give the gateway over a copy of this ledger, as it is started from this very code."""

    def launch(program: Path, site: Site) -> Launch:
        state, policy = site.folder / "state", site.folder / "policy.yaml"
        state.mkdir(mode=0o700)
        shutil.copy(ledger, state / "ledger.sqlite")
        policy.write_text(
            f"upstreams:\n  static:\n    url: 'http://127.0.0.1:{site.upstream_port}/v1'\n"
            "    prices: {'*': {input: 1.25, cached_input: 0.125, output: 10}}\n"
            "models:\n  static: {targets: [{upstream: static}]}\n"
            "keys:\n  - {name: bench, key: '${BENCH_KEY}', tenant: bench}\n"
            "ledger: {records: 100000000}\n"  # what a window adds must not cost what was seeded
        )
        argv = [str(program), "-m", "gateway.cli", "serve", "--policy", str(policy), "--state", str(state)]
        argv += ["--port", str(site.port), "--admin-port", str(site.side_port)]
        return Launch(argv, {"BENCH_KEY": site.key, "PYTHONPATH": str(_ROOT)})

    return Gateway("sluice", Path(sys.executable), "", "", launch)


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin plane of a gateway that was started."""

    port: int
    token: str

    @classmethod
    def of(cls, stand: Stand, running: Running) -> Admin:
        """Find it in the command that started the gateway, and in its folder, and wait until it answers."""
        words = list(map(str, running.program.popen.args)) if running.program else []  # type: ignore[arg-type]
        token = stand.folder / running.name / "state" / "admin.token"
        port = int(words[words.index("--admin-port") + 1])
        _wait_for(port)
        return cls(port, token.read_text().strip())

    @property
    def url(self) -> str:
        """Where its pages are."""
        return f"http://127.0.0.1:{self.port}"


def _wait_for(port: int) -> None:
    """Calls are served before the admin plane is up. Raises OSError if that takes too long."""
    ends = time.monotonic() + _GRACE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
        else:
            return


def measure(ledger: Path, cores: Cores, load: Load, browser: str | None, tell: Callable[[], None]) -> Found:
    """Measure in one arrangement; `tell` is called after each repetition that counts."""
    with ExitStack() as stack:
        stack.enter_context(processes.on_cores(cores.load))
        stand = stack.enter_context(Stand(cores))
        target = stand.start(gateway(ledger))
        bench = _Bench(stand, target, Admin.of(stand, target), load)
        bench.tab = (
            stack.enter_context(tab(browser)) if browser else None
        )  # idle, it would answer nobody on a busy core
        bench.sign_in()
        found = Found(rate=bench.capacity() * load.share)
        for number in range(_TRIES * load.repetitions):
            windows = bench.repetition(found.rate, number)
            if max(window.others for window in windows.values()) > CROWDED:
                found.crowded += 1
                continue
            for name, window in windows.items():
                found.windows[name].append(window)
            tell()
            if len(found.windows[WITH]) == load.repetitions:
                break
    return found


class _Bench:
    """One gateway under calls, with readers and without."""

    def __init__(self, stand: Stand, target: Running, admin: Admin, load: Load) -> None:
        self.tab: Tab | None = None
        self._stand = stand
        self._target = target
        self._admin = admin
        self._load = load
        self._expected = stand.ask(target, "plain", "1.7k", 1)
        self._number = _NUMBERS

    def sign_in(self) -> None:
        if self.tab is not None:
            self.tab.open(self._admin.url)
            self.tab.type("#token", self._admin.token)
            self.tab.press("Enter")
            self.tab.until("document.querySelector('main h1')", 60)

    def capacity(self) -> float:
        """Calls a second that the gateway answers as fast as it can."""
        spec = Spec(
            self._target.port, self._stand.key, "plain", "1.7k", 32, _WARMUP_S, 3.0, self._expected, self._numbers()
        )
        outcome = _told(_begin("benchmarks.load", asdict(spec)))
        return float(outcome["answers"] / outcome["seconds"])

    def repetition(self, rate: float, number: int) -> dict[str, Window]:
        """Measure each of the three once; with the same gaps between calls."""
        names = [WITHOUT, WITH, CONTROL]
        order = names[number % 3 :] + names[: number % 3]
        return {name: self._window(rate, number, is_read=name == WITH) for name in order}

    def _window(self, rate: float, seed: int, *, is_read: bool) -> Window:
        seconds = self._load.seconds
        given = Arrivals(
            self._target.port, self._stand.key, rate, _WARMUP_S, seconds, self._expected, self._numbers(), seed
        )
        self._look(is_read=is_read)
        before = _Gauge.read(self._target)
        readers = self._readers() if is_read else None
        waits = _told(_begin("benchmarks.arrivals", asdict(given)))
        spent = _Gauge.read(self._target).since(before)
        read: dict[str, int] = _told(readers)["answers"] if readers else {}
        return Window(
            **{name: waits[name] for name in ("p50_us", "p99_us", "late_p99_us", "answered", "errors")},
            admin=spent.admin / spent.clock,
            worker=spent.worker / spent.clock,
            others=max(0.0, spent.all - spent.ours) / spent.clock,
            read=read,
        )

    def _look(self, *, is_read: bool) -> None:
        """Have the browser look at the overview, which renews itself, or at nothing."""
        if self.tab is not None:
            self.tab.open(f"{self._admin.url}/?range=1h" if is_read else "about:blank")

    def _readers(self) -> subprocess.Popen[bytes]:
        seconds = _WARMUP_S + self._load.seconds + 0.5
        with _at_leisure():
            return _begin("benchmarks.browsing", asdict(Browsing(self._admin.port, self._admin.token, seconds)))

    def _numbers(self) -> int:
        self._number += _NUMBERS
        return self._number


@dataclass(frozen=True, slots=True)
class _Gauge:
    """CPU seconds of the gateway's parts, of all that this program started, and of all there is, at a time."""

    admin: float
    worker: float
    ours: float
    all: float
    clock: float

    @classmethod
    def read(cls, target: Running) -> _Gauge:
        parts = {pid: processes.command(pid) for pid in target.pids()}
        admin, worker = (
            processes.cpu_seconds(pid for pid, words in parts.items() if name in words) for name in (ADMIN, WORKER)
        )
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = processes.cpu_seconds(processes.tree(os.getpid())) + ended.ru_utime + ended.ru_stime
        return cls(admin, worker, ours, processes.busy_seconds(range(os.cpu_count() or 1)), time.monotonic())

    def since(self, before: _Gauge) -> _Gauge:
        names = ("admin", "worker", "ours", "all", "clock")
        return _Gauge(*(getattr(self, name) - getattr(before, name) for name in names))


@contextmanager
def _at_leisure() -> Iterator[None]:
    """Start what runs only when nothing else wants the core."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _begin(module: str, given: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start a generator in a process of its own."""
    begun = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT)
    assert begun.stdin is not None  # noqa: S101  # it was asked for above
    begun.stdin.write(orjson.dumps(given))
    begun.stdin.close()
    begun.stdin = None
    return begun


def _told(begun: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for what it has to tell."""
    out, _ = begun.communicate(timeout=_GRACE_S)
    told: dict[str, Any] = orjson.loads(out)
    return told
