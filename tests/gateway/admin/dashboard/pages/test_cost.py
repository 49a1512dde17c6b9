"""Tests of gateway.admin.dashboard.pages.cost: why a call cost what it cost, in words."""

from __future__ import annotations

from typing import Any

from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages.cost import reasons
from tests.gateway.admin.dashboard.made_up import record


def price(upstream: str, rate: float) -> Json:
    """One price for everything."""
    return {"upstream": upstream, "model": "m", "lines": {"input": rate, "output": rate}, "tiers": {}, "steps": []}


STEP = {"above": 100_000, "lines": {"input": 30.0, "output": 75.0}}
PRICES = [
    price("paid", 10.0),
    {**price("dear", 160.0)},
    {**price("long", 15.0), "steps": [STEP], "tiers": {"batch": {"lines": {"input": 7.5, "output": 7.5}}}},
]
USED = {"prompt": 400, "completion": 100, "cached": 0, "reasoning": 0, "estimated": False}


def tried(upstream: str, usage: Any = None, fault: str = "") -> Json:
    """One attempt."""
    status = 500 if fault else 200
    return {"upstream": upstream, "model": "m", "status": status, "fault": fault, "usage": usage}


def why(*tries: Json, notes: Any = (), bill: Json | None = None, **changed: Any) -> str:
    """What is said of a call with these attempts."""
    story: Json = {"attempts": list(tries), "notes": list(notes)}
    if bill is not None:
        story["bill"] = bill
    plain = {"model": "m", "answered_model": "m", "prompt_tokens": 400, "completion_tokens": 100, "cost_usd": 0.005}
    return "\n".join(reasons({**record(**{**plain, **changed}), "story": story}, PRICES))


def test_a_long_prompt_is_told_at_its_own_price() -> None:
    """The step is named, with the price of an ordinary prompt beside it, and the bill is explained."""
    said = why(tried("long", {**USED, "prompt": 150_000, "completion": 500}), prompt_tokens=150_000, cost_usd=4.5375)
    assert "150,000 tokens at $30 a million, the price above 100,000 tokens." in said
    assert "Other prices hold above 100,000 tokens: a new prompt token costs $30 a million, $15 else." in said
    assert "It was billed" not in said


def test_a_tier_is_told_at_its_own_price() -> None:
    """The service tier is named with its price."""
    said = why(tried("long", {**USED, "tier": "batch"}), tier="batch", cost_usd=0.00375)
    assert "400 tokens at $7.5 a million, the price in the tier batch." in said
    assert "It was billed" not in said


def test_failover_to_a_dearer_upstream() -> None:
    """What it would have cost, where, and how many times that it came to."""
    bill = {"cost": 0.08, "baseline": 0.005, "lines": [["failover", -0.075, "measured"]]}
    said = why(tried("paid", fault="connect"), tried("dear", USED), bill=bill, cost_usd=0.08)
    assert "It would have cost $0.00500 at paid; dear answered: 16 times that." in said
    assert "2 upstreams were asked; failed: paid (connect)." in said


def test_failover_past_an_open_breaker() -> None:
    """An upstream that was not even asked is named from the notes."""
    bill = {"cost": 0.08, "baseline": 0.005, "lines": [["failover", -0.075, "measured"]]}
    notes = [("failover", "passed over paid: open")]
    assert "at paid; dear answered" in why(tried("dear", USED), bill=bill, notes=notes, cost_usd=0.08)


def test_a_baseline_from_elsewhere_is_not_placed() -> None:
    """Where the upstream's own price does not come to the baseline, it is not said to be there."""
    bill = {"cost": 0.08, "baseline": 0.04, "lines": [["failover", -0.04, "measured"]]}
    said = why(tried("paid", fault="connect"), tried("dear", USED), bill=bill, cost_usd=0.08)
    assert "It would have cost $0.0400; dear answered: 2 times that." in said


def test_a_cheaper_route() -> None:
    """A saving is told the same way."""
    bill = {"cost": 0.005, "baseline": 0.02, "lines": [["route", 0.015, "estimated"]]}
    assert "a quarter of that" in why(tried("paid", USED), bill=bill, model="big")


def test_retries_that_used_tokens() -> None:
    """Each is told with its tokens and what they cost."""
    said = why(tried("paid", USED, "cut"), tried("paid", USED), cost_usd=0.01)
    assert "1 upstream was asked 2 times; failed: paid (cut)." in said
    assert "had used 400 tokens in and 100 out, which are paid, too, $0.00500." in said
    assert "40.0 % is prompt, new" in said
    assert "It was billed" not in said


def test_why_no_cache_helped() -> None:
    """The note of the cache is repeated, of a miss and of a call that went past it."""
    notes = [("cache", "miss: differs from the nearest entry in max_tokens")]
    assert "No cache had the answer: differs from the nearest entry in max_tokens." in why(
        tried("paid", USED), notes=notes
    )
    notes = [("cache", "bypass: is sampled: no temperature is given")]
    said = why(tried("paid", USED), notes=notes, cache="bypass")
    assert "The caches were passed by: is sampled: no temperature is given." in said
    assert "No cache had the answer." in why(tried("paid", USED), cache="miss")


def test_usage_that_was_guessed() -> None:
    """It is told that the cost is an estimate."""
    said = why(tried("paid"), prompt_tokens=None, completion_tokens=None, request_bytes=1600, response_bytes=400)
    assert "tokens were guessed from bytes" in said
    assert "tokens were guessed" not in why(tried("paid", USED))


def test_a_call_that_was_refused() -> None:
    """It cost nothing, whether or not it was billed."""
    for cost in (0.0, None):
        said = why(outcome="model_not_found", cache="bypass", cost_usd=cost, prompt_tokens=None)
        assert said == "It was refused before any upstream was asked (model_not_found): it cost nothing."


def test_an_answer_that_was_cheaper_then() -> None:
    """Where today's price does not come to the bill, both are told."""
    assert "It was billed $0.00100, and these tokens come to $0.00500" in why(tried("paid", USED), cost_usd=0.001)
