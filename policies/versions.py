"""The index of kept policy versions: what its lines say, and which of them may go."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies.scalars import LONGEST_NAME

MOST_KEPT = 1000  # times that a policy came into force; named versions stay beyond it
MOST_NAMED = 1000
MOST_LINES = 2 * (MOST_KEPT + MOST_NAMED)  # then the index is written anew
VERSION = re.compile(r"[A-Za-z0-9]{1,64}")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the index: a version came into force at this time, or, without `digest`, got this name."""

    version: str
    at: float = 0.0
    digest: str = ""  # SHA-256 of the text, in hexadecimal digits
    size: int = 0
    name: str = ""

    def line(self) -> bytes:
        """The line, with its end."""
        if not self.digest:
            return json.dumps({"version": self.version, "name": self.name}).encode() + b"\n"
        told = {"version": self.version, "at": self.at, "sha256": self.digest, "bytes": self.size}
        return json.dumps(told).encode() + b"\n"


def read_events(data: bytes) -> list[Event]:
    """What an index says; a line that cannot be read, such as one that was cut off, is as if it were not there."""
    return [event for event in map(_event, data.split(b"\n")) if event is not None]


def times(events: Iterable[Event]) -> list[Event]:
    """The times that a version came into force, oldest first."""
    return [event for event in events if event.digest]


def names(events: Sequence[Event]) -> dict[str, str]:
    """The names by version: the last word counts, and nothing has a name that is not kept."""
    kept = {event.version for event in times(events)}
    said = {event.version: event.name for event in events if not event.digest}
    return {version: name for version, name in said.items() if name and version in kept}


def bounded(events: Sequence[Event]) -> list[Event]:
    """The newest times, and of each named version at least the last; names as they stand now."""
    named, all_times = names(events), times(events)
    newest = all_times[-MOST_KEPT:]
    there = {event.version for event in newest}
    last = {event.version: event for event in all_times if event.version in named and event.version not in there}
    return [*last.values(), *newest, *(Event(version, name=name) for version, name in named.items())]


def _event(line: bytes) -> Event | None:
    """One line; None for what is no line of an index."""
    try:
        told = json.loads(line)
        return _said(told) if isinstance(told, dict) else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _said(told: Mapping[str, object]) -> Event | None:
    version, name, digest, size = (told.get(key) for key in ("version", "name", "sha256", "bytes"))
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        return None
    if isinstance(name, str) and digest is None and len(name) <= LONGEST_NAME:
        return Event(version, name=name)
    at = told.get("at")
    if not isinstance(digest, str) or not isinstance(size, int) or not isinstance(at, int | float):
        return None
    return Event(version, float(at), digest, size) if digest and math.isfinite(at) else None
