"""litellm's published prices: what becomes a row, what is refused, and why."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from gateway.money.published import harvest, provider_of, row_of


def raw(**fields: Any) -> dict[str, Any]:
    """A chat model of litellm's file at 2.5 and 10 dollars per million tokens."""
    return {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
        **fields,
    }


def test_lines_are_exact() -> None:
    """A price per token is the same price per million to the digit, and a request's stays as it is."""
    row = row_of(raw(cache_read_input_token_cost=2.8e-08, input_cost_per_request=0.005))
    assert row == {"input": 2.5, "cached_input": 0.028, "output": 10, "request": 0.005}


def test_every_line_has_its_name() -> None:
    """Caches, reasoning, sound and pictures become lines of their own."""
    row = row_of(
        raw(
            cache_creation_input_token_cost=3e-6,
            cache_creation_input_token_cost_above_1hr=5e-6,
            output_cost_per_reasoning_token=2e-5,
            input_cost_per_audio_token=4e-5,
            output_cost_per_audio_token=8e-5,
            input_cost_per_image_token=7e-6,
            output_cost_per_image_token=3e-5,
            input_cost_per_token_cache_hit=1e-6,
        )
    )
    assert row == {
        "input": 2.5,
        "cached_input": 1,
        "cache_write": 3,
        "cache_write_1h": 5,
        "output": 10,
        "reasoning": 20,
        "audio_input": 40,
        "audio_output": 80,
        "image_input": 7,
        "image_output": 30,
    }


def test_tiers_and_steps() -> None:
    """Names that end in a tier or a length become tiers, steps, and tiers of steps; other fields are not prices."""
    row = row_of(
        raw(
            input_cost_per_token_batches=1.25e-6,
            output_cost_per_token_priority=2e-5,
            input_cost_per_token_above_200k_tokens=5e-6,
            input_cost_per_token_above_200k_tokens_priority=9e-6,
            input_cost_per_token_above_128k_tokens=3e-6,
            input_cost_per_token_ultrafast=1.0,
            search_context_cost_per_query={"search_context_size_low": 0.025},
        )
    )
    assert row == {
        "input": 2.5,
        "output": 10,
        "tiers": {"batch": {"input": 1.25}, "priority": {"output": 20}},
        "steps": [{"above": 128000, "input": 3}, {"above": 200000, "input": 5, "tiers": {"priority": {"input": 9}}}],
    }


def test_a_list_of_lengths() -> None:
    """Prices that are listed by length of prompt become the standard lines and steps."""
    low = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "range": [0, 32000.0]}
    high = {"input_cost_per_token": 3e-6, "output_cost_per_token": 6e-6, "range": [32000.0, 128000.0]}
    row = row_of({"mode": "chat", "litellm_provider": "dashscope", "tiered_pricing": [low, high]})
    assert row == {"input": 1, "output": 2, "steps": [{"above": 32000, "input": 3, "output": 6}]}


@pytest.mark.parametrize("value", [nan, inf, -1e-6, 0.2, "3e-6", True, [1], {}])
def test_what_cannot_be_a_price_is_refused(value: object) -> None:
    """One impossible number refuses the whole row, wherever in it, and the others stay."""
    for name in ("input_cost_per_token", "cache_read_input_token_cost_above_200k_tokens_priority"):
        found = harvest({"bad": raw(**{name: value}), "good": raw()})
        assert list(found.rows) == ["openai/good"]
        assert name.split("_above")[0] in found.refused["bad"]


@pytest.mark.parametrize("bounds", [None, [], [-5, 10], [1e300, 2], ["0", 5]])
def test_a_length_that_cannot_be_is_refused(bounds: object) -> None:
    """A list of lengths that does not say for which lengths is no price."""
    low = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "range": bounds}
    assert "m" in harvest({"m": {"mode": "chat", "litellm_provider": "x", "tiered_pricing": [low]}}).refused


