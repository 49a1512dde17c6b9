"""Tariffs: which line holds where a tier, a long prompt and lines that nobody gave come together."""

from __future__ import annotations

import pytest

from gateway.money.tariff import NAMES, LongPrompt, of_price, tariff
from policies.money import Lines, Price


def test_lines_are_per_token_and_a_request_is_whole() -> None:
    """A policy's USD per million become USD per token; what a request costs stays as it is."""
    lines = of_price(Price(input=2.5, output=10, request=0.005)).lines
    assert (lines.input, lines.output, lines.request) == (2.5e-6, 1e-5, 0.005)


def test_a_line_that_nobody_gives_costs_what_its_kind_costs() -> None:
    """Every prompt token costs as `input`, every token of the answer as `output`, the cache's hour as its write."""
    lines = of_price(Price(input=1, output=2, cache_write=3)).lines
    assert (lines.cached_input, lines.audio_input, lines.image_input) == (1e-6, 1e-6, 1e-6)
    assert (lines.reasoning, lines.audio_output, lines.image_output) == (2e-6, 2e-6, 2e-6)
    assert (lines.cache_write, lines.cache_write_1h) == (3e-6, 3e-6)
    assert of_price(Price(input=1)).lines.output == 0


def test_a_tier_replaces_what_it_gives() -> None:
    """Lines that a tier does not give are the standard ones; a tier that nobody knows is the standard one."""
    made = of_price(Price(input=2.5, cached_input=1, output=10, tiers={"batch": Lines(input=1.25, output=5)}))
    batch = made.scale("batch").lines
    assert (batch.input, batch.cached_input, batch.output, batch.reasoning) == (1.25e-6, 1e-6, 5e-6, 5e-6)
    assert made.scale("scale").lines == made.lines


def test_a_cached_token_is_not_dearer_than_another() -> None:
    """A tier that halves the input below the standard price of cached input does not leave that price standing."""
    made = of_price(Price(input=2, cached_input=1.5, tiers={"batch": Lines(input=1)}))
    assert made.scale("batch").lines.cached_input == 1e-6


def test_the_caches_hour_changes_with_the_cache() -> None:
    """A tier that halves what writing to the cache costs halves it for an hour, too."""
    made = of_price(Price(input=3, cache_write=3.75, cache_write_1h=6, tiers={"batch": Lines(cache_write=1.875)}))
    assert made.scale("batch").lines.cache_write_1h == pytest.approx(3e-6)


def test_a_step_holds_above_its_length() -> None:
    """At just so many tokens the lower lines hold; the longest step that fits counts, whatever their order."""
    steps = [LongPrompt(200, {"input": 3.0}), LongPrompt(100, {"input": 2.0, "output": 8.0})]
    scale = tariff({"input": 1.0, "output": 4.0}, "policy", steps).standard
    assert [scale.at(tokens).input for tokens in (100, 100.5, 200, 201)] == [1e-6, 2e-6, 2e-6, 3e-6]
    assert scale.at(201).output == 8e-6


def test_a_tier_and_a_step_together() -> None:
    """The step's line times what the tier makes of the standard one, unless the two have a line of their own."""
    step = LongPrompt(100, {"input": 10.0, "output": 45.0}, {"flex": {"output": 20.0}})
    made = tariff({"input": 5.0, "output": 30.0}, "policy", [step], {"batch": {"input": 2.5, "output": 15.0}})
    batch, flex = made.scale("batch").at(101), made.scale("flex").at(101)
    assert (batch.input, batch.output) == (5e-6, 22.5e-6)
    assert (flex.input, flex.output) == (10e-6, 20e-6)


def test_who_caches_prefixes() -> None:
    """Only a provider that charges less for cached input, and that needs no asking, caches prefixes by itself."""
    assert of_price(Price(input=2, cached_input=1)).caches_prefixes
    assert not of_price(Price(input=2)).caches_prefixes
    assert not of_price(Price(input=2, cached_input=1), caches_unasked=False).caches_prefixes


def test_names_are_the_policys() -> None:
    """Every line of the policy's language is one of ours, and no more."""
    assert set(NAMES) == set(Lines.model_fields)
