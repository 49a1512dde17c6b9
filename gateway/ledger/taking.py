"""What the recorder does: takes records from the spool into the ledger, the metrics and, in a fleet, Redis.

How each record gets to each place once, whenever this process is killed:

* How far the ledger's rows go in a segment stands in the ledger's own file, written with the rows in one transaction.
* How far the counts go stands in the file of counts, which is replaced as a whole.
* After a start both are read, and reading begins at the lower one: what only one of the two lacks, only it gets.
* A segment is removed when it has ended and both files say that it was read to its end.

Rows are published to the fleet after the ledger has them; those of the last transaction before a kill may not be.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.ledger.desk import Desk, Place
from gateway.ledger.fleet import Publisher
from gateway.ledger.frames import HEAD, Frame
from gateway.ledger.health import Health, reason
from gateway.ledger.pages import read_told, tell
from gateway.ledger.record import BAD_RECORD, unpack
from gateway.ledger.retention import Retention
from gateway.ledger.rows import Content, Row, row
from gateway.ledger.spool import ROOM, Segment, segments
from gateway.ledger.store import Store
from gateway.state import State
from gateway.trace import Trace

logger = logging.getLogger(__name__)

PUBLISH_SECONDS = 1.0
RETRY_SECONDS = 1.0  # between tries while the file is in trouble
URGENT = ROOM // 4  # bytes behind, after which the recorder must not wait for its turn any more

_TABLE = "CREATE TABLE IF NOT EXISTS spool (segment TEXT PRIMARY KEY, taken INTEGER NOT NULL)"
_BROKEN = (*BAD_RECORD, LookupError)


@dataclass(slots=True)
class _Batch:
    """Rows of some frames on their way into the ledger; called inside the transaction, again if that is done again."""

    segment: Segment
    gone: Sequence[str] = ()  # segments that were removed
    end: int = 0
    rows: list[Row] = field(default_factory=list)
    contents: list[Content | None] = field(default_factory=list)

    def __call__(self, db: sqlite3.Connection) -> list[Row]:
        """The rows, unless the file has them."""
        db.execute(_TABLE)
        db.executemany("DELETE FROM spool WHERE segment = ?", [(name,) for name in self.gone])
        found = db.execute("SELECT taken FROM spool WHERE segment = ?", (self.segment.name,)).fetchone()
        if found and found[0] >= self.end:
            return []
        db.execute("INSERT OR REPLACE INTO spool VALUES (?, ?)", (self.segment.name, self.end))
        return self.rows


class Taking:
    """All workers' records on their way from the spool to where they belong. Used by one thread at a time."""

    def __init__(
        self,
        state: State,
        *,
        store: Store | None = None,
        publisher: Callable[[], Publisher | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`publisher` makes what tells a fleet of one worker's rows."""
        self._state = state
        self._store = store or Store(state.ledger)
        self._publisher = publisher
        self._clock = clock
        self._desks: dict[int, Desk] = {}
        self._gone: list[str] = []  # segments that were removed, as the ledger's file does not know yet
        self._known: dict[str, int] | None = None  # how far the ledger's rows went when we came
        self._spool_health = Health("spool, reading")
        self._word_health = Health("recorder's word")
        self._fault = Health("recorder")
        self._bad_rows = 0
        self._retry_at = 0.0
        self._publish_at = 0.0

    def health(self) -> str:
        """How the ledger is, in a word."""
        parts = [self._store.health, self._spool_health, self._fault, *(desk.health for desk in self._desks.values())]
        return next((str(part) for part in parts if part.reason), "ok")

    def behind(self) -> int:
        """Bytes in the spool that the ledger or the counts do not have yet."""
        return sum(self._left(segment) for segment in segments(self._state.spool))

    def turn(self) -> bool:
        """Take one piece of each worker's records, and once a second the rest; say whether there is more at once."""
        try:
            more = self._turn()
        except Exception as error:  # noqa: BLE001 - a fault of our own must not end the recorder: the next round may work
            self._fault.failing(type(error).__name__, error)
            return False
        self._fault.well()
        return more

    def is_done(self) -> bool:
        """Say whether no segment is left, but for those that nobody can read."""
        return not segments(self._state.spool)

    def rest(self) -> None:
        """Close the ledger's file; the next turn opens it again, in whatever thread."""
        self._store.close()

    def close(self) -> None:
        """Tell everybody a last time and let go of everything."""
        self._publish()
        self._store.close()
        for desk in self._desks.values():
            if desk.publisher is not None:
                desk.publisher.close()  # last: a Redis that is gone takes its time

    def _turn(self) -> bool:
        if self._known is None and self._clock() >= self._retry_at:
            self._known = self._found()
            self._retry_at = 0.0 if self._known is not None else self._clock() + RETRY_SECONDS
        more = False
        asked: set[int] = set()
        for segment in segments(self._state.spool):
            if segment.worker not in asked and self._take(segment):
                asked.add(segment.worker)  # one piece of each worker's, so that none has to wait for another
                more = True
        now = self._clock()
        if now >= self._publish_at:
            self._publish_at = now + PUBLISH_SECONDS
            self._follow_policy()
            if not self._store.health.reason:
                self._store.prune()  # also makes the file: the admin plane finds one before the first call
            self._publish()
        return more

    def _found(self) -> dict[str, int] | None:
        """How far the rows in the ledger's file go; None if it cannot be read now."""
        found: dict[str, int] = {}

        def ask(db: sqlite3.Connection) -> Sequence[Row]:
            db.execute(_TABLE)
            found.update(db.execute("SELECT segment, taken FROM spool").fetchall())
            there = {segment.name for segment in segments(self._state.spool)}
            db.executemany("DELETE FROM spool WHERE segment = ?", [(name,) for name in found.keys() - there])
            return []

        return found if self._store.write_chosen(ask) else None

    def _desk(self, worker: int) -> Desk:
        if worker not in self._desks:
            self._desks[worker] = Desk(self._state, worker, self._publisher())
        return self._desks[worker]

    def _left(self, segment: Segment) -> int:
        place = self._desk(segment.worker).places.get(segment.name)
        return max(0, segment.size() - (place.taken if place else len(HEAD)))

    def _take(self, segment: Segment) -> bool:
        """Take a piece of this segment; say whether it had one."""
        try:
            taken = self._read(segment)
        except OSError as error:
            self._spool_health.failing(reason(error))
            return False
        self._spool_health.well()
        return taken

    def _read(self, segment: Segment) -> bool:
        desk = self._desk(segment.worker)
        place = desk.place(segment, (self._known or {}).get(segment.name, 0))
        may_write = self._known is not None and self._clock() >= self._retry_at
        offset = place.taken if may_write else place.counted
        has_ended = segment.has_ended()  # before reading: what is written after that, no reader would see
        if offset >= segment.size():
            if has_ended and place.taken >= segment.size():
                self._finish(desk, segment)
            return False
        if not segment.is_ours():
            return has_ended and self._set_aside(desk, segment)
        found = segment.read(offset, is_all=has_ended)
        if found.end <= offset:
            return False
        batch = self._convert(desk, place, segment, found.frames)
        if found.torn and found.end > place.counted:
            self._lose(desk, found.torn, segment)
        batch.end = found.end
        place.counted = max(place.counted, found.end)
        if may_write:
            self._write(desk, place, batch)
        return True

    def _convert(self, desk: Desk, place: Place, segment: Segment, frames: Iterable[Frame]) -> _Batch:
        """Count the frames' records and make rows of them, each as far as that was not done before."""
        batch = _Batch(segment, tuple(self._gone))
        for frame in frames:
            is_news = frame.begin >= place.counted
            if is_news:
                self._lose(desk, frame.first - place.records, segment)
                place.records = frame.first + len(frame.records)
                desk.drop(frame.dropped)
            for record in frame.records:
                self._convert_one(desk, batch, record, is_counted=not is_news, is_written=frame.begin < place.written)
        return batch

    @staticmethod
    def _convert_one(desk: Desk, batch: _Batch, record: bytes, *, is_counted: bool, is_written: bool) -> None:
        try:
            trace: Trace = unpack(record)
            if not is_counted:
                desk.metrics.count(trace)
            if not is_written and desk.may_keep(trace):
                batch.rows.append(row(trace))
                batch.contents.append(trace.content)
        except _BROKEN:
            # Whoever filled this trace wrongly must not cost the other records.
            if not is_counted:
                desk.drop(1)

    def _write(self, desk: Desk, place: Place, batch: _Batch) -> None:
        if not self._store.write_chosen(batch, batch.contents):
            self._retry_at = self._clock() + RETRY_SECONDS
            return
        place.written = max(place.written, batch.end)
        self._gone.clear()
        desk.drop(self._store.bad_rows - self._bad_rows)
        self._bad_rows = self._store.bad_rows
        if desk.publisher is not None:
            desk.publisher.publish(batch.rows)

    def _lose(self, desk: Desk, records: int, segment: Segment) -> None:
        if records > 0:
            logger.warning("spool: %d records in %s are damaged and lost", records, segment.path.name)
            desk.drop(records)

    def _finish(self, desk: Desk, segment: Segment) -> None:
        """Remove a segment that was read to its end, once the file of counts says so too."""
        if desk.publish(self.health()):
            segment.path.unlink(missing_ok=True)
            desk.places.pop(segment.name, None)
            self._gone.append(segment.name)

    def _set_aside(self, desk: Desk, segment: Segment) -> bool:
        """Keep a segment that we cannot read out of the way, for the release that can."""
        segment.path.rename(segment.path.with_suffix(".unread"))
        desk.places.pop(segment.name, None)
        desk.drop(1)
        logger.warning("spool: %s is of another release; it is left unread", segment.path.name)
        return True

    def _publish(self) -> None:
        for desk in self._desks.values():
            if desk.publisher is not None:
                desk.publisher.publish([])  # the backlog follows
            desk.publish(self.health())
        try:
            tell(self._state, self.health())
        except OSError as error:
            self._word_health.failing(reason(error))
        else:
            self._word_health.well()

    def _follow_policy(self) -> None:
        """Keep records as long as the policy says that the newest of the workers serves by."""
        newest: tuple[float, Mapping[str, float]] | None = None
        for number in self._state.workers():
            try:
                told = read_told(self._state.status(number).read_bytes())
                kept = told["status"].get("retention")
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                continue
            if kept and (newest is None or told["at"] > newest[0]):
                newest = told["at"], kept
        if newest is not None:
            self._store.retention = _retention(newest[1], self._store.retention)


def _retention(told: Mapping[str, float], before: Retention) -> Retention:
    try:
        return Retention(float(told["seconds"]), int(told["records"]), float(told["sums"]))
    except (ValueError, TypeError, KeyError):
        return before
