"""Server-sent events: finding where events end, without parsing what nothing needs to read.

An event ends at a blank line (WHATWG HTML, "Server-sent events"): LF LF, CR LF CR LF, or CR CR.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

MAX_EVENT_BYTES = 8 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
MARKS = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n")  # an empty line, in every mixture of line ends
LONGEST_MARK = 4


class EventTooLong(Exception):
    """An event does not end within `MAX_EVENT_BYTES`."""


class EventSplitter:
    """Turns chunks cut anywhere into blocks of whole events. Its work grows with the bytes, however they are cut."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def rest(self) -> bytes:
        """The beginning of an event whose end has not come."""
        return bytes(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Every event that is now whole, as one block of bytes; b"" while there is none. Raises EventTooLong."""
        rest = self._rest
        if not rest and data.endswith(b"\n\n"):
            return data
        seam = max(0, len(rest) - LONGEST_MARK + 1)  # what lies before has been searched
        rest += data
        end = _last_end(rest, seam)
        block = bytes(rest[:end])
        del rest[:end]
        if len(rest) > MAX_EVENT_BYTES:
            raise EventTooLong
        return block


def _last_end(data: bytearray, start: int) -> int:
    marks = MARKS if data.find(b"\r", start) >= 0 else MARKS[:1]
    return max(at + len(mark) if (at := data.rfind(mark, start)) >= 0 else 0 for mark in marks)


def events(block: bytes) -> Iterator[bytes]:
    """The events of a block, each with its own ending, so that their join is the block again."""
    if b"\r" in block:
        yield from _events_any(block)
        return
    start = 0
    while (at := block.find(b"\n\n", start)) >= 0:
        yield block[start : at + 2]
        start = at + 2
    if start < len(block):
        yield block[start:]


def _events_any(block: bytes) -> Iterator[bytes]:
    event = b""
    for line in block.splitlines(keepends=True):
        event += line
        if not line.strip(b"\r\n"):
            yield event
            event = b""
    if event:
        yield event


def data_of(event: bytes) -> bytes | None:
    """The data of one event, or None for a comment."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def json_of(event: bytes) -> dict[str, Any] | None:
    """The JSON object an event carries; None for a comment or `[DONE]`. Raises ValueError for anything else."""
    data = data_of(event)
    if data is None or data.strip() == b"[DONE]":
        return None
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("an event is not a JSON object")
    return value


def event(data: bytes) -> bytes:
    """One event around one line of data."""
    return b"data: " + data + b"\n\n"
