"""A trace as one row of the ledger, and its story as JSON.

`row` runs once a call, in a thread that shares the interpreter with the event loop, so it is written for speed.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.trace import Attempt, Source, Trace, Usage

Value = str | int | float | None
Row = tuple[Value, ...]

COLUMNS = (
    "id", "at", "tenant", "key", "endpoint", "model", "answered_model", "upstream", "rule", "policy",
    "status", "outcome", "streamed", "attempts", "request_bytes", "response_bytes",
    "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "estimated",
    "total_ms", "first_byte_ms", "upstream_ms", "overhead_ms", "cache", "age_s", "saved_tokens", "story",
)  # fmt: skip

NAME_LENGTH = 200  # of what a client may have invented (a model, an id); longer names are cut
STORY_LENGTH = 64  # attempts and notes kept of one call
_UNKNOWN = (None, None, None, None, False)  # tokens that nobody counted are not zero
_INTEGER = 2**63 - 1  # SQLite's largest


def row(trace: Trace) -> Row:
    """One call as the values of `COLUMNS`; times in milliseconds, None where something did not happen."""
    attempts, used, origin = trace.attempts, trace.usage, trace.started
    last = attempts[-1] if attempts else None
    source = trace.source
    first = None if trace.first_byte is None else (trace.first_byte - origin) * 1e3
    now = trace.first_byte or trace.ended or origin
    waited = trace.upstream_seconds(now) * 1e3 if attempts or trace.waited else 0.0
    return (
        trace.id[:NAME_LENGTH],
        trace.at,
        trace.tenant,
        trace.key,
        trace.endpoint,
        trace.model[:NAME_LENGTH],
        source.model if source else last.model if last and not last.fault else "",
        last.upstream if last else "",
        trace.rule,
        trace.policy,
        trace.status,
        trace.outcome,
        trace.streamed,
        len(attempts),
        trace.request_bytes,
        trace.response_bytes,
        *((used.prompt, used.completion, used.cached, used.reasoning, used.estimated) if used else _UNKNOWN),
        None if trace.ended is None else (trace.ended - origin) * 1e3,
        first,
        waited,
        None if first is None else max(0.0, first - waited),
        trace.cache,
        trace.age,
        trace.saved_tokens,
        _story(trace),
    )


def _story(trace: Trace) -> str:
    """Attempts, notes and, of an answer made for another call, its source, as JSON; times in ms since the start."""
    attempts = [_attempt(a, trace.started) for a in trace.attempts[:STORY_LENGTH]]
    story: dict[str, Any] = {"attempts": attempts, "notes": trace.notes[:STORY_LENGTH]}
    if trace.source is not None:
        story["source"] = _source(trace.source)
    return orjson.dumps(story).decode()


def _source(source: Source) -> dict[str, str]:
    return {"model": source.model, "upstream": source.upstream}


def _attempt(attempt: Attempt, origin: float) -> dict[str, Any]:
    first, ended = attempt.first_byte, attempt.ended
    return {
        "upstream": attempt.upstream,
        "model": attempt.model,
        "status": attempt.status,
        "fault": attempt.fault,
        "started_ms": (attempt.started - origin) * 1e3,
        "first_byte_ms": None if first is None else (first - origin) * 1e3,
        "ended_ms": None if ended is None else (ended - origin) * 1e3,
        "usage": _usage(attempt.usage),
    }


def _usage(usage: Usage | None) -> dict[str, int] | None:
    """A dictionary by hand: orjson would take a dataclass as it is, in twice the time."""
    if usage is None:
        return None
    return {
        "prompt": usage.prompt,
        "completion": usage.completion,
        "cached": usage.cached,
        "reasoning": usage.reasoning,
        "estimated": usage.estimated,
    }


def cleaned(row: Row) -> Row:
    """The row with what SQLite cannot hold replaced: lone surrogates, and numbers over 64 bits."""
    return tuple(_cleaned(value) for value in row)


def _cleaned(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int):
        return max(-_INTEGER, min(value, _INTEGER))
    return value
