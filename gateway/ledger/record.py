"""A trace as bytes, and back: what travels from a worker to the recorder.

`pack` runs on the event loop, once a call: one flat tuple of plain values, marshalled. It is done there and at once
because the trace is still in the processor's caches, and because bytes, unlike the objects of a trace, are nothing that
the collector has to look at while they wait.

Only the recorder reads this, only frames whose checksum agrees, and only those of its own `VERSION`: to be raised with
every change of what is packed.
"""

from __future__ import annotations

import marshal
from typing import Any

from gateway.telemetry.context import SpanIds
from gateway.trace import Attempt, Bill, Extra, Source, Trace, Usage

VERSION = 1
_MARSHAL = 2  # the last format without references: looking for shared objects costs more than it saves
_THE_ANSWERS = 1  # stands for an attempt's usage that is the call's own
_NO_SPAN: SpanIds | None = None  # spans are made in the worker

BAD_RECORD = (ValueError, TypeError, AttributeError, EOFError, ArithmeticError)  # what wrong fields or bytes raise


def pack(trace: Trace) -> bytes:
    """The trace as bytes. Raises one of BAD_RECORD where a field holds what no field of a trace can."""
    flat = _flat(trace)
    try:
        return marshal.dumps(flat, _MARSHAL)
    except ValueError:  # a string or number of a class of its own, an enumeration's for example
        return marshal.dumps(_plain(flat), _MARSHAL)


def unpack(data: bytes) -> Trace:
    """The trace again. Raises one of BAD_RECORD."""
    (
        id_, at, started, endpoint, tenant, key, team, tags, model, rule, policy, streamed, request_bytes,
        response_bytes, first_byte, ended, status, outcome, usage, attempts, notes, cache, age, source, saved, waited,
        broke, serves_nobody, holdout, removed, bill, content,
    ) = marshal.loads(data)  # noqa: S302 - we wrote it: the file is ours alone and its checksum agrees  # fmt: skip
    used = None if usage is None else _usage_read(usage)
    return Trace(
        id_, at, started, endpoint, tenant, key, team, tags, model, rule, policy, streamed, request_bytes,
        response_bytes, first_byte, ended, status, outcome, used, [_attempt_read(each, used) for each in attempts],
        notes, cache, age, None if source is None else Source(*source), saved, waited, broke, serves_nobody,
        holdout, removed, None if bill is None else Bill(*bill), _NO_SPAN, content,
    )  # fmt: skip


def _flat(trace: Trace) -> tuple[Any, ...]:
    used, bill, source = trace.usage, trace.bill, trace.source
    return (
        trace.id,
        trace.at,
        trace.started,
        trace.endpoint,
        trace.tenant,
        trace.key,
        trace.team,
        trace.tags,
        trace.model,
        trace.rule,
        trace.policy,
        trace.streamed,
        trace.request_bytes,
        trace.response_bytes,
        trace.first_byte,
        trace.ended,
        trace.status,
        trace.outcome,
        None if used is None else _usage(used),
        [_attempt(each, used) for each in trace.attempts],
        trace.notes,
        trace.cache,
        trace.age,
        None if source is None else _source(source),
        trace.saved,
        trace.waited,
        trace.broke,
        trace.serves_nobody,
        trace.holdout,
        trace.removed,
        None if bill is None else (bill.cost, bill.baseline, bill.own, bill.saved, bill.basis, bill.lines),
        trace.content,
    )


def _attempt(attempt: Attempt, answers: Usage | None) -> tuple[Any, ...]:
    used = attempt.usage
    return (
        attempt.upstream,
        attempt.model,
        attempt.started,
        attempt.first_byte,
        attempt.ended,
        attempt.status,
        attempt.fault,
        None if used is None else _THE_ANSWERS if used is answers else _usage(used),
        attempt.seconds,
    )


def _attempt_read(told: tuple[Any, ...], answers: Usage | None) -> Attempt:
    upstream, model, started, first_byte, ended, status, fault, usage, seconds = told
    used = answers if usage == _THE_ANSWERS else None if usage is None else _usage_read(usage)
    return Attempt(upstream, model, started, first_byte, ended, status, fault, used, seconds)


def _usage(used: Usage) -> tuple[Any, ...]:
    extra = used.extra
    rare = None if extra is None else _extra(extra)
    return used.prompt, used.completion, used.cached, used.reasoning, used.estimated, rare


def _usage_read(told: tuple[Any, ...]) -> Usage:
    prompt, completion, cached, reasoning, estimated, rare = told
    return Usage(prompt, completion, cached, reasoning, estimated, None if rare is None else Extra(*rare))


def _extra(extra: Extra) -> tuple[Any, ...]:
    return (
        extra.cache_write,
        extra.cache_write_1h,
        extra.audio_input,
        extra.image_input,
        extra.audio_output,
        extra.image_output,
        extra.tier,
        extra.usd,
    )


def _source(source: Source) -> tuple[Any, ...]:
    return (
        source.model,
        source.upstream,
        source.tokens,
        source.completion,
        source.cached,
        source.usd,
        source.is_estimated,
    )


def _plain(value: Any) -> Any:
    """The value, and all in it, as one of the classes that marshal knows."""
    if isinstance(value, list):
        return list(map(_plain, value))
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # not `str(value)`: an enumeration may call itself something else
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else value
