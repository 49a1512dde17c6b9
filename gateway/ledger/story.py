"""A call's story as JSON: written in few bytes, once a call; read back in words, once somebody asks.

It is written as a list `[attempts, notes, source]`, each attempt a list too, with times in whole microseconds since the
call began. Of an attempt's usage only what the record's own columns do not say is there. Older releases wrote
dictionaries with all of it; they are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from gateway.trace import Attempt, Bill, Extra, Source, Trace, Usage

LENGTH = 64  # attempts and notes kept of one call
OVERHEAD = "overhead"  # the technique that costs: our own compute
OWN = "own"  # stands for a bill's lines where they are only what `own_usd` says, as an estimate

_THE_ANSWERS = 1  # stands for a usage that is the call's own: its columns tell it
_NO_EXTRA = asdict(Extra())
_TOKENS = {
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "cached": "cached_tokens",
    "reasoning": "reasoning_tokens",
    "estimated": "estimated",
}

Record = dict[str, Any]


def written(trace: Trace) -> str:
    """Attempts, notes and, of an answer made for another call, its source, as JSON."""
    attempts = [_attempt(a, trace.started, trace.usage) for a in trace.attempts[:LENGTH]]
    if trace.source is not None:
        return orjson.dumps([attempts, trace.notes[:LENGTH], _source(trace.source)]).decode()
    return orjson.dumps([attempts, trace.notes[:LENGTH]]).decode()


def _source(source: Source) -> list[str]:
    return [source.model, source.upstream]


def _attempt(attempt: Attempt, origin: float, answers: Usage | None) -> list[Any]:
    first, ended = attempt.first_byte, attempt.ended
    told = [
        attempt.upstream,
        attempt.model,
        attempt.status,
        attempt.fault,
        int((attempt.started - origin) * 1e6 + 0.5),
        None if first is None else int((first - origin) * 1e6 + 0.5),
        None if ended is None else int((ended - origin) * 1e6 + 0.5),
        _usage(attempt.usage, answers),
    ]
    if attempt.seconds is not None:
        told.append(attempt.seconds)
    return told


def _usage(usage: Usage | None, answers: Usage | None) -> Any:
    if usage is None:
        return None
    if usage is answers and usage.extra is None:
        return _THE_ANSWERS
    told = [usage.prompt, usage.completion, usage.cached, usage.reasoning, usage.estimated]
    return told if usage.extra is None else [*told, _extra(usage.extra)]


def _extra(extra: Extra) -> Record:
    return {name: value for name, value in asdict(extra).items() if value != _NO_EXTRA[name]}


def read(text: str, record: Mapping[str, Any]) -> Record:
    """Parse the story of this record: `attempts`, `notes`, `source` where there is one, and `bill` where it has one.

    Raises ValueError if the text is none of ours.
    """
    told = orjson.loads(text)
    story = _read(told, record) if isinstance(told, list) else _read_older(told)
    bill = _bill(record)
    return story if bill is None else {**story, "bill": bill}


def _read(told: list[Any], record: Mapping[str, Any]) -> Record:
    attempts, notes, *rest = told
    story: Record = {"attempts": [_attempt_read(a, record) for a in attempts], "notes": notes}
    if rest:
        story["source"] = {"model": rest[0][0], "upstream": rest[0][1]}
    return story


def _attempt_read(told: list[Any], record: Mapping[str, Any]) -> Record:
    upstream, model, status, fault, started, first, ended, usage, *seconds = told
    return {
        "upstream": upstream,
        "model": model,
        "status": status,
        "fault": fault,
        "started_ms": started / 1e3,
        "first_byte_ms": None if first is None else first / 1e3,
        "ended_ms": None if ended is None else ended / 1e3,
        "usage": _usage_read(usage, record),
        **({"seconds": seconds[0]} if seconds else {}),
    }


def _usage_read(told: Any, record: Mapping[str, Any]) -> Record | None:
    if told is None:
        return None
    if told == _THE_ANSWERS:
        return {name: record[column] for name, column in _TOKENS.items()}
    return dict(zip(_TOKENS, told, strict=False)) | (told[5] if len(told) > 5 else {})


def _read_older(told: Record) -> Record:
    """What earlier releases wrote; their times had more digits than anybody reads."""
    return {**told, "attempts": [_rounded(attempt) for attempt in told["attempts"]]}


def _rounded(attempt: Record) -> Record:
    return {name: round(v, 3) if name.endswith("_ms") and v is not None else v for name, v in attempt.items()}


def _bill(record: Mapping[str, Any]) -> Record | None:
    if not record["basis"]:
        return None
    return {
        "cost": record["cost_usd"],
        "baseline": record["baseline_usd"],
        "own": record["own_usd"],
        "saved": record["saved_usd"],
        "basis": record["basis"],
        "lines": lines_read(record["lines"], record["own_usd"]),
    }


def lines_written(bill: Bill | None) -> str:
    """The lines of a bill, as they lie in a record's column."""
    if bill is None or not bill.lines:
        return ""
    if len(bill.lines) == 1 and bill.lines[0] == (OVERHEAD, -bill.own, "estimated"):
        return OWN  # nearly every call that no technique helped
    return orjson.dumps(bill.lines).decode()


def lines_read(text: str, own: float) -> list[list[Any]]:
    """The lines again: [technique, USD saved, how that is known]. Raises ValueError if the text is none of ours."""
    if text == OWN:
        return [[OVERHEAD, -own, "estimated"]]
    found: list[list[Any]] = orjson.loads(text or "[]")
    return found
