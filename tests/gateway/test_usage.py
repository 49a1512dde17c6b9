"""Usage in every dialect, and in every kind of nonsense."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.trace import Extra, Usage
from gateway.usage import MAX_COUNT, MAX_USD, usage_of

NONSENSE = [-1, True, -2.0, 1.5, "12", None, [12], {"n": 12}, 2**31, 2.0**31, 10**30, 10**400, math.nan, math.inf]
NO_MONEY: list[object] = [-0.1, 0, 0.0, -0.0, True, "0.1", None, [], {}, 10_001, math.nan, math.inf, -math.inf, 10**400]
COUNT = st.integers(0, 50) | st.integers(-(2**70), 2**70) | st.sampled_from(NONSENSE)
WORDS = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "image_tokens",
    "cache_write_tokens",
    "cache_creation_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "prompt_audio_seconds",
    "cost_in_usd_ticks",
    "cost",
    "total_cost",
    "upstream_inference_cost",
    "is_byok",
    "cache_n",
)
PLACES = (
    "usage",
    "x_groq",
    "timings",
    "choices",
    "service_tier",
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "cache_creation_token_details",
    "cache_creation",
    "cost_details",
    "cost",
)
JSON = st.recursive(
    COUNT | st.floats() | st.sampled_from(["flex", "batch", "scale", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS + PLACES), inner, max_size=9),
    max_leaves=30,
)
DETAILS = st.dictionaries(st.sampled_from(WORDS), COUNT, max_size=6)
LIKELY = st.dictionaries(st.sampled_from(WORDS), COUNT, max_size=10).flatmap(
    lambda usage: st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("prompt_tokens_details", "completion_tokens_details", "cost"), DETAILS | JSON)
    ).map(lambda parts: {**usage, **parts})
)


def usage(**told: Any) -> Usage:
    """What is read of a usage."""
    found = usage_of({"usage": told})
    assert found is not None
    return found


def extra(**told: Any) -> Extra:
    """What is rare in a usage."""
    found = usage(**told).extra
    assert found is not None
    return found


def check(found: Usage) -> None:
    """Hold a usage to what is true of every one."""
    assert found.prompt or found.completion or (found.extra is not None and found.extra.usd)
    counts = (found.prompt, found.completion, found.cached, found.reasoning)
    assert all(type(count) is int and 0 <= count < MAX_COUNT for count in counts)
    assert found.cached <= found.prompt
    assert found.reasoning <= found.completion
    if found.extra is None:
        return
    rare = found.extra
    assert rare != Extra()
    read = (rare.cache_write, rare.cache_write_1h, rare.audio_input, rare.image_input)
    said = (rare.audio_output, rare.image_output)
    assert all(type(count) is int and count >= 0 for count in read + said)
    assert sum(read) <= found.prompt - found.cached
    assert sum(said) <= found.completion - found.reasoning
    assert rare.tier in ("", "batch", "flex", "priority")
    assert rare.usd is None or (type(rare.usd) is float and 0 < rare.usd <= MAX_USD)


@given(st.dictionaries(st.sampled_from(PLACES), JSON, max_size=5))
def test_any_json(answer: dict[str, Any]) -> None:
    """Whatever an answer holds, reading its usage gives none, or one whose parts fit into their wholes."""
    found = usage_of(answer)
    if found is not None:
        check(found)


@given(LIKELY, JSON)
def test_any_usage(told: dict[str, Any], tier: object) -> None:
    """Whatever a usage says in words we know, what is read of it holds together, or nothing is."""
    found = usage_of({"usage": told, "service_tier": tier})
    if found is not None:
        check(found)


@given(JSON)
def test_no_usage(told: object) -> None:
    """What is no object is no usage."""
    if not isinstance(told, dict):
        assert usage_of({"usage": told}) is None


@pytest.mark.parametrize("count", NONSENSE)
def test_nonsense_is_nothing(count: object) -> None:
    """A count that is no count is nothing, wherever it stands."""
    assert usage_of({"usage": {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}}) is None
    details = dict.fromkeys(("cached_tokens", "reasoning_tokens", "audio_tokens", "cache_write_tokens"), count)
    told = usage(
        prompt_tokens=9,
        completion_tokens=5,
        total_tokens=14,
        prompt_tokens_details=details,
        completion_tokens_details=details,
    )
    assert told == Usage(prompt=9, completion=5)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": "11", "completion_tokens": "6", "total_tokens": "17"},
        {"prompt_tokens": -5, "completion_tokens": 10**30, "total_tokens": 5 * 10**30},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": 0},
        {"service_tier": "flex"},
        {"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 5}},
    ],
)
def test_nothing_believable_is_no_usage(told: dict[str, Any]) -> None:
    """A usage that says nothing that can be believed is none: it must not pass for a measured 0."""
    assert usage_of({"usage": told}) is None


def test_one_believable_part() -> None:
    """What can be believed counts, though what stands beside it cannot."""
    assert usage(prompt_tokens=10**30, completion_tokens=5, total_tokens=10**30) == Usage(0, 5)
    assert usage(prompt_tokens=5, completion_tokens="7") == Usage(5, 0)
    assert usage(prompt_tokens="x", completion_tokens=5, total_tokens=25) == Usage(20, 5)
    assert usage(cost=0.5) == Usage(extra=Extra(usd=0.5))


def test_counts_as_floats() -> None:
    """Whole numbers that a server writes with a point are counts, and come out as integers."""
    told = usage(
        prompt_tokens=100.0,
        completion_tokens=7.0,
        total_tokens=107.0,
        prompt_tokens_details={"cached_tokens": 64.0},
        completion_tokens_details={"reasoning_tokens": 3.0},
    )
    assert told == Usage(100, 7, 64, 3)
    check(told)


def test_input_and_output_tokens() -> None:
    """Servers that name tokens as OpenAI's Responses do are understood; OpenAI's own words come first."""
    parts = {"input_tokens_details": {"cached_tokens": 64}, "output_tokens_details": {"reasoning_tokens": 3}}
    assert usage(input_tokens=100, output_tokens=7, total_tokens=107, **parts) == Usage(100, 7, 64, 3)
    assert usage(prompt_tokens=None, input_tokens=100, output_tokens=7) == Usage(100, 7)
    assert usage(prompt_tokens=3, completion_tokens=2, input_tokens=100, output_tokens=7) == Usage(3, 2)


def test_anthropics_own_usage() -> None:
    """Anthropic counts neither reads from its prefix cache nor writes to it among its input tokens."""
    told = usage(input_tokens=1000, output_tokens=50, cache_read_input_tokens=900, cache_creation_input_tokens=60)
    assert told == Usage(1960, 50, 900, extra=Extra(cache_write=60))


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({"total_tokens": 150, "cache_read_input_tokens": 900}, Usage(1000, 50, 900)),
        ({"total_tokens": 1050, "cache_read_input_tokens": 900}, Usage(1000, 50, 900)),
        ({"total_tokens": 210, "cache_read_input_tokens": 60}, Usage(160, 50, 60)),  # only the total tells
        ({"total_tokens": 150, "cache_read_input_tokens": 60}, Usage(100, 50, 60)),  # inside, as far as one can know
        (
            {"total_tokens": 150, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 30},
            Usage(1030, 50, 900, extra=Extra(cache_write=30)),
        ),
        (
            {"total_tokens": 150, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 500},
            Usage(600, 50, 0, extra=Extra(cache_write=500)),
        ),
        ({"total_tokens": 150, "prompt_tokens_details": {"cached_tokens": 900}}, Usage(100, 50, 100)),  # OpenAI's word
        ({"total_tokens": 150, "cache_read_input_tokens": 2**31 - 1}, Usage(100, 50, 100)),  # nobody's prompt
    ],
)
def test_cached_beside_the_prompt(counts: dict[str, Any], found: Usage) -> None:
    """Cached tokens in Anthropic's words that cannot be inside the prompt stand beside it, and are part of it."""
    assert usage(prompt_tokens=100, completion_tokens=50, **counts) == found


