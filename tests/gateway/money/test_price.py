"""The price: what calls cost, by hand to a billionth of a dollar, and what holds for every call."""

from __future__ import annotations

from decimal import Decimal
from math import inf, isfinite, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.money.machine import Machine, Meter
from gateway.money.price import price
from gateway.money.table import Table
from gateway.money.tariff import Tariff, of_price
from gateway.trace import Extra
from policies.money import Lines, Price, Step

NOW = 1000.0
EVERY = of_price(
    Price(
        input=3,
        cached_input=0.3,
        cache_write=3.75,
        cache_write_1h=6,
        output=15,
        reasoning=20,
        audio_input=40,
        audio_output=80,
        image_input=5,
        image_output=30,
        request=0.01,
        tiers={"batch": Lines(input=1.5, output=7.5), "priority": Lines(input=6, output=30)},
        steps=[Step(above=200_000, input=6, output=22.5)],
    )
)
MILLION = Decimal(1_000_000)


def shipped(provider: str, model: str) -> Tariff:
    """A row of the shipped table that must be there."""
    found = Table().lookup(provider, model)
    assert found is not None
    return found


def is_usd(cost: float | None, exact: str) -> bool:
    """Whether a cost is what was reckoned by hand."""
    return cost is not None and abs(Decimal(cost) - Decimal(exact)) < Decimal("1e-9")


def test_common_calls_by_hand() -> None:
    """Prompt, cached prompt, answer and reasoning, each at its line, and the request itself."""
    # 0.01 + (1234 x 3 + 567 x 0.3 + (890 - 123) x 15 + 123 x 20) / 1e6
    assert is_usd(price(EVERY, 1234, 567, 890, NOW, reasoning=123), "0.0278371")
    assert is_usd(price(EVERY, 0, 0, 0, NOW), "0.01")


def test_every_rare_line_by_hand() -> None:
    """Writes to the cache, sound and pictures cost their lines, and what is left of prompt and answer the plain one."""
    extra = Extra(cache_write=100, cache_write_1h=200, audio_input=30, image_input=40, audio_output=50, image_output=60)
    hand = (
        Decimal("0.01")
        + (630 * 3 + 100 * Decimal("3.75") + 200 * 6 + 30 * 40 + 40 * 5) / MILLION
        + 500 * Decimal("0.3") / MILLION
        + (190 * 15 + 50 * 80 + 60 * 30 + 100 * 20) / MILLION
    )
    assert is_usd(price(EVERY, 1000, 500, 400, NOW, reasoning=100, extra=extra), str(hand))


@pytest.mark.parametrize(
    ("tier", "uncached", "exact"),
    [
        ("", 1000, "0.02800"),  # 0.01 + 1000 x 3 + 1000 x 15
        ("batch", 1000, "0.019"),  # 0.01 + 1000 x 1.5 + 1000 x 7.5
        ("priority", 1000, "0.046"),
        ("unheard-of", 1000, "0.028"),
        ("", 200_001, "1.232506"),  # 0.01 + 200,001 x 6 + 1000 x 22.5
        ("batch", 200_001, "0.621253"),  # half of both
    ],
)
def test_tiers_and_long_prompts_by_hand(tier: str, uncached: int, exact: str) -> None:
    """A tier's lines replace the standard ones; a long prompt has the whole call at its step, in every tier."""
    assert is_usd(price(EVERY, uncached, 0, 1000, NOW, extra=Extra(tier=tier)), exact)


def test_cached_tokens_make_a_prompt_long() -> None:
    """The step goes by the whole prompt, cached tokens included."""
    # 0.01 + (1 x 6 + 200,000 x 0.3 + 10 x 22.5) / 1e6
    assert is_usd(price(EVERY, 1, 200_000, 10, NOW), "0.070231")


@pytest.mark.parametrize(
    ("provider", "model", "counts", "extra", "exact"),
    [
        ("openai", "gpt-4o", (1000, 2000, 500, 0), None, "0.01"),
        ("openai", "gpt-4o", (1000, 2000, 500, 0), Extra(tier="batch"), "0.00625"),
        ("openai", "gpt-4o-mini", (1234, 0, 56, 0), None, "0.0002187"),
        ("anthropic", "claude-sonnet-4-5", (1000, 3000, 700, 0), Extra(cache_write=400, cache_write_1h=100), "0.015"),
        ("gemini", "gemini-2.5-pro", (150_000, 60_000, 1000, 600), None, "0.405"),
        ("deepseek", "deepseek-chat", (1000, 1000, 1000, 0), None, "0.000728"),
        ("openai", "text-embedding-3-small", (100_000, 0, 0, 0), None, "0.002"),
    ],
)
def test_the_shipped_table_by_hand(
    provider: str, model: str, counts: tuple[int, int, int, int], extra: Extra | None, exact: str
) -> None:
    """Calls at known prices cost what the provider's price list says."""
    uncached, cached, output, reasoning = counts
    cost = price(shipped(provider, model), uncached, cached, output, NOW, reasoning=reasoning, extra=extra)
    assert is_usd(cost, exact)


