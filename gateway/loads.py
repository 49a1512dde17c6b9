"""How many calls the other workers of this machine have under way at each machine of one's own.

Each call is charged its share of a machine's time, so every worker must know how many share it. Each writes its own
numbers to a small file and reads the others', about twice a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from gateway.money.machine import Meter
from gateway.state import State

STALE_SECONDS = 5.0  # a worker that is gone writes no more


class Loads:
    """One worker's view of the others."""

    def __init__(self, state: State, worker: int, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._own = _path(state, worker)
        self._clock = clock

    def exchange(self, meters: Mapping[str, Meter], now: float) -> None:
        """Tell the others, and have the meters hear them; `now` is of a monotonic clock. Raises OSError."""
        told = {name: meter.own for name, meter in meters.items()}
        self._state.write(self._own, orjson.dumps({"at": self._clock(), "calls": told}))
        heard = [self._read(path) for path in self._state.dir.glob("load-*.json") if path != self._own]
        for name, meter in meters.items():
            meter.hear(sum(calls.get(name, 0) for calls in heard), now)

    def _read(self, path: Path) -> dict[str, float]:
        try:
            found = orjson.loads(path.read_bytes())
            if abs(self._clock() - found["at"]) > STALE_SECONDS:
                return {}
            return {str(name): float(calls) for name, calls in found["calls"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}  # gone, or not one of ours


def _path(state: State, worker: int) -> Path:
    return state.dir / f"load-{worker}.json"
