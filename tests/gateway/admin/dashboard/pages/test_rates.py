"""Tests of gateway.admin.dashboard.pages.rates: which prices hold for an attempt, and what its tokens came to."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.dashboard.pages.rates import cost_of, items_of, rates_of, said, total, used_by
from gateway.money.price import price
from gateway.money.prices import described
from gateway.money.tariff import LongPrompt, tariff
from gateway.trace import Extra
from tests.gateway.admin.dashboard.made_up import record

TARIFF = tariff(
    {"input": 2.0, "cached_input": 0.5, "output": 8.0, "reasoning": 9.0, "audio_input": 20.0, "image_output": 40.0,
     "cache_write": 2.5, "cache_write_1h": 4.0, "request": 0.01},
    "policy",
    [LongPrompt(100_000, {"input": 4.0, "output": 12.0})],
    {"batch": {"input": 1.0, "output": 4.0}},
)  # fmt: skip
PRICES = [
    {"upstream": "paid", "model": "m", "kind": "policy", **described(TARIFF)},
    {"upstream": "own", "model": "m", "kind": "machine", "machine": {"usd_per_hour": 3.6, "account": "marginal"}},
    {"upstream": "shared", "model": "m", "kind": "machine", "machine": {"usd_per_hour": 3.6, "account": "amortized"}},
]


def tried(**changed: Any) -> dict[str, Any]:
    """An attempt at the paid upstream, which answered."""
    return {"upstream": "paid", "model": "m", "status": 200, "fault": "", "usage": None, **changed}


def used(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """Tokens of an attempt, as a story tells them."""
    plain = {"prompt": prompt, "completion": completion, "cached": 0, "reasoning": 0, "estimated": False}
    return {**plain, **more}


@pytest.mark.parametrize(
    ("usage", "extra"),
    [
        (used(900, 120), None),
        (used(150_000, 500, cached=50_000), None),
        (used(100_000, 500), None),
        (used(900, 120, reasoning=100), None),
        (used(900, 120), Extra(tier="batch")),
        (used(150_000, 120), Extra(tier="batch")),
        (used(900, 120, cached=200), Extra(cache_write=100, cache_write_1h=300, audio_input=50, image_output=60)),
        (used(900, 120), Extra(audio_input=5000, tier="unheard of")),
        (used(900, 120), Extra(usd=0.5)),
    ],
)
def test_items_come_to_what_was_billed(usage: dict[str, Any], extra: Extra | None) -> None:
    """Tiers, long prompts, sound, pictures and the cache's lines come to what the one price makes of them."""
    names = (
        "cache_write",
        "cache_write_1h",
        "audio_input",
        "image_input",
        "audio_output",
        "image_output",
        "tier",
        "usd",
    )
    rare = {} if extra is None else {name: value for name in names if (value := getattr(extra, name))}
    cached = usage["cached"]
    billed = price(
        TARIFF, usage["prompt"] - cached, cached, usage["completion"], 0.0, reasoning=usage["reasoning"], extra=extra
    )
    attempt = tried(usage={**usage, **rare})
    assert cost_of(attempt, record(), PRICES) == pytest.approx(billed)


def test_a_step_and_a_tier_are_named() -> None:
    """Beside the number of tokens stands which price holds for them."""
    found = used(150_000, 100, tier="batch")
    rates = rates_of(PRICES, tried(), found)
    assert rates.where == "in the tier batch above 100,000 tokens"
    prompt = items_of(found, rates)[0]
    assert said(prompt, rates) == "150,000 tokens at $2 a million, the price in the tier batch above 100,000 tokens"


def test_an_attempt_without_an_answer_costs_nothing() -> None:
    """One that failed and told no usage is not paid."""
    assert cost_of(tried(fault="http_500", status=500), record(), PRICES) == 0


def test_usage_that_nobody_told_is_guessed_from_bytes() -> None:
    """As the bill does it: four bytes a token."""
    silent = record(prompt_tokens=None, completion_tokens=None, request_bytes=400, response_bytes=80)
    found = used_by(tried(), silent)
    assert found == {"prompt": 100, "completion": 20, "estimated": True}
    assert cost_of(tried(), silent, PRICES) == pytest.approx((100 * 2 + 20 * 8) / 1e6 + 0.01)


def test_machines() -> None:
    """The machine's time is what an attempt cost; where its idle time counts the load of then is not known here."""
    assert cost_of(tried(upstream="own", seconds=2.0), record(), PRICES) == pytest.approx(0.002)
    assert cost_of(tried(upstream="own"), record(), PRICES) is None
    assert cost_of(tried(upstream="shared", seconds=2.0), record(), PRICES) is None


def test_no_price_is_no_cost() -> None:
    """What no price is known for is unknown, never 0."""
    found = used(900, 120)
    assert cost_of(tried(upstream="riddle", usage=found), record(), PRICES) is None
    assert total(items_of(found, rates_of(PRICES, tried(upstream="riddle"), found))) is None
