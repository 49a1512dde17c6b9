"""Says why calls missed, a few a second: each against the calls that missed before it.

It runs in the journal's thread, which shares the interpreter with the event loop, so it has a budget. What is over the
budget is neither explained nor remembered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from caching.errors import CachingError
from gateway.trace import MISS, Parts, Trace

PER_SECOND = 50.0  # calls explained
MOST = 100  # that wait to be explained; no more would be, and each holds its request's JSON
REASON = "miss: "  # so begins the note of why a call missed
LONGEST = 1_000_000  # bytes of a request that may wait

_FAULTS = (CachingError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)


class Misses(Protocol):
    """What remembers calls and finds the nearest; see `caching.misses`."""

    def why(self, parts: tuple[tuple[str, str], ...]) -> str:
        """Say in which field this call first differs from the one nearest to it."""

    def add(self, parts: tuple[tuple[str, str], ...]) -> None:
        """Remember a call."""


def is_worth_keeping(trace: Trace, waiting: int) -> bool:
    """Say whether a call that ended may wait with its request's JSON, where `waiting` records wait before it."""
    return trace.cache == MISS and waiting < MOST and trace.request_bytes <= LONGEST


class Explainer:
    """Notes on a call's trace why it missed. Used by one thread only."""

    def __init__(
        self, misses: Misses, *, per_second: float = PER_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._misses = misses
        self._per_second = per_second
        self._clock = clock
        self._left = per_second
        self._refilled = clock()

    def refill(self) -> None:
        """Add to the budget what the time since the last refill is worth; a second's worth is the most."""
        now = self._clock()
        self._left = min(self._per_second, self._left + self._per_second * (now - self._refilled))
        self._refilled = now

    def explain(self, trace: Trace) -> None:
        """Note why this call missed, if it did and the budget allows, and let go of its request's JSON.

        A layer that found the reason has noted it: such a call is only remembered.
        """
        identity, trace.identity = trace.identity, None
        if identity is None or trace.cache != MISS or self._left < 1:
            return
        self._left -= 1
        try:
            self._explain(trace, identity)
        except _FAULTS as fault:
            # An explanation is an extra: the record is worth more, and goes on without.
            if not _is_explained(trace):
                trace.note("cache", f"{REASON}could not be explained ({type(fault).__name__})")

    def _explain(self, trace: Trace, identity: Parts) -> None:
        parts = identity.parts()
        if not _is_explained(trace):
            trace.note("cache", REASON + self._misses.why(parts))
        self._misses.add(parts)


def _is_explained(trace: Trace) -> bool:
    return any(layer == "cache" and words.startswith(REASON) for layer, words in trace.notes)