def test_plain_usage_has_no_extra() -> None:
    """OpenAI's ordinary usage, zeros and all, has nothing rare."""
    zeros = {"audio_tokens": 0, "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 2}
    told = {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1, **zeros},
    }
    assert usage_of({"usage": told, "service_tier": "default"}) == Usage(20, 9, 4, 1)


@pytest.mark.parametrize("details", [None, "x", [], 7])
def test_details_that_are_none(details: object) -> None:
    """Details that are null or no object are no details."""
    told = usage(
        prompt_tokens=3,
        completion_tokens=2,
        total_tokens=5,
        prompt_tokens_details=details,
        completion_tokens_details=details,
    )
    assert told == Usage(3, 2)


def test_parts_are_not_larger_than_their_whole() -> None:
    """More cached tokens than there are in the prompt, and more reasoning than there is answer, are cut to fit."""
    told = usage(
        prompt_tokens=10,
        completion_tokens=5,
        total_tokens=15,
        prompt_tokens_details={"cached_tokens": 99, "cache_write_tokens": 7, "audio_tokens": 7},
        completion_tokens_details={"reasoning_tokens": 99, "audio_tokens": 7},
    )
    assert told == Usage(10, 5, 10, 5)


@pytest.mark.parametrize(
    ("total", "reasoning", "completion"),
    [
        (15, 3, 5),  # OpenAI: inside
        (18, 3, 8),  # xAI: beside
        (18, 4, 5),  # neither: the total is not believed
        (12, 3, 5),  # smaller than its parts: not believed
        (None, 3, 5),
        (18, 0, 5),  # details that name no reasoning: the rest is something else
    ],
)
def test_reasoning_inside_or_beside(total: object, reasoning: int, completion: int) -> None:
    """Whether reasoning is part of the completion is told by the total."""
    told = usage(
        prompt_tokens=10,
        completion_tokens=5,
        total_tokens=total,
        completion_tokens_details={"reasoning_tokens": reasoning},
    )
    assert told == Usage(10, completion, 0, reasoning)


