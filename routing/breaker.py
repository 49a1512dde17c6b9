"""A circuit breaker: stop asking an upstream that fails, is slow, or asks for a rest, and notice when it is well again.

Closed, it counts the last `window` outcomes and opens when too many failed or were slow. Open, it refuses for
`open_seconds`. Then, half-open, it lets `probes` calls through at a time: as many successes close it, one failure opens
it again, for twice as long each time, up to `LONGEST` seconds (Nygard, "Release It!"; Finagle's failure accrual).

A 429 is not a failure: the upstream is well and asks for less. It is left alone for as long as it says.

No I/O and no clock here: every method takes `now`, in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

LONGEST = 120.0
LEAST_OUTCOMES = 5  # fewer say nothing: one failed call of one is not an outage
DEFAULT_REST = 1.0  # seconds to leave an upstream alone after a 429 that does not say how long


class State(StrEnum):
    """What a breaker does with the next call."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When to open and for how long; shares are of the outcomes in the window, times in seconds."""

    window: int = 20
    failures: float = 0.5
    slow: float | None = None  # a first byte later than this counts as slow
    slow_share: float = 0.8
    open_seconds: float = 10.0
    probes: int = 2


class Breaker:
    """The health of one upstream, told by its calls."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._outcomes: deque[tuple[bool, bool]] = deque(maxlen=settings.window)  # (failed, slow)
        self._opened = False
        self._open_until = 0.0
        self._open_for = settings.open_seconds
        self._rest_until = 0.0
        self._probing = 0
        self._well = 0  # trial calls that succeeded since it half-opened
        self.reason = ""

    def state(self, now: float) -> State:
        """What the breaker would do with a call now."""
        if now < self._rest_until or (self._opened and now < self._open_until):
            return State.OPEN
        return State.HALF_OPEN if self._opened else State.CLOSED

    def admit(self, now: float) -> bool:
        """Let a call through or not. Whoever is let through must tell how it went, or `abandoned`."""
        state = self.state(now)
        if state is State.CLOSED:
            return True
        if state is State.OPEN or self._probing >= self._settings.probes:
            return False
        self._probing += 1
        return True

    def opens_again(self, now: float) -> float:
        """Seconds until a call may be let through again."""
        return max(0.0, self._rest_until - now, self._open_until - now if self._opened else 0.0)

    def succeeded(self, now: float, seconds: float) -> None:
        """A call was answered; its first byte came after `seconds`."""
        slow = self._settings.slow is not None and seconds > self._settings.slow
        self._probing = max(0, self._probing - 1)
        if self._opened and now >= self._open_until:
            if slow:
                self._open(now, "slow")
                return
            self._well += 1
            if self._well < self._settings.probes:
                return
            self._close()
        self._outcomes.append((False, slow))
        if slow:
            self._judge(now)

    def failed(self, now: float) -> None:
        """A call failed: no connection, no answer in time, a 5xx, garbage, or a cut stream."""
        self._probing = max(0, self._probing - 1)
        if self._opened and now >= self._open_until:
            self._open(now, self.reason)
            return
        self._outcomes.append((True, False))
        self._judge(now)

    def throttled(self, now: float, rest: float | None) -> None:
        """The upstream answered 429; leave it alone for `rest` seconds."""
        self._probing = max(0, self._probing - 1)
        self._rest_until = max(self._rest_until, now + min(DEFAULT_REST if rest is None else rest, LONGEST))
        self.reason = "throttled"

    def abandoned(self) -> None:
        """The caller left before the upstream could show how it is."""
        self._probing = max(0, self._probing - 1)

    def _judge(self, now: float) -> None:
        if self._opened or len(self._outcomes) < min(LEAST_OUTCOMES, self._settings.window):
            return
        count = len(self._outcomes)
        if sum(failed for failed, _ in self._outcomes) / count >= self._settings.failures:
            self._open(now, "errors")
        elif sum(slow for _, slow in self._outcomes) / count >= self._settings.slow_share:
            self._open(now, "slow")

    def _open(self, now: float, reason: str) -> None:
        self._open_for = min(LONGEST, self._open_for * 2) if self._opened else self._settings.open_seconds
        self._opened, self._open_until, self.reason = True, now + self._open_for, reason
        self._well = 0
        self._outcomes.clear()

    def _close(self) -> None:
        self._opened, self.reason = False, ""
        self._outcomes.clear()