@pytest.mark.parametrize(("given", "cost"), [(0, 0), (1e-6, 0)])
def test_zeros_that_mean_unknown_are_refused(given: float, cost: float) -> None:
    """A model that costs nothing, or whose answers do, is one whose price nobody wrote down."""
    assert "m" in harvest({"m": raw(input_cost_per_token=given, output_cost_per_token=cost)}).refused


def test_an_embeddings_answer_is_free() -> None:
    """An embedding has no tokens of an answer, and a price all the same."""
    assert row_of(raw(mode="embedding", output_cost_per_token=0.0)) == {"input": 2.5, "output": 0}


def test_lines_that_say_nothing_are_left_out() -> None:
    """A write to the cache that costs less than no cache, reasoning at 0, and lines equal to their kind's."""
    row = row_of(
        raw(
            cache_creation_input_token_cost=0.0,
            output_cost_per_reasoning_token=0,
            input_cost_per_image_token=2.5e-6,
            input_cost_per_token_batches=0,
        )
    )
    assert row == {"input": 2.5, "output": 10}


def test_a_tier_that_takes_back_a_line_says_so() -> None:
    """Where reasoning has a price of its own, a tier in which it costs what an answer does is not silent about it."""
    row = row_of(
        raw(
            output_cost_per_reasoning_token=2e-5,
            output_cost_per_token_flex=5e-6,
            cache_read_input_token_cost=1e-6,
            cache_read_input_token_cost_flex=5e-7,
        )
    )
    assert row is not None
    assert row["tiers"] == {"flex": {"cached_input": 0.5, "output": 5}}
    steady = row_of(
        {
            "mode": "chat",
            "tiered_pricing": [
                {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "output_cost_per_reasoning_token": 4e-6}
                | {"range": [0, 10]},
                {"input_cost_per_token": 1e-6, "output_cost_per_token": 8e-6, "output_cost_per_reasoning_token": 8e-6}
                | {"range": [10, 20]},
            ],
        }
    )
    assert steady is not None
    assert steady["steps"] == [{"above": 10, "input": 1, "output": 8, "reasoning": 8}]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vertex_ai-anthropic_models", "vertex_ai"),
        ("vertex_ai-language-models", "vertex_ai"),
        ("fireworks_ai-embedding-models", "fireworks_ai"),
        ("bedrock_converse", "bedrock"),
        ("text-completion-openai", "openai"),
        ("cohere_chat", "cohere"),
        ("scx-ai", "scx-ai"),
    ],
)
def test_providers(theirs: str, ours: str) -> None:
    """litellm's words for a provider's interfaces are one provider."""
    assert provider_of(theirs) == ours


def test_names() -> None:
    """A provider's prefix goes once; of two names for one model the one that bears its provider counts."""
    found = harvest(
        {
            "claude": raw(litellm_provider="vertex_ai-anthropic_models"),
            "vertex_ai/claude": raw(litellm_provider="vertex_ai-anthropic_models", input_cost_per_token=9e-6),
            "perplexity/perplexity/sonar": raw(litellm_provider="perplexity"),
        }
    )
    assert found.rows["vertex_ai/claude"]["input"] == 9
    assert set(found.rows) == {"vertex_ai/claude", "perplexity/perplexity/sonar"}


@pytest.mark.parametrize("name", ["a\x1b[31m", "x" * 400])
def test_names_that_are_none_are_refused(name: str) -> None:
    """What would paint a terminal, or fill it, is no model."""
    assert name in harvest({name: raw()}).refused


@pytest.mark.parametrize("provider", [None, 5, "", "A/B", "../x"])
def test_providers_that_are_none_are_refused(provider: object) -> None:
    """A row has to say who serves the model."""
    assert "m" in harvest({"m": raw(litellm_provider=provider)}).refused


def test_what_has_no_tokens_is_passed_over() -> None:
    """Pictures by the piece, speech by the second and what is no row at all are neither taken nor refused."""
    found = harvest(
        {
            "a": {"mode": "image_generation", "litellm_provider": "x", "input_cost_per_token": 1e-6},
            "b": {"mode": "chat", "litellm_provider": "x", "input_cost_per_second": 1e-6},
            "c": "no row",
        }
    )
    assert (found.rows, found.refused) == ({}, {})