def test_what_only_the_total_knows() -> None:
    """Gemini counts what it thought in the total alone: it is reasoning, and paid for."""
    assert usage(prompt_tokens=758, completion_tokens=102, total_tokens=1725) == Usage(758, 967, 0, 865)
    assert usage(prompt_tokens=7, total_tokens=106) == Usage(7, 99, 0, 99)


def test_a_total_without_a_prompt_is_prompt() -> None:
    """An embedding that tells a total and nothing else was all prompt; it has no answer to pay for."""
    assert usage(total_tokens=10) == Usage(prompt=10)
    assert usage(completion_tokens=4, total_tokens=10) == Usage(6, 4)


def test_sound_outside_the_prompt() -> None:
    """Mistral leaves sound out of the prompt: what the total has over its parts was heard, not written."""
    told = usage(prompt_tokens=4, completion_tokens=635, total_tokens=3264, prompt_audio_seconds=203)
    assert told == Usage(2629, 635)


def test_reasoning_beside_everything() -> None:
    """Perplexity counts reasoning in neither completion nor total; it cannot be inside of what is smaller."""
    told = usage(prompt_tokens=10, completion_tokens=20, total_tokens=30, reasoning_tokens=50)
    assert told == Usage(10, 70, 0, 50)
    assert usage(prompt_tokens=10, completion_tokens=20, total_tokens=30, reasoning_tokens=8) == Usage(10, 20, 0, 8)


@pytest.mark.parametrize(
    "word", ["cached_tokens", "cache_read_input_tokens", "num_cached_tokens", "prompt_cache_hit_tokens"]
)
def test_cached_in_other_words(word: str) -> None:
    """Prefix cache reads are found under the names that DeepSeek, Moonshot, Mistral and Anthropic give them."""
    assert usage(prompt_tokens=9, completion_tokens=1, total_tokens=10, **{word: 6}).cached == 6


def test_details_come_before_other_words() -> None:
    """Where a server says it in OpenAI's words too, those count, and nothing is added up."""
    told = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_cache_hit_tokens": 6}
    assert usage(**told, prompt_tokens_details={"cached_tokens": 6}).cached == 6


def test_cached_in_timings() -> None:
    """An older llama.cpp tells what it reused among its timings."""
    told = {"prompt_tokens": 14, "completion_tokens": 3, "total_tokens": 17}
    assert usage_of({"usage": told, "timings": {"cache_n": 13}}) == Usage(14, 3, 13)


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"delta": {}}], "x_groq": {"id": "req", "usage": {"prompt_tokens": 3, "total_tokens": 3}}},
        {"choices": [{"delta": {}}, {"usage": {"prompt_tokens": 3, "total_tokens": 3}}], "usage": None},
    ],
)
def test_usage_elsewhere(answer: dict[str, Any]) -> None:
    """Groq's usage in `x_groq` and Moonshot's in a choice are found."""
    assert usage_of(answer) == Usage(prompt=3)


