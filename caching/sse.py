"""Server-sent events in whole blocks: the events of a block, and the JSON each carries.

An event ends at an empty line (WHATWG HTML, "Server-sent events"): LF LF, CR LF CR LF, or CR CR.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"


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
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]  # one line, as nearly all have
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
