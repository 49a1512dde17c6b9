"""Server-sent events: finding where events end, without parsing what nothing needs to read.

An event ends at a blank line (WHATWG HTML, "Server-sent events"): LF LF, CR LF CR LF, or CR CR.
"""

from __future__ import annotations

from caching.sse import DONE, data_of, event, events, json_of

__all__ = ["DONE", "MAX_EVENT_BYTES", "EventSplitter", "EventTooLong", "data_of", "event", "events", "json_of"]

MAX_EVENT_BYTES = 8 * 1024 * 1024
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
