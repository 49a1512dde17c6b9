"""Small files by which processes tell each other how they are: a worker's status, and the recorder's word.

A file is written when there is news, and now and then to show that who writes it lives.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import orjson

from gateway.counts import FORMAT, Status, Told
from gateway.ledger.health import Health, reason
from gateway.metrics import resident_bytes
from gateway.state import State

HEARTBEAT_SECONDS = 10.0  # a worker that does nothing still says that it lives
STALE_SECONDS = 15.0  # without a word of the recorder; on a busy core it has to wait for its turn
NO_ANSWER = "failing: the recorder does not answer"


class StatusPage:
    """What a worker says of itself, for the admin process and the recorder. Used by one thread only."""

    def __init__(self, state: State, worker: int, status: Callable[[], Status]) -> None:
        """`status` may be called in another thread than the loop's, so it only reads plain attributes."""
        self.health = Health("status file")
        self._state = state
        self._worker = worker
        self._status = status
        self._status_health = Health("worker status")
        self._known = Status()
        self._last: tuple[str, Status, bool] | None = None
        self._at = 0.0

    def publish(self, ledger: str, *, alive: bool) -> None:
        """Write the file if something changed, or if it is time to show that we live."""
        news = (ledger, self._asked(), alive)
        now = time.time()
        if news == self._last and 0 <= now - self._at < HEARTBEAT_SECONDS:
            return
        told = Told(
            format=FORMAT,
            worker=self._worker,
            pid=os.getpid(),
            at=now,
            alive=alive,
            resident=resident_bytes(),
            ledger=ledger,
            status=news[1],
        )
        try:
            self._state.write(self._state.status(self._worker), orjson.dumps(told))
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


def tell(state: State, ledger: str) -> None:
    """The recorder's word to the workers: how the ledger is. Raises OSError."""
    state.write(state.recorder, orjson.dumps({"at": time.time(), "pid": os.getpid(), "ledger": ledger}))


class Word:
    """The recorder's word as a worker hears it. `said` may be read by any thread."""

    def __init__(
        self,
        state: State,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.said = "ok"
        self._path = state.recorder
        self._clock = clock
        self._monotonic = monotonic
        self._heard_at = monotonic()  # it gets as long to come up as it may be silent later

    def listen(self) -> None:
        """Read what the recorder said last."""
        told = self._read()
        now = self._monotonic()
        if told is not None and abs(self._clock() - told["at"]) < STALE_SECONDS:
            self._heard_at, self.said = now, str(told["ledger"])
        elif now - self._heard_at >= STALE_SECONDS:
            self.said = NO_ANSWER

    def _read(self) -> dict[str, Any] | None:
        try:
            told = orjson.loads(self._path.read_bytes())
            told["at"] + 0.0, told["ledger"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        found: dict[str, Any] = told
        return found


def read_told(data: bytes) -> Told:
    """What a worker said. Raises ValueError, TypeError, KeyError or AttributeError if it is none of ours."""
    found: Told = orjson.loads(data)
    if found["format"] != FORMAT:
        raise ValueError("of another release")
    found["status"].get("policy"), found["at"] + 0, found["alive"], found["worker"], found["ledger"], found["resident"]
    return found
