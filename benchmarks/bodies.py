"""What the static upstream and the load generator say to each other: request bodies, answers and streamed chunks.

A request names the answer that it wants by a marker in its first message, such as `[static burst]`, because a gateway
may rename the model, drop headers and re-serialize the body, but it must carry the text. The kinds of answer:

    plain     one JSON document
    burst     66 server-sent chunks at once, each its own HTTP chunk as engines send them
    whole     the same 66 as one body of known length, as a file server sends them: the least work a stream can be
    paced     the same 66 chunks, one in 20 ms, each with its sending time
    error     status 500 with OpenAI's envelope          garbage   status 200 and no JSON
    cut       a paced stream cut off after ten chunks    hang      no answer at all
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

import orjson

Kind = Literal["plain", "burst", "whole", "paced", "error", "garbage", "cut", "hang"]
Size = Literal["1.7k", "100k"]

SIZES: dict[Size, int] = {"1.7k": 1_700, "100k": 102_400}
CHUNKS = 66
PACE_S = 0.020
STREAM_S = CHUNKS * PACE_S
CUT_AFTER = 10
MODEL = "static"
STREAMED = frozenset({"burst", "whole", "paced", "cut"})
SLOW = frozenset({"paced", "cut", "hang"})
# 16 digits hold a monotonic clock in nanoseconds for 115 days; a fixed width keeps all answers of a kind equally long.
STAMP = re.compile(rb"t=(\d{16})")
MARKER = re.compile(rb"\[static ([a-z]+)\]")

_STAMP_BLANK = "t=" + "0" * 16
_COUNTER = 12  # digits that make each request's body unique, so that a cache answers only what is asked twice


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request body with room for a number, so that building the next one costs two concatenations."""

    before: bytes
    after: bytes

    def numbered(self, number: int) -> bytes:
        """Give the body of call `number`; all have the same length."""
        return b"%b%012d%b" % (self.before, number, self.after)


def request_body(kind: Kind, size: Size) -> RequestBody:
    """Build a chat request of exactly `SIZES[size]` bytes that asks for this kind of answer."""
    empty = _chat(kind, "")
    text = _words(SIZES[size] - len(empty))
    before, after = _chat(kind, text).split(b"#" * _COUNTER)
    return RequestBody(before, after)


def _chat(kind: Kind, text: str) -> bytes:
    return orjson.dumps(
        {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": f"[static {kind}] You answer questions about the text that follows."},
                {"role": "user", "content": f"Call {'#' * _COUNTER}. {text}"},
            ],
            "temperature": 0,
            "max_tokens": 128,
            "stream": kind in STREAMED,
        }
    )


def _words(length: int) -> str:
    """Invent text of exactly `length` bytes, the same in every run."""
    rng = random.Random(length)
    words: list[str] = []
    size = 0
    while size < length:
        words.append("".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(2, 9))))
        size += len(words[-1]) + 1
    return " ".join(words)[:length].ljust(length, ".")


def wanted(body: bytes) -> Kind:
    """Read which answer a request wants; one without a marker gets a plain answer or a burst, as `stream` says."""
    marker = MARKER.search(body)
    if marker is None:
        return "burst" if re.search(rb'"stream"\s*:\s*true', body) else "plain"
    return marker[1].decode()  # type: ignore[return-value]  # only our own load generator writes markers


def completion() -> bytes:
    """Build the JSON document of a plain answer."""
    message = {"role": "assistant", "content": _words(560)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps(_envelope("chat.completion") | {"choices": [choice], "usage": _usage()})


def usage_event() -> bytes:
    """Build the event that a stream ends with when `stream_options.include_usage` asks for it."""
    return b"data: " + orjson.dumps(_envelope("chat.completion.chunk") | {"choices": [], "usage": _usage()}) + b"\n\n"


def events() -> list[bytes]:
    """Build the 66 chunks of a stream as server-sent events: a role, 64 stamped words, a finish reason."""
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": _STAMP_BLANK}]
    deltas += [{"content": f" {_STAMP_BLANK}"} for _ in range(CHUNKS - 2)]
    return [_event(delta, None) for delta in deltas] + [_event({}, "stop")]


def _event(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return b"data: " + orjson.dumps(_envelope("chat.completion.chunk") | {"choices": [choice]}) + b"\n\n"


def _envelope(name: str) -> dict[str, object]:
    return {"id": "chatcmpl-static0000000001", "object": name, "created": 1_700_000_000, "model": MODEL}


def _usage() -> dict[str, int]:
    return {"prompt_tokens": 400, "completion_tokens": CHUNKS, "total_tokens": 400 + CHUNKS}