@pytest.mark.parametrize(
    ("told", "written", "hour"),
    [
        ({"prompt_tokens_details": {"cache_write_tokens": 60}}, 60, 0),
        ({"prompt_tokens_details": {"cache_creation_tokens": 60}}, 60, 0),
        ({"cache_creation_input_tokens": 60}, 60, 0),
        ({"cache_creation_input_tokens": 60, "cache_creation": {"ephemeral_1h_input_tokens": 20}}, 40, 20),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 20}}, 40, 20),
        ({"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 20}}, 0, 10),
        ({"prompt_tokens_details": {"cache_write_tokens": 500}}, 100, 0),
    ],
)
def test_cache_writes(told: dict[str, Any], written: int, hour: int) -> None:
    """Writes to the prefix cache are read in every word for them, those for an hour apart and counted once."""
    rare = extra(prompt_tokens=100, completion_tokens=1, total_tokens=101, **told)
    assert (rare.cache_write, rare.cache_write_1h) == (written, hour)


def test_writes_of_litellm() -> None:
    """litellm says the same write in three places; it is one write."""
    split = {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 20}
    read = {"cached_tokens": 30, "cache_write_tokens": 60, "cache_creation_tokens": 60}
    told = usage(
        prompt_tokens=100,
        completion_tokens=1,
        total_tokens=101,
        cache_creation_input_tokens=60,
        cache_read_input_tokens=30,
        prompt_tokens_details={**read, "cache_creation_token_details": split},
    )
    assert told == Usage(100, 1, 30, extra=Extra(cache_write=40, cache_write_1h=20))


def test_sound_and_pictures() -> None:
    """Tokens of sound and of pictures are told apart, both ways."""
    rare = extra(
        prompt_tokens=100,
        completion_tokens=50,
        total_tokens=150,
        prompt_tokens_details={"audio_tokens": 30, "image_tokens": 20},
        completion_tokens_details={"audio_tokens": 15, "image_tokens": 10},
    )
    assert rare == Extra(audio_input=30, image_input=20, audio_output=15, image_output=10)


@pytest.mark.parametrize("tier", ["batch", "flex", "priority"])
def test_tiers(tier: str) -> None:
    """A tier with prices of its own is read from the answer, or from the usage as Anthropic writes it."""
    told = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    assert usage_of({"usage": told, "service_tier": tier}) == Usage(1, 1, extra=Extra(tier=tier))
    assert usage(**told, service_tier=tier) == Usage(1, 1, extra=Extra(tier=tier))


@pytest.mark.parametrize("tier", ["auto", "default", "scale", "standard", "on_demand", "", None, 7, ["flex"], {}])
def test_tiers_at_the_standard_price(tier: object) -> None:
    """Every other tier costs what the standard one costs."""
    told = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "service_tier": tier}
    assert usage_of({"usage": told, "service_tier": tier}) == Usage(1, 1)


@pytest.mark.parametrize(
    ("told", "usd"),
    [
        ({"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}, 0.95),
        ({"cost": 10_000}, 10_000.0),
        ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.3}}, 0.3),
        ({"cost_in_usd_ticks": 37_756_000}, 0.0037756),
        ({"cost_in_usd_ticks": 5 * 10**10}, 5.0),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 0.21),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, 0.2),
    ],
)
def test_told_prices(told: dict[str, Any], usd: float) -> None:
    """What a server says a call cost is read; with a key of one's own it is the fee and the provider's price."""
    assert extra(prompt_tokens=1, completion_tokens=1, total_tokens=2, **told).usd == pytest.approx(usd, abs=1e-12)


@pytest.mark.parametrize(
    "told",
    [
        *({"cost": cost} for cost in NO_MONEY),
        {"cost": {"total_cost": "0.3"}},
        {"cost": 0.01, "is_byok": True},  # the fee alone is not the price
        {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": None}},
        {"cost_in_usd_ticks": -5},
        {"cost_in_usd_ticks": 0},
        {"cost_in_usd_ticks": 10**15},
        {"cost": 9_999, "is_byok": True, "cost_details": {"upstream_inference_cost": 9_999}},
    ],
)
def test_no_told_price(told: dict[str, Any]) -> None:
    """A price that makes no sense, is 0 or is not the whole one is none: a 0 may mean that the server does not know."""
    assert usage(prompt_tokens=1, completion_tokens=1, total_tokens=2, **told) == Usage(1, 1)
