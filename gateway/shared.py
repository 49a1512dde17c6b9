"""Replies made of answers that are kept or shared: the form they are asked for in, who made them, what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import orjson

from caching.eligibility import answer_reason, choices_of
from caching.entry import Entry
from caching.forms import NO_USAGE, Answer, may_say_usage
from caching.identity import Identity
from gateway import sse, wire
from gateway.call import Call, Reply
from gateway.errors import DeadlinePassed, GatewayError, UpstreamFailed, envelope
from gateway.trace import COALESCED, Source, Trace
from gateway.usage import usage_of
from policies.caching import RuleCache

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
Cost = Callable[[Trace], float | None]
"""What a call has cost so far, in USD."""

LOST = "lost"  # why an answer broke off that was another gateway's
BROKE_OFF = "The answer that this call shared broke off."


def reply_of(answer: Answer, call: Call, *, usage: bool = True) -> Reply:
    """The answer in the form this call wants; a stream with its usage event if `usage`. Raises Unfaithful."""
    if call.wants_stream:
        return Reply(200, EVENTS, answer.events(usage=usage))
    return Reply(200, JSON, answer.plain())


def hit(entry: Entry, call: Call, kind: str, now: float, *, usage: bool = True) -> Reply:
    """An entry as the answer to this call, which is then on record as a hit. Raises Unfaithful."""
    reply = reply_of(entry.answer, call, usage=usage)
    trace = call.trace
    trace.cache = kind
    trace.age = max(0, int(now - entry.created))
    trace.source = source_of(entry)
    return reply


def source_of(entry: Entry) -> Source:
    """Who made a kept answer, and what it took."""
    made_by = (entry.model, entry.upstream, entry.tokens, entry.completion, entry.cached, entry.usd)
    return Source(*made_by, entry.is_estimated)


def entry_of(
    call: Call,
    identity: Identity,
    rule: RuleCache,
    answer: Answer,
    *,
    now: float,
    grace: float,
    made_by: Source,
    seconds: float,
) -> Entry:
    """An answer made now as an entry. It may be used for `grace` seconds after it has grown stale.

    `made_by` and `seconds` say who made it, what it took of tokens and USD, and for how long.
    """
    scope = identity.scope
    asked = call.wishes.directives.ttl
    expires = now + (rule.ttl if asked is None else min(rule.ttl, asked))
    return Entry(
        identity.key,
        identity.check,
        scope.tenant,
        scope.namespace,
        (*rule.tags, *call.wishes.tags),
        made_by.model,
        made_by.upstream,
        created=now,
        expires=expires,
        dies=expires + grace,
        seconds=seconds,
        tokens=made_by.tokens,
        parts=(),
        answer=answer,
        completion=made_by.completion,
        cached=made_by.cached,
        usd=made_by.usd,
        is_estimated=made_by.is_estimated,
    )


def is_answer_to(entry: Entry, identity: Identity) -> bool:
    """Say whether an entry found under a call's key is that very call's: the last look before its bytes are served."""
    return entry.check == identity.check and entry.tenant == identity.scope.tenant


def unkept_reason(call: Call, rule: RuleCache, frames: Sequence[bytes], *, is_stream: bool) -> str:
    """Why an answer that has come to its end is not kept; "" if it is."""
    body = frames[0] if len(frames) == 1 else b"".join(frames)
    reason = answer_reason(body, truncated=rule.truncated, choices=choices_of(call.json))
    return reason or (NO_USAGE if is_stream and not may_say_usage(body) else "")


def may_keep(call: Call) -> bool:
    """Say whether the caller lets the answer be kept."""
    asked = call.wishes.directives
    return not asked.no_store and asked.ttl != 0


def coalesced(trace: Trace, source: Source) -> None:
    """Write down that the answer is another call's."""
    trace.cache = COALESCED
    trace.source = source


def maker(trace: Trace, usd: float | None = None) -> Source:
    """Who made the answer this call got, what it took of tokens, and, if the caller knows, of USD."""
    if trace.source is not None or not trace.attempts:
        return trace.source or Source("", "")
    last = trace.attempts[-1]
    used = last.usage
    if used is None:
        return Source(last.model, last.upstream, usd=usd, is_estimated=True)
    return Source(
        last.model, last.upstream, used.prompt + used.completion, used.completion, used.cached, usd, used.estimated
    )


def with_usage(source: Source, body: bytes) -> Source:
    """The source with the tokens that the answer itself tells; of a stream, its last events are enough."""
    document = body
    if body.lstrip()[:1] != b"{":
        begin = max(0, body.rfind(b"\n\n", 0, max(0, body.rfind(b'"usage"'))))
        document = next((sse.data_of(event) or b"" for event in sse.events(body[begin:]) if b'"usage"' in event), b"")
    used = usage_of(wire.parse_answer(document) or {})
    if used is None:
        return source
    return replace(source, tokens=used.prompt + used.completion, completion=used.completion, cached=used.cached)


def spent(trace: Trace) -> float:
    """Upstream seconds that the answer took."""
    return sum((attempt.ended or trace.started) - attempt.started for attempt in trace.attempts)


def is_stream(headers: Mapping[str, str]) -> bool:
    """Say whether an answer that began with these headers is one of server-sent events."""
    return headers.get("content-type", "").startswith("text/event-stream")


def broken_event(words: str, fault: str) -> bytes:
    """The last event of a stream that cannot go on."""
    return sse.event(envelope(words, type="upstream_error", param=None, code=f"upstream_{fault}"))


async def whole(reply: Reply) -> bytes:
    """All bytes of an answer, which is closed then."""
    try:
        return b"".join([frame async for frame in reply.frames]) if reply.body is None else reply.body
    finally:
        await reply.close()


def dump_error(error: GatewayError) -> bytes:
    """A failure as bytes for other gateways."""
    fault = error.fault if isinstance(error, UpstreamFailed) else ""
    told = [error.status, error.code, error.type, error.message, error.param, fault, error.headers]
    return orjson.dumps(told)


def load_error(data: bytes) -> GatewayError:
    """The failure that another gateway met."""
    try:
        status, code, kind, message, param, fault, headers = orjson.loads(data)
        error = UpstreamFailed(message, fault=fault) if fault else GatewayError(message, param=param)
        error.status, error.code, error.type = int(status), str(code), str(kind)
        error.headers.update({str(name): str(value) for name, value in headers.items()})
    except (ValueError, TypeError, AttributeError):
        return UpstreamFailed(BROKE_OFF, fault="cut")
    return error


def deadline_passed() -> DeadlinePassed:
    """For one whose time was over while an equal call was being answered."""
    return DeadlinePassed("The call's deadline passed while an equal one was being answered.")
