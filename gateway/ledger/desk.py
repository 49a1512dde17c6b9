"""One worker's records as the recorder sees them: what is counted of them, and how far they were read."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.counts import FORMAT, Status
from gateway.ledger.fleet import Publisher
from gateway.ledger.frames import HEAD
from gateway.ledger.health import Health, reason
from gateway.ledger.spool import Segment, segments
from gateway.metrics import Counts, Metrics
from gateway.state import State
from gateway.trace import Trace

logger = logging.getLogger(__name__)

REFUSED_SECONDS = 10.0  # between two records of calls that were not let in


@dataclass(slots=True)
class Place:
    """How far one segment was read: offsets in bytes."""

    counted: int = len(HEAD)
    records: int = 0  # before `counted`
    written: int = len(HEAD)

    @property
    def taken(self) -> int:
        """What every file has."""
        return min(self.counted, self.written)


class Desk:
    """One worker's records: what is counted of them, and how far its segments were read."""

    def __init__(self, state: State, worker: int, publisher: Publisher | None = None) -> None:
        self.health = Health("metrics file")
        self.publisher = publisher
        self.places: dict[str, Place] = {}
        self._state = state
        self._worker = worker
        self._path: Path = state.worker(worker)
        self._last: tuple[Any, ...] = ()
        self._lost = 0  # records since start
        self._refused_at = -REFUSED_SECONDS  # Unix time of the last call on record that was not let in
        self.metrics = Metrics(self._before())

    def place(self, segment: Segment, written: int) -> Place:
        """How far this segment was read; the ledger's file said `written`."""
        place = self.places.setdefault(segment.name, Place())
        place.written = max(place.written, written)
        return place

    def may_keep(self, trace: Trace) -> bool:
        """Say whether this call gets a record: of those that were let in all do, of the others one now and then.

        Else anybody without a key could push everybody's records out of the ledger. All are counted in the metrics.
        """
        if trace.tenant:
            return True
        if 0 <= trace.at - self._refused_at < REFUSED_SECONDS:
            return False
        self._refused_at = trace.at
        return True

    def drop(self, records: int) -> None:
        """Count records that were lost."""
        if records > 0:
            self._lost += records
            self.metrics.drop(records)

    def publish(self, ledger: str) -> bool:
        """Write the file of counts if there is news; False if it cannot be written."""
        places = {name: [place.counted, place.records, place.written] for name, place in self.places.items()}
        fleet = self.publisher.status() if self.publisher else {}
        news = (self.metrics.counted, self._lost, places, fleet)
        if news == self._last:
            return True
        status = Status(fleet=fleet) if fleet else Status()
        snapshot = self.metrics.snapshot(self._worker, time.time(), status, ledger, alive=False)
        snapshot["spool"] = places
        try:
            self._state.write(self._path, orjson.dumps(snapshot))
        except OSError as error:
            self.health.failing(reason(error))
            return False
        self.health.well()
        self._last = news
        return True

    def _before(self) -> Counts | None:
        """What had been counted of this worker's calls when the last recorder ended, if it can be read."""
        try:
            found = orjson.loads(self._path.read_bytes())
            if found["format"] != FORMAT:
                return None
            counts = Counts.read(found)
            places = found.get("spool", {}).items()
            there = {segment.name for segment in segments(self._state.spool)}
            self.places = {name: Place(int(at), int(before)) for name, (at, before, _) in places if name in there}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            logger.warning("metrics file: not readable; counts begin at zero")
            return None
        return counts
