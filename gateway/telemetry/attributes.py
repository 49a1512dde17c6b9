"""What a span says of a call and of one attempt: names, counts, times and reasons; no prompt, no answer, no key.

The names are those of OpenTelemetry's GenAI conventions, written out here: the conventions still move, and what is
sent must not change with a library's release. What they have no name for begins with `sluice.`.

Tokens stand on the spans of attempts only. Whoever sums usage over spans must not count an answer twice, nor tokens
that a hit did not use.
"""

from __future__ import annotations

from gateway.telemetry.places import Place
from gateway.trace import Attempt, Bill, Trace, Usage

Value = str | int | float | bool | tuple[str, ...]
Attributes = dict[str, Value]

OPERATIONS = {"chat": "chat", "completions": "text_completion", "embeddings": "embeddings"}
ROUTES = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "embeddings": "/v1/embeddings"}
LONGEST = 200  # characters of a name
OTHER = "_OTHER"


def name_of(trace: Trace, model: str) -> str:
    """A span's name: what is done, and with which model. A name that the policy does not know is none."""
    known = trace.rule or trace.attempts
    return _clean(f"{_operation(trace)} {model}" if known and model else _operation(trace))


def of_call(trace: Trace) -> Attributes:
    """The attributes of the call's own span."""
    found: Attributes = {
        "gen_ai.operation.name": _operation(trace),
        "gen_ai.request.model": trace.model,
        "gen_ai.request.stream": trace.streamed,
        "gen_ai.response.model": _answered_model(trace),
        "http.request.method": "POST",
        "http.route": ROUTES.get(trace.endpoint, ""),
        "http.response.status_code": trace.status,
        "error.type": "" if trace.outcome in {"ok", "refreshed"} else trace.outcome or OTHER,
        "sluice.request_id": trace.id,
        "sluice.tenant": trace.tenant,
        "sluice.team": trace.team,
        "sluice.key_name": trace.key,
        "sluice.tags": tuple(_clean(tag) for tag in trace.tags),
        "sluice.rule": trace.rule,
        "sluice.policy.version": trace.policy,
        "sluice.cache": trace.cache,
        "sluice.attempts": len(trace.attempts),
        "sluice.saved_tokens": trace.saved_tokens,
    }
    if trace.is_held_out:
        found["sluice.held_out"] = True
    if trace.bill is not None:
        found.update(_of_bill(trace.bill))
    return _told(found)


def of_attempt(trace: Trace, attempt: Attempt, place: Place | None) -> Attributes:
    """The attributes of one attempt's span."""
    found: Attributes = {
        "gen_ai.operation.name": _operation(trace),
        "gen_ai.request.model": attempt.model,
        "gen_ai.request.stream": trace.streamed,
        "gen_ai.response.model": "" if attempt.fault or (attempt.status or 0) >= 400 else attempt.model,
        "http.request.method": "POST",
        "http.response.status_code": attempt.status or 0,
        "error.type": attempt.fault,
        "sluice.upstream": attempt.upstream,
    }
    if place is not None:
        found |= {"gen_ai.provider.name": place.provider, "server.address": place.address}
        found["server.port"] = place.port or 0
    if trace.streamed and attempt.first_byte is not None:
        found["gen_ai.response.time_to_first_chunk"] = attempt.first_byte - attempt.started
    if attempt.usage is not None:
        found.update(_of_usage(attempt.usage))
    if attempt.seconds is not None:
        found["sluice.machine_seconds"] = attempt.seconds
    return _told(found)


def _of_usage(usage: Usage) -> Attributes:
    extra = usage.extra
    found: Attributes = {
        "gen_ai.usage.input_tokens": _count(usage.prompt),
        "gen_ai.usage.output_tokens": _count(usage.completion),
        "gen_ai.usage.cache_read.input_tokens": _count(usage.cached),
        "gen_ai.usage.reasoning.output_tokens": _count(usage.reasoning),
    }
    if usage.estimated:
        found["sluice.usage_estimated"] = True
    if extra is not None:
        found["gen_ai.usage.cache_creation.input_tokens"] = _count(extra.cache_write + extra.cache_write_1h)
        found["openai.response.service_tier"] = extra.tier
    return found


def _of_bill(bill: Bill) -> Attributes:
    """A price that is not known is absent, never 0."""
    known = {"sluice.cost_usd": bill.cost, "sluice.baseline_usd": bill.baseline, "sluice.saved_usd": bill.saved}
    return {"sluice.cost_basis": bill.basis, **{name: usd for name, usd in known.items() if usd is not None}}


def _answered_model(trace: Trace) -> str:
    if trace.source is not None:
        return trace.source.model
    return trace.answered_by.model if trace.answered_by is not None else ""


def _operation(trace: Trace) -> str:
    return OPERATIONS.get(trace.endpoint, trace.endpoint)


def _count(tokens: int) -> int:
    """A count that 64 bits hold: one absurd number would cost the whole batch."""
    return max(0, min(tokens, 2**62))


def _told(attributes: Attributes) -> Attributes:
    """Those that say something, in text that can be sent; statuses and ports are never 0."""
    empty = {name for name, value in attributes.items() if value in ("", ())}
    empty |= {name for name in ("http.response.status_code", "server.port") if attributes.get(name) == 0}
    return {
        name: _clean(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if name not in empty
    }


def _clean(text: str) -> str:
    """Text without the half characters that would make the whole batch fail."""
    return text[:LONGEST].encode("utf-8", "replace").decode()
