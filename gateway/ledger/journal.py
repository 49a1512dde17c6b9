"""What a worker holds of the ledger: `add` on the event loop, and one thread that hands records to the recorder.

Laws of this module:

* `add` never blocks and never fails. When the buffer is full the record is dropped and counted.
* The thread does next to nothing: it shares the interpreter with the event loop, and whatever it does there the calls
  pay for. Rows, sums, metrics and the ledger's file are the recorder's.
* Whatever happens to the files, the thread goes on.
* Few records wait with their request's JSON or their content: a full buffer of bodies would be gigabytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from caching.misses import Misses
from gateway.counts import Status
from gateway.ledger.health import Health
from gateway.ledger.pages import StatusPage, Word
from gateway.ledger.record import BAD_RECORD, pack
from gateway.ledger.rows import Content
from gateway.ledger.spool import Spool
from gateway.ledger.why import Explainer, is_worth_keeping
from gateway.state import State
from gateway.trace import Trace

logger = logging.getLogger(__name__)

BOUND = 20_000  # records waiting to be written
CONTENT = 32 * 2**20  # bytes of requests and answers that may wait; records over it go without theirs
SLICE = 64  # records that need the thread, done without a pause
FRAME = 1000  # records written at once: what a worker that is killed can tear
FRAME_BYTES = 2**20  # after which a frame takes no further record
RETRY_SECONDS = 1.0  # between tries while the spool is in trouble
PUBLISH_SECONDS = 1.0


def no_status() -> Status:
    """The status of a worker that has nothing to tell."""
    return Status()


class Journal:
    """One worker's records: a bounded buffer, and the thread that empties it into the spool."""

    def __init__(
        self,
        state: State,
        worker: int = 0,
        *,
        status: Callable[[], Status] = no_status,
        spool: Spool | None = None,
        word: Word | None = None,
        explainer: Explainer | None = None,
        bound: int = BOUND,
        interval: float = 0.25,
        watchers: Sequence[Callable[[Trace], None]] = (),
    ) -> None:
        """`status` is called in the journal's thread, so it may only read plain attributes; `interval` in seconds.

        `explainer` says why calls missed the cache. `watchers` see every trace in the journal's thread; none may fail.
        """
        self._spool = spool or Spool(state.spool, worker)
        self._page = StatusPage(state, worker, status)
        self._word = word or Word(state)
        self._explainer = explainer or Explainer(Misses())
        self._fault = Health("journal")
        self._watchers = watchers
        self._waiting: deque[Trace] = deque()  # for the thread to look at
        self._packed: deque[bytes] = deque()
        self._unwritten: list[bytes] = []
        self._came = 0  # bytes of content that ever came; only `add` writes it
        self._went = 0  # of these, the bytes that were written or lost; only the thread writes it
        self._weight = 0  # of these, the bytes that are in `_unwritten`
        self._bound = bound
        self._interval = interval
        self._overflow = 0  # records that found the buffer full, or were none; only `add` writes it
        self._dropped = 0  # records lost after that; only the thread writes it
        self._told = 0  # of both, those that the recorder was told of
        self._retry_at = 0.0
        self._publish_at = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def add(self, trace: Trace) -> None:
        """Take the record of a call that has ended; nobody may change it after."""
        waiting = len(self._waiting)
        if waiting + len(self._packed) >= self._bound:
            self._overflow += 1
            return
        if trace.identity is not None and not is_worth_keeping(trace, waiting):
            trace.identity = None
        if trace.content is not None:
            self._weigh(trace)
        if self._watchers or trace.identity is not None or trace.content is not None:
            self._waiting.append(trace)
            return
        try:
            self._packed.append(pack(trace))
        except BAD_RECORD:  # whoever filled this trace wrongly must not cost the client its answer
            self._overflow += 1

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
        left = len(self._waiting) + len(self._packed) + len(self._unwritten)
        if left:
            logger.warning("ledger: %d records could not be written before the end", left)

    def health(self) -> str:
        """The word for /readyz: "ok", or "failing: " and why."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return "failing: the journal has ended"
        parts = (self._spool.health, self._page.health, self._fault)
        return next((str(part) for part in parts if part.reason), self._word.said)

    def dropped(self) -> int:
        """Records lost since start, before they reached the recorder."""
        return self._overflow + self._dropped

    def tick(self) -> None:
        """Do one round: hand over what waits, and once a second tell how we are."""
        self._collect()
        now = time.monotonic()
        if now >= self._retry_at and not self._write():
            self._retry_at = now + RETRY_SECONDS
        if now >= self._publish_at:
            self._publish_at = now + PUBLISH_SECONDS
            self._word.listen()
            self.publish()

    def publish(self, *, alive: bool = True) -> None:
        """Write this worker's status file, if there is news."""
        self._page.publish(self._word.said if not self._spool.health.reason else str(self._spool.health), alive=alive)

    def _run(self) -> None:
        while not self._closing.wait(self._interval):
            self._guarded(self.tick)
        self._retry_at = self._publish_at = 0.0
        self._guarded(self.tick)
        self._guarded(self._end)

    def _end(self) -> None:
        self._spool.close()
        self.publish(alive=False)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a fault of our own must not end the thread: the next round may work
            self._fault.failing(type(error).__name__, error)
        else:
            self._fault.well()

    def _collect(self) -> None:
        """Take over what waits. Only as many as waited at the start, so that this ends under any load."""
        came = [self._packed.popleft() for _ in range(len(self._packed))]
        room = max(0, self._bound - len(self._unwritten))
        self._unwritten += came[:room]
        self._dropped += len(came[room:])
        self._explainer.refill()
        left = len(self._waiting)
        while left > 0:
            for _ in range(min(SLICE, left)):
                self._look_at(self._waiting.popleft())
            left -= SLICE
            if left > 0 and not self._closing.is_set():
                time.sleep(0.0005)  # lets the event loop run

    def _look_at(self, trace: Trace) -> None:
        if trace.identity is not None:
            self._explainer.explain(trace)
        size = _size(trace.content)
        try:
            packed = pack(trace)
        except BAD_RECORD:
            self._drop(size)
            return
        for watch in self._watchers:
            watch(trace)
        self._keep(packed, size)

    def _keep(self, packed: bytes, size: int) -> None:
        if len(self._unwritten) < self._bound:
            self._unwritten.append(packed)
            self._weight += size
        else:
            self._drop(size)

    def _drop(self, size: int) -> None:
        self._dropped += 1
        self._went += size

    def _write(self) -> bool:
        """Write what is there, and how many were lost; False if something is left that must wait."""
        if self._unwritten and self._spool.is_full:
            self._dropped += len(self._unwritten)
            self._written(len(self._unwritten))
        while self._unwritten or self.dropped() > self._told:
            number, dropped = _fitting(self._unwritten), self.dropped()
            if not self._spool.append(self._unwritten[:number], dropped - self._told):
                return False
            self._told = dropped
            self._written(number)
        return True

    def _written(self, number: int) -> None:
        del self._unwritten[:number]
        if not self._unwritten:
            self._went, self._weight = self._went + self._weight, 0


def _size(content: Content | None) -> int:
    """Bytes of a request and its answer."""
    return 0 if content is None else len(content[0]) + len(content[1])


def _fitting(records: Sequence[bytes]) -> int:
    """How many of these go into one frame: at least one, if there is one."""
    size = 0
    for number, record in enumerate(records[:FRAME]):
        size += len(record)
        if number and size > FRAME_BYTES:
            return number
    return min(len(records), FRAME)
