"""What a worker holds of the ledger: `add` on the event loop, and one thread that does all the rest.

Laws of this module:

* `add` never blocks and never fails. When the buffer is full the record is dropped and counted.
* The thread works in short slices with pauses: it shares the interpreter with the event loop, and a long burst would
  hold up the calls it only records.
* Whatever happens to the files, the thread goes on.
* Few records wait with their request's JSON or their content: a full buffer of bodies would be gigabytes.
* It wakes seldom and does much at once: each time it wants the interpreter the event loop has to let go of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from caching.misses import Misses
from gateway.ledger.fleet import Publisher
from gateway.ledger.health import Health, reason
from gateway.ledger.retention import Retention
from gateway.ledger.rows import Content, Row, row
from gateway.ledger.store import Store
from gateway.ledger.why import Explainer, is_worth_keeping
from gateway.metrics import FORMAT, Counts, Metrics, Status
from gateway.state import State
from gateway.trace import Trace

logger = logging.getLogger(__name__)

BOUND = 20_000  # records waiting to be converted, and again as many rows waiting to be written
CONTENT = 32 * 2**20  # bytes of requests and answers that may wait; records over it go without theirs
SLICE = 64  # records converted without a pause
TRANSACTION = 5000  # rows
RETRY_SECONDS = 1.0  # between tries while the file is in trouble
PUBLISH_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0  # a worker that does nothing still says that it lives


def no_status() -> Status:
    """The status of a worker that has nothing to tell."""
    return Status()


class Journal:
    """One worker's records: a bounded buffer, and the thread that empties it."""

    def __init__(
        self,
        state: State,
        worker: int = 0,
        *,
        status: Callable[[], Status] = no_status,
        retention: Retention | None = None,
        store: Store | None = None,
        explainer: Explainer | None = None,
        bound: int = BOUND,
        interval: float = 1.0,
        watchers: Sequence[Callable[[Trace], None]] = (),
        publisher: Publisher | None = None,
    ) -> None:
        """`status` is called in the journal's thread, so it may only read plain attributes; `interval` in seconds.

        `explainer` says why calls missed the cache. `watchers` see every trace in the journal's thread; none may fail.
        `publisher` tells a fleet of every row.
        """
        self._store = store or Store(state.ledger, retention)
        self._page = _Page(state, worker, status)
        self._explainer = explainer or Explainer(Misses())
        self._fault = Health("journal")
        self._metrics = Metrics()
        self._watchers = watchers
        self._publisher = publisher
        self._waiting: deque[Trace] = deque()
        self._rows: list[Row] = []
        self._contents: list[Content | None] = []  # of these rows
        self._came = 0  # bytes of content that ever came; only `add` writes it
        self._went = 0  # of these, the bytes that were written or lost; only the thread writes it
        self._bound = bound
        self._interval = interval
        self._overflow = 0  # records that found the buffer full; only `add` writes it
        self._dropped = 0  # records lost after that; only the thread writes it
        self._told = 0  # of both, those the metrics know of
        self._retry_at = 0.0
        self._publish_at = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def add(self, trace: Trace) -> None:
        """Take the record of a call that has ended; nobody may change it after."""
        waiting = len(self._waiting)
        if waiting < self._bound:
            if trace.identity is not None and not is_worth_keeping(trace, waiting):
                trace.identity = None
            if trace.content is not None:
                self._weigh(trace)
            self._waiting.append(trace)
        else:
            self._overflow += 1

    def retain(self, retention: Retention) -> None:
        """Keep records and sums for so long from now on; safe to call from any thread."""
        self._store.retention = retention

    def _weigh(self, trace: Trace) -> None:
        size = _size(trace.content)
        if self._came - self._went + size > CONTENT:
            trace.content = None
            trace.note("record", "its content was not kept: too much waits to be written")
        else:
            self._came += size

    def start(self) -> None:
        """Start the thread. Once."""
        self._thread.start()

    def close(self, deadline: float = 2.0) -> None:
        """Write what is there and end the thread, within `deadline` seconds; what then remains is lost."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(deadline)
        left = len(self._waiting) + len(self._rows)
        if left:
            logger.warning("ledger: %d records could not be written before the end", left)

    def health(self) -> str:
        """The word for /readyz: "ok", or "failing: " and why."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return "failing: the journal has ended"
        parts = (self._store.health, self._page.health, self._fault)
        return next((str(part) for part in parts if part.reason), "ok")

    def dropped(self) -> int:
        """Records lost since start."""
        return self._overflow + self._dropped + self._store.bad_rows

    def tick(self) -> None:
        """Do one round: count and convert what waits, write it, and once a second publish and prune."""
        self._explainer.refill()
        waited = len(self._rows)  # rows that the file did not take, but the fleet has
        self._convert()
        news = self._rows[waited:]
        now = time.monotonic()
        if now >= self._retry_at:
            self._write(now)
        if self._publisher is not None:
            self._publisher.publish(news)  # also with none: the backlog follows
        if now >= self._publish_at:
            self._publish_at = now + PUBLISH_SECONDS
            self.publish()
            if not self._store.health.reason:
                self._store.prune()

    def publish(self, *, alive: bool = True) -> None:
        """Write this worker's file of metrics and status, if there is news."""
        lost = self.dropped()
        if lost > self._told:
            self._metrics.drop(lost - self._told)
            self._told = lost
        self._page.publish(self._metrics, str(self._store.health), alive=alive)

    def _run(self) -> None:
        self._metrics = Metrics(self._page.before())
        self._guarded(self._store.prune)  # also makes the file: the admin plane finds one before the first call
        while not self._closing.wait(self._interval):
            self._guarded(self.tick)
        self._retry_at = self._publish_at = 0.0
        self._guarded(self.tick)
        self._guarded(self._end)

    def _end(self) -> None:
        self._store.close()
        self.publish(alive=False)
        if self._publisher is not None:
            self._publisher.close()  # last: a Redis that is gone takes its time

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a fault of our own must not end the thread: the next round may work
            self._fault.failing(type(error).__name__, error)
        else:
            self._fault.well()

    def _convert(self) -> None:
        """Count and convert in slices. Only as many as waited at the start, so that this ends under any load."""
        left = len(self._waiting)
        while left > 0:
            for _ in range(min(SLICE, left)):
                self._convert_one(self._waiting.popleft())
            left -= SLICE
            if not self._closing.is_set():
                time.sleep(0.0005)  # lets the event loop run

    def _convert_one(self, trace: Trace) -> None:
        if trace.identity is not None:
            self._explainer.explain(trace)
        try:
            self._metrics.count(trace)
            converted = row(trace)
        except (TypeError, ValueError, AttributeError, ArithmeticError):
            # Whoever filled this trace wrongly must not cost the other records.
            self._drop(trace)
            return
        for watch in self._watchers:
            watch(trace)
        if len(self._rows) < self._bound:
            self._rows.append(converted)
            self._contents.append(trace.content)
        else:
            self._drop(trace)

    def _drop(self, trace: Trace) -> None:
        self._dropped += 1
        self._went += _size(trace.content)

    def _write(self, now: float) -> None:
        while self._rows:
            contents = self._contents[:TRANSACTION]
            if not self._store.write(self._rows[:TRANSACTION], contents):
                self._retry_at = now + RETRY_SECONDS
                break
            self._went += sum(map(_size, contents))
            del self._rows[:TRANSACTION], self._contents[:TRANSACTION]


