"""Which policy came into force and when: told to the history once a worker says that it serves it.

The parent of the workers reads each edit too, but whether it came into force only they know: a policy may load and be
refused all the same, for an engine that does not start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from policies.history import History, HistoryError
from policies.loader import LoadedPolicy

LOOK_SECONDS = 1.0  # between two looks at what the workers serve; they write it once a second
AGAIN_SECONDS = 60.0  # after a failure: a full disk does not empty itself at once
log = logging.getLogger("sluice")


class Chronicle:
    """Records the policy that was read last, when it is in force. A failure costs a line in the log and no call."""

    def __init__(
        self,
        folder: Path,
        in_force: Callable[[], Collection[str]],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`in_force` tells the versions that living workers serve; `clock` is monotonic, `now` in Unix seconds."""
        self._history = History(folder)
        self._in_force = in_force
        self._clock = clock
        self._now = now
        self._waiting: LoadedPolicy | None = None
        self._look_at = 0.0

    def expect(self, loaded: LoadedPolicy) -> None:
        """A policy was read, and may come into force."""
        self._waiting = loaded
        self._look_at = self._clock()

    def tick(self) -> None:
        """Record what is waited for if a worker serves it by now."""
        if self._waiting is None or self._clock() < self._look_at:
            return
        self._look_at = self._clock() + LOOK_SECONDS
        if self._waiting.version in self._in_force():
            self._record(self._waiting)

    def _record(self, loaded: LoadedPolicy) -> None:
        try:
            self._history.record(loaded.version, loaded.text, self._now())
        except (HistoryError, OSError) as error:
            self._look_at = self._clock() + AGAIN_SECONDS
            log.error("policy %s is in force but could not be kept in the history: %s", loaded.version, error)
        else:
            self._waiting = None