def test_what_the_upstream_says_wins() -> None:
    """A cost that the upstream itself reports is believed where it can be one, 0 included."""
    assert price(EVERY, 1000, 0, 1000, NOW, extra=Extra(usd=0.5)) == 0.5
    assert price(EVERY, 1000, 0, 1000, NOW, extra=Extra(usd=0.0)) == 0.0
    for cannot_be in (-1.0, inf, nan):
        assert is_usd(price(EVERY, 1000, 0, 1000, NOW, extra=Extra(usd=cannot_be)), "0.028")


def test_an_unknown_price_is_never_0() -> None:
    """Without a price there is none, unless the upstream says one that is more than nothing."""
    assert price(None, 1000, 0, 1000, NOW) is None
    assert price(None, 1000, 0, 1000, NOW, extra=Extra(usd=0.0)) is None
    assert price(None, 1000, 0, 1000, NOW, extra=Extra(usd=0.25)) == 0.25


def test_a_machine_that_nobody_knows_yet_has_no_prediction() -> None:
    """Before a rate is given or learned a predicted price is None; time that was spent has one all the same."""
    machine = Machine(3.6, False, None, None, Meter(NOW))
    assert price(machine, 100, 0, 10, NOW) is None
    assert is_usd(price(machine, 100, 0, 10, NOW, seconds=2.5), "0.0025")


def test_a_machines_prediction_by_hand() -> None:
    """$/hour x (prefill seconds + share of decode seconds): uncached tokens only, and an equal part with the others."""
    meter = Meter(NOW)
    machine = Machine(3.6, False, 1000, 50, meter)
    assert is_usd(price(machine, 500, 9000, 100, NOW), "0.0025")  # 0.001 USD a second x (0.5 + 2)
    meter.begin(NOW)
    meter.hear(2.0, NOW)
    assert is_usd(price(machine, 500, 9000, 100, NOW), "0.001")  # 0.5 + 2 / 4


COUNTS = st.integers(min_value=-10, max_value=2**53)
EXTRAS = st.builds(
    Extra,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    st.sampled_from(["", "batch", "flex", "priority", "x"]),
)


@given(COUNTS, COUNTS.filter(lambda n: n >= 0), COUNTS.filter(lambda n: n >= 0), COUNTS, st.none() | EXTRAS)
def test_no_count_makes_a_price_impossible(
    uncached: int, cached: int, output: int, reasoning: int, extra: Extra | None
) -> None:
    """Whatever an upstream counts, the price is a number, and none that pays us or exceeds the dearest line."""
    cost = price(EVERY, uncached, cached, output, NOW, reasoning=reasoning, extra=extra)
    assert cost is not None
    assert isfinite(cost)
    dearest = 0.01 + (max(uncached, 0) + cached + output) * 160e-6
    assert 0.01 - 1e-9 <= cost <= dearest * (1 + 1e-9)


TOKENS = st.integers(min_value=0, max_value=1_000_000)


@given(TOKENS, TOKENS, TOKENS, TOKENS)
def test_no_extra_is_an_empty_extra(uncached: int, cached: int, output: int, reasoning: int) -> None:
    """The short way and the long way to a price agree."""
    short = price(EVERY, uncached, cached, output, NOW, reasoning=reasoning)
    long = price(EVERY, uncached, cached, output, NOW, reasoning=reasoning, extra=Extra())
    assert short == pytest.approx(long, abs=1e-9)


@given(TOKENS, TOKENS, TOKENS)
def test_a_cached_token_saves(uncached: int, cached: int, output: int) -> None:
    """Reading a part of the same prompt from the cache never makes the call dearer."""
    warm, cold = price(EVERY, uncached, cached, output, NOW), price(EVERY, uncached + cached, 0, output, NOW)
    assert warm is not None
    assert cold is not None
    assert warm <= cold + 1e-12