def _size(content: Content | None) -> int:
    """Bytes of a request and its answer."""
    return 0 if content is None else len(content[0]) + len(content[1])


class _Page:
    """This worker's file of metrics and status, which the admin process reads."""

    def __init__(self, state: State, worker: int, status: Callable[[], Status]) -> None:
        self.health = Health("metrics file")
        self._state = state
        self._worker = worker
        self._path: Path = state.worker(worker)
        self._status = status
        self._status_health = Health("worker status")
        self._known = Status()
        self._last: tuple[int, str, Status, bool] | None = None
        self._at = 0.0

    def before(self) -> Counts | None:
        """What the last worker of this number had counted, if it can be read."""
        try:
            found = orjson.loads(self._path.read_bytes())
            return Counts.read(found) if found["format"] == FORMAT else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            logger.warning("metrics file: not readable; counts begin at zero")
            return None

    def publish(self, metrics: Metrics, ledger: str, *, alive: bool) -> None:
        """Write the file if something changed, or if it is time to show that we live."""
        news = (metrics.counted, ledger, self._asked(), alive)
        now = time.time()
        if news == self._last and now - self._at < HEARTBEAT_SECONDS:
            return
        snapshot = metrics.snapshot(self._worker, now, news[2], ledger, alive=alive)
        try:
            self._state.write(self._path, orjson.dumps(snapshot))
        except OSError as error:
            self.health.failing(reason(error))
            return
        self.health.well()
        self._last, self._at = news, now

    def _asked(self) -> Status:
        """The loop's status, or the last one known: what it reads may change meanwhile, which raises RuntimeError."""
        try:
            self._known = self._status()
        except RuntimeError as error:
            self._status_health.failing(type(error).__name__, error)
        else:
            self._status_health.well()
        return self._known
