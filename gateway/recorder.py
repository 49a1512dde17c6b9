"""The recorder: a process that takes what workers wrote of their calls into the ledger, so that no call pays for it.

`python -m gateway.recorder --state DIR`, one a gateway, started by serve. It takes only time that nobody else wants,
until so much waits that records would be lost: then it runs as any other process.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.admin import REDIS_URL_ENV
from gateway.ledger.fleet import Publisher, publisher
from gateway.ledger.taking import URGENT, Taking
from gateway.logs import Format, set_up
from gateway.processes import prioritize
from gateway.state import State

INTERVAL = 0.5  # seconds between two looks at the spool, when it was empty
LAST_SECONDS = 10.0  # to take in what workers left, once told to end
PARENT_SECONDS = 0.5  # between two looks at whether the parent still lives
LOOK_SECONDS = 1.0  # between two looks at how much waits
NICE = 19


class Recorder:
    """Runs `Taking` until told to end, in a thread whose priority is as low as what waits allows."""

    def __init__(
        self,
        taking: Taking,
        *,
        interval: float = INTERVAL,
        last: float = LAST_SECONDS,
        look: float = LOOK_SECONDS,
        prioritize: Callable[[int], None] = prioritize,
    ) -> None:
        """`last`: seconds to take in what workers left; `look`: seconds between two looks at how much that is.

        `prioritize` gives the thread that calls it a priority.
        """
        self._prioritize = prioritize
        self.ending = threading.Event()
        self._taking = taking
        self._interval = interval
        self._last = last
        self._look = look
        self._has_ended = False

    def run(self, parent: int) -> None:
        """Record until `ending` is set or `parent` is gone, and then until nothing is left to take in."""
        is_urgent = False
        while not self._has_ended:
            # A thread's priority can be lowered but not raised again, so a change of it takes another thread.
            thread = threading.Thread(target=self._take, args=(is_urgent,), name="recorder")
            thread.start()
            while thread.is_alive():
                thread.join(PARENT_SECONDS)
                if os.getppid() != parent:
                    self.ending.set()
            is_urgent = not is_urgent

    def _take(self, is_urgent: bool) -> None:  # noqa: FBT001 - a thread's only argument
        self._prioritize(0 if is_urgent else NICE)
        look_at, until = 0.0, None
        while True:
            more = self._taking.turn()
            now = time.monotonic()
            if until is None and self.ending.is_set():
                until = now + self._last
            if until is not None and (now >= until or self._taking.is_done()):
                self._has_ended = True
                break
            if now >= look_at:
                look_at = now + self._look
                if is_urgent != self._is_urgent(is_urgent):
                    break
            if not more:
                (time.sleep if until else self.ending.wait)(0.05 if until else self._interval)
        if self._has_ended:
            self._taking.close()
        self._taking.rest()

    def _is_urgent(self, was: bool) -> bool:  # noqa: FBT001 - the same state, a moment before
        behind = self._taking.behind()
        return behind > URGENT // 4 if was else behind > URGENT


def main(arguments: list[str] | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Record until a signal comes or the parent is gone."""
    given = _parser().parse_args(arguments)
    state, url = State(given.state), environ.get(REDIS_URL_ENV, "")
    set_up("recorder", given.log_format, secrets=[state.admin_token()])

    def tells() -> Publisher | None:
        return publisher(given.state, url) if url else None

    recorder = Recorder(Taking(state, publisher=tells))
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: recorder.ending.set())
    lock = _alone(state, recorder)
    if lock is not None:
        recorder.run(given.parent)


def _alone(state: State, recorder: Recorder) -> int | None:
    """Hold the spool: one of a gateway that was killed may still take in what was left. None if told to end before."""
    state.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(state.spool / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    while not recorder.ending.is_set():
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        recorder.ending.wait(0.1)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway.recorder", description="Sluice's recorder.")
    parser.add_argument("--state", type=Path, required=True, help="the state directory")
    parser.add_argument("--log-format", choices=list(Format), default=Format.TEXT)
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), help="end when this process is no longer the parent"
    )
    return parser


if __name__ == "__main__":
    main()
