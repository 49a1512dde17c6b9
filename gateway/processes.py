"""Child processes of serve that must always run: started, watched, started again, stopped; and their priority."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

FIRST_DELAY = 0.5  # seconds before the first restart; doubled each time
LONGEST_DELAY = 30.0
HEALTHY_AFTER = 60.0  # seconds of running that forget earlier ends
log = logging.getLogger("sluice")


class Kept:
    """One process that is started again whenever it ends, after a growing delay. `tick` never waits."""

    def __init__(
        self, name: str, start: Callable[[], subprocess.Popen[bytes]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._start = start
        self._clock = clock
        self._delay = FIRST_DELAY
        self._due = 0.0
        self._started = clock()
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = start()

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs or waits for its restart."""
        return self._process.poll() if self._process is not None else None

    def tick(self) -> None:
        """Look after the process."""
        now = self._clock()
        if self._process is None:
            if now >= self._due:
                self._started, self._process = now, self._start()
                self.restarts += 1
            return
        code = self._process.poll()
        if code is None:
            return
        if now - self._started >= HEALTHY_AFTER:
            self._delay = FIRST_DELAY
        log.error("%s ended with %s; it starts again in %g s", self.name, code, self._delay)
        self._process, self._due = None, now + self._delay
        self._delay = min(LONGEST_DELAY, self._delay * 2)

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for its end, and kill it when it takes longer than `seconds`."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            log.error("%s did not end in time and is killed", self.name)
            self._process.kill()
            self._process.wait()


def prioritize(nice: int) -> None:
    """Give this thread this priority, as far as the system lets us: 19 is the lowest, 0 the usual one."""
    with suppress(OSError):
        if nice:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
    if os.getsid(0) == os.getpid():
        # Linux may share a busy core between sessions first: then a priority within one's own says nothing.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(nice))
