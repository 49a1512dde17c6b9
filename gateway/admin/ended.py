"""Sessions that somebody signed out of, kept over a restart: a digest of each cookie, until its time is over."""

from __future__ import annotations

import hashlib
import logging
import math

import orjson

from gateway.state import State

_log = logging.getLogger(__name__)


class Ended:
    """The cookies that open nothing any more; without a state directory they are forgotten with the process."""

    def __init__(self, state: State | None = None) -> None:
        self._state = state
        self._file = state.dir / "sessions.json" if state else None
        self._until = self._read()

    def __contains__(self, cookie: str) -> bool:
        return _digest(cookie) in self._until

    def add(self, cookie: str, until: float, now: float) -> None:
        """Remember this one until that time; the ones whose time is over are forgotten."""
        self._until = {old: end for old, end in self._until.items() if end > now} | {_digest(cookie): until}
        if self._state is None or self._file is None:
            return
        try:
            self._state.write(self._file, orjson.dumps(self._until))
        except OSError as error:
            _log.warning("a session that was signed out of may come back after a restart: %s", error.strerror)

    def _read(self) -> dict[str, float]:
        if self._file is None:
            return {}
        try:
            told = orjson.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            _log.warning("%s cannot be read: sessions that were signed out of may be open again", self._file.name)
            return {}
        found = told if isinstance(told, dict) else {}
        return {name: float(end) for name, end in found.items() if _is_time(end)}


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()
