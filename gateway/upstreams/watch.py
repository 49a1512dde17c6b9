"""What passes by in one stream, seen without parsing it: usage, errors, malformed events, the end."""

from __future__ import annotations

import re
from dataclasses import replace
from time import monotonic

from gateway import sse, wire
from gateway.call import Call
from gateway.trace import Attempt, Usage
from gateway.upstreams.estimates import completed, estimate
from gateway.usage import usage_of

DONE_LINE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
HAS_USAGE = re.compile(rb'"usage"\s*:\s*\{')
SAYS = re.compile(rb'"(?:content|reasoning\w*|refusal|text|arguments)"\s*:\s*"[^"]')


class StreamWatch:
    """What passes by in one stream: usage, errors, the end. Parses only events that bear one of them."""

    __slots__ = ("_events", "_has_said", "_says_more", "_withhold", "attempt", "error", "is_done", "is_finished")

    def __init__(self, attempt: Attempt, *, withhold: bool) -> None:
        self.attempt = attempt
        self._withhold = withhold
        self._events = 0
        self._has_said = False  # words came
        self._says_more = False  # words came after the last usage
        self.is_done = False  # `[DONE]` came
        self.is_finished = False  # a finish reason came
        self.error: tuple[str, str] | None = None  # the fault's name, and what to tell

    def see(self, block: bytes) -> bytes:
        """Look at a block of events; return what the client gets of it."""
        events = block.count(b"data:")
        self._events += events
        if b"[DONE]" in block[-16:] and DONE_LINE.search(block, max(0, len(block) - 64)):
            self.is_done = True
        if b'"finish_reason":"' in block or b'"finish_reason": "' in block:
            self.is_finished = True
        self._hear(block)
        if b'"error"' in block or not looks_right(block, events):
            return self._read(block)
        if b'"usage"' in block:
            return self._read_usage(block)
        return block

    def _hear(self, data: bytes, start: int = 0) -> None:
        """Notice words; in an ordinary stream only the first ones are looked for."""
        if not self._says_more and SAYS.search(data, start):
            self._has_said = self._says_more = True

    def _read_usage(self, block: bytes) -> bytes:
        """Parse the one event of a well-formed block that bears a usage; the others pass unread."""
        found = HAS_USAGE.search(block)
        if found is None:  # OpenAI writes `"usage":null` into every event but the last
            return block
        if HAS_USAGE.search(block, found.end()):
            return self._read(block)
        at = found.start()
        before = block.rfind(b"\n\n", 0, at)
        start, end = (before + 2 if before >= 0 else 0), block.find(b"\n\n", at) + 2
        kept = self._keeps(block[start:end])
        self._hear(block, end)
        return block if kept else block[:start] + block[end:]

    def _read(self, block: bytes) -> bytes:
        kept: list[bytes] = []
        for event in sse.events(block):
            self._hear(event)
            if self._keeps(event):
                kept.append(event)
            if self.error is not None:
                break
        return b"".join(kept)

    def _keeps(self, event: bytes) -> bool:
        data = (sse.data_of(event) or b"").strip()
        if not data or data == b"[DONE]":
            return True
        chunk = wire.parse_answer(data)
        if chunk is None:
            self.error = ("garbage", "it sent an event that is not JSON")
            return False
        error = wire.error_of(chunk)
        if error is not None:
            self.error = ("error_in_stream", str(error.get("message", ""))[:500])
            return False
        usage = usage_of(chunk)
        if usage is not None:
            self.attempt.usage = usage  # cumulative where repeated: the last one counts, never their sum
            self._says_more = False
        return not (self._withhold and isinstance(chunk.get("usage"), dict) and chunk.get("choices") == [])

    def settle(self, call: Call) -> None:
        """Close the books of the attempt: where the server has not told all of its usage, count what was sent."""
        attempt = self.attempt
        if attempt.ended is not None:
            return
        attempt.ended = monotonic()
        attempt.usage = self._counted(call, attempt.usage, max(0, self._events - self.is_done))

    def _counted(self, call: Call, told: Usage | None, events: int) -> Usage:
        if told is None:
            return estimate(call, events)
        told = completed(call, told, events if self._has_said else 0)
        if self._says_more or not (self.is_done or self.is_finished):  # what was told is not the last of it
            return replace(told, completion=max(told.completion, events), estimated=True)
        return told


def looks_right(block: bytes, events: int) -> bool:
    """Say whether all data in a block begins and ends as JSON objects do, without parsing any.

    `events` is how often `data:` stands in it. False means no more than that it must be read event by event.
    """
    if not block.startswith(b"data: {"):
        return events == 0 or block == sse.DONE
    objects = block.count(b"}\n\ndata: {") + 1
    if block.endswith(sse.DONE):
        return events == objects + 1 and block.endswith(b"}\n\n" + sse.DONE)
    return events == objects and block.endswith(b"}\n\n")
