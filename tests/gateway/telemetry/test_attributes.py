"""Tests of gateway.telemetry.attributes: what is said of calls, and what never is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.attributes import name_of, of_attempt, of_call
from gateway.telemetry.places import Place
from gateway.trace import Attempt, Bill, Extra, Usage
from tests.gateway.ledger.traces import answered, hit, refused

PLACE = Place("openai", "gpu-1", 8000)


def test_an_answered_call() -> None:
    """Operation, models, status, who called, and what the gateway did, with its bill."""
    trace = answered(team="search", tags=("batch",), bill=Bill(0.003, 0.004, 0.0, 0.001, "measured"))
    assert of_call(trace) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "small",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "small-q8",
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "sluice.request_id": "req_1",
        "sluice.tenant": "acme",
        "sluice.team": "search",
        "sluice.key_name": "app",
        "sluice.tags": ("batch",),
        "sluice.rule": "default",
        "sluice.policy.version": "v1",
        "sluice.cache": "bypass",
        "sluice.attempts": 1,
        "sluice.saved_tokens": 0,
        "sluice.cost_usd": 0.003,
        "sluice.baseline_usd": 0.004,
        "sluice.saved_usd": 0.001,
        "sluice.cost_basis": "measured",
    }


def test_an_attempt() -> None:
    """Provider, server, model and tokens: input holds the cached ones, output the reasoning."""
    trace = answered()
    assert of_attempt(trace, trace.attempts[0], PLACE) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small-q8",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "small-q8",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 64,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "gpu-1",
        "server.port": 8000,
        "sluice.upstream": "local",
    }


def test_tokens_stand_on_attempts_only() -> None:
    """Whoever sums usage over spans counts no answer twice, and no tokens of a hit."""
    for trace in (answered(), hit()):
        assert not [name for name in of_call(trace) if name.startswith("gen_ai.usage.")]


def test_a_hit() -> None:
    """A hit tells its kind and who made the answer; no upstream was asked."""
    found = of_call(hit())
    assert (found["sluice.cache"], found["gen_ai.response.model"]) == ("exact", "small-q8")
    assert (found["sluice.attempts"], found["sluice.saved_tokens"]) == (0, 120)


def test_a_fault_is_the_error_s_type() -> None:
    """A failed attempt carries its fault and no answering model; the call its outcome."""
    trace = answered(attempts=[Attempt("far", "m", 50.0, ended=50.1, fault="timeout")], outcome="upstream_timeout")
    found = of_attempt(trace, trace.attempts[0], None)
    assert found["error.type"] == "timeout"
    assert "gen_ai.response.model" not in found
    assert of_call(trace)["error.type"] == "upstream_timeout"


def test_an_unknown_price_is_absent() -> None:
    """A cost that is not known is no attribute: 0 would be a lie."""
    found = of_call(answered(bill=Bill(None, None, 0.0, None, "unknown")))
    assert found["sluice.cost_basis"] == "unknown"
    assert "sluice.cost_usd" not in found


def test_rare_tokens_and_times() -> None:
    """Cache writes, the service tier, the first chunk of a stream and a machine's time."""
    trace = answered(streamed=True)
    trace.attempts[0].seconds = 0.2
    trace.attempts[0].usage = Usage(10, 5, estimated=True, extra=Extra(cache_write=3, cache_write_1h=4, tier="flex"))
    found = of_attempt(trace, trace.attempts[0], PLACE)
    assert found["gen_ai.usage.cache_creation.input_tokens"] == 7
    assert found["openai.response.service_tier"] == "flex"
    assert round(float(str(found["gen_ai.response.time_to_first_chunk"])), 3) == 0.09
    assert (found["sluice.machine_seconds"], found["sluice.usage_estimated"]) == (0.2, True)


def test_a_name_that_nobody_knows_names_no_span() -> None:
    """A client that invents models makes no new span names; the operation alone is one."""
    assert name_of(refused(model="invented"), "invented") == "chat"
    assert name_of(answered(), "small") == "chat small"
    assert name_of(answered(endpoint="completions"), "small") == "text_completion small"


@given(st.text(), st.integers())
def test_whatever_a_client_says_can_be_sent(text: str, number: int) -> None:
    """Half characters, control characters and absurd counts: every value fits the protocol."""
    fields: dict[str, Any] = {"model": text, "tenant": text, "outcome": text, "tags": (text,)}
    trace = answered(**fields, usage=None)
    trace.attempts[0].usage = Usage(number, number)
    for value in (*of_call(trace).values(), *of_attempt(trace, trace.attempts[0], PLACE).values()):
        if isinstance(value, int):
            assert -(2**63) <= value < 2**63
        str(value).encode()


def test_no_content_is_told() -> None:
    """Request, answer and the layers' notes, which may quote an upstream, are on no span."""
    trace = answered(content=(b"the prompt", b"the answer"), notes=[("failover", "the note")])
    told = repr([of_call(trace), of_attempt(trace, trace.attempts[0], PLACE)])
    assert not [word for word in ("the prompt", "the answer", "the note") if word in told]
