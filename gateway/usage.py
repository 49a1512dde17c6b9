"""The tokens an answer says it used, whatever dialect of OpenAI's `usage` its server speaks.

Laws:

* What makes no sense counts as nothing: negative numbers, fractions, words, numbers no prompt can reach. A usage of
  which nothing can be believed is none, so that an estimate takes its place rather than a measured 0.
* A part is never larger than its whole. A total that is smaller than its parts is not believed.
* The prompt is all of it and the completion is all of it, also where a server counts some of it beside.
* Nothing is ever summed over the chunks of a stream: what is repeated is cumulative, and the last one counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.trace import Extra, Usage

Part = Mapping[str, Any]
MAX_COUNT = 2**31  # no call has so many tokens
MAX_USD = 1e4  # no call costs more
TICKS = 1e10  # of xAI, in a USD
TIERS = ("batch", "flex", "priority")  # those with prices of their own; the others cost what the standard one costs
NOTHING: Part = {}
CACHED = frozenset({"cache_read_input_tokens", "cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens"})
RARE = frozenset({"cache_creation", "cache_creation_input_tokens", "cost", "cost_in_usd_ticks", "service_tier"})
RARE_READ = frozenset({"cache_creation_token_details", "cache_creation_tokens", "cache_write_tokens", "image_tokens"})
OTHER_WORDS = {  # of OpenAI's Responses and of Anthropic
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


def usage_of(answer: Part) -> Usage | None:
    """The tokens an answer or a chunk reports; None where it reports none, or none that can be believed."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        usage = _elsewhere(answer)
        if usage is None:
            return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if prompt is None or completion is None:
        usage = _renamed(usage)
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    read, said = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    read, said = read if isinstance(read, dict) else NOTHING, said if isinstance(said, dict) else NOTHING
    prompt, completion = _count(prompt), _count(completion)
    reasoning = _count(said.get("reasoning_tokens", usage.get("reasoning_tokens")))
    if reasoning > completion or usage.get("total_tokens") != prompt + completion:
        prompt, completion, reasoning = _settled(usage, prompt, completion, reasoning)
    told = read.get("cached_tokens")
    cached = _cached(answer, usage) if told is None else _count(told)
    is_rare = _is_rare(answer, usage, read, said)
    if is_rare or cached > prompt:
        prompt += _outside(usage, prompt)
    found = Usage(prompt, completion, cached if cached < prompt else prompt, reasoning)
    if is_rare:
        found.extra = _extra(answer, usage, (read, prompt - found.cached), (said, completion - reasoning))
    return found if prompt or completion or (found.extra is not None and found.extra.usd) else None


def _count(value: object) -> int:
    if type(value) is int:
        return value if 0 <= value < MAX_COUNT else 0
    return int(value) if isinstance(value, float) and 0 <= value < MAX_COUNT and value.is_integer() else 0


def _renamed(usage: Part) -> Part:
    """A usage in OpenAI's words, where it has others; Anthropic's input has nothing of what its prefix cache had."""
    told = {
        name: usage[word]
        for word, name in OTHER_WORDS.items()
        if usage.get(name) is None and usage.get(word) is not None
    }
    if not told:
        return usage
    if "prompt_tokens" in told and "input_tokens_details" not in usage and (aside := _aside(usage)):
        told["prompt_tokens"] = _count(told["prompt_tokens"]) + aside
    return {**usage, **told}


def _aside(usage: Part) -> int:
    """Tokens that Anthropic read from its prefix cache or wrote to it, which it counts beside its prompt."""
    return _count(usage.get("cache_read_input_tokens")) + _count(usage.get("cache_creation_input_tokens"))


def _outside(usage: Part, prompt: int) -> int:
    """Those of them that a server passed on as Anthropic counts: they cannot be inside of what is smaller."""
    aside = _aside(usage)
    return aside if aside > prompt and prompt + aside < MAX_COUNT else 0


def _elsewhere(answer: Part) -> Part | None:
    """Groq wrote the usage of a stream into `x_groq`, and Moonshot writes it into the choice that ends."""
    choices = answer.get("choices")
    for place in (answer.get("x_groq"), *(choices if isinstance(choices, list) else ())):
        if isinstance(place, dict) and isinstance(place.get("usage"), dict):
            usage: Part = place["usage"]
            return usage
    return None


def _cached(answer: Part, usage: Part) -> int:
    """Where servers without details tell it: Anthropic's word; Moonshot's and Together's; Mistral's; DeepSeek's."""
    if not CACHED.isdisjoint(usage):
        return max(_count(usage.get(name)) for name in CACHED)
    timings = answer.get("timings")  # of llama.cpp
    return _count(timings.get("cache_n")) if isinstance(timings, dict) else 0


def _settled(usage: Part, prompt: int, completion: int, reasoning: int) -> tuple[int, int, int]:
    """Prompt, completion and reasoning, where they do not add up to the total in the way OpenAI's do."""
    details = usage.get("completion_tokens_details")
    rest = _count(usage.get("total_tokens")) - prompt - completion
    # Embeddings of Voyage have a total and no parts, and Mistral leaves sound out of the prompt.
    is_prompt = not prompt or _count(usage.get("prompt_audio_seconds")) > 0
    if rest > 0 and (is_prompt or rest == _aside(usage)):
        prompt += rest
    elif 0 < rest == reasoning:  # xAI, and Gemini where it tells: reasoning stands beside the completion
        completion += rest
    elif rest > 0 and not reasoning and not isinstance(details, dict):  # Gemini: it stands in the total alone
        completion, reasoning = completion + rest, rest
    elif reasoning > completion and not isinstance(details, dict):  # Perplexity: beside both, as it cannot be inside
        completion = min(completion + reasoning, MAX_COUNT - 1)
    return prompt, completion, min(reasoning, completion)


def _is_rare(answer: Part, usage: Part, read: Part, said: Part) -> bool:
    """Say whether an answer has anything that most have not, without working it out."""
    if answer.get("service_tier") in TIERS or not RARE.isdisjoint(usage):
        return True
    if (read and not RARE_READ.isdisjoint(read)) or "image_tokens" in said:
        return True
    return bool(read.get("audio_tokens") or said.get("audio_tokens"))


def _extra(answer: Part, usage: Part, prompt: tuple[Part, int], completion: tuple[Part, int]) -> Extra | None:
    """What is rare. Details come with the tokens they may make up: the uncached prompt, the spoken completion."""
    (read, uncached), (said, spoken) = prompt, completion
    written, hour = _written(usage, read)
    written = min(written, uncached)
    hour = min(hour, written)
    audio_input = min(_count(read.get("audio_tokens")), uncached - written)
    audio_output = min(_count(said.get("audio_tokens")), spoken)
    extra = Extra(
        cache_write=written - hour,
        cache_write_1h=hour,
        audio_input=audio_input,
        image_input=min(_count(read.get("image_tokens")), uncached - written - audio_input),
        audio_output=audio_output,
        image_output=min(_count(said.get("image_tokens")), spoken - audio_output),
        tier=_tier(answer.get("service_tier")) or _tier(usage.get("service_tier")),
        usd=_usd(usage),
    )
    return None if extra == Extra() else extra


def _written(usage: Part, read: Part) -> tuple[int, int]:
    """Tokens written to the prefix cache, and those of them that stay for an hour."""
    parts = read.get("cache_creation_token_details", usage.get("cache_creation"))
    parts = parts if isinstance(parts, dict) else NOTHING
    hour = _count(parts.get("ephemeral_1h_input_tokens"))
    for told in (
        read.get("cache_write_tokens"),  # OpenAI, OpenRouter
        read.get("cache_creation_tokens"),  # litellm
        usage.get("cache_creation_input_tokens"),  # Anthropic's own word, which some pass on
    ):
        if told is not None:
            return _count(told), hour
    return _count(parts.get("ephemeral_5m_input_tokens")) + hour, hour


def _tier(value: object) -> str:
    return value if isinstance(value, str) and value in TIERS else ""


def _usd(usage: Part) -> float | None:
    """What the server itself says the call cost: OpenRouter's credits, Perplexity's sum, xAI's ticks; all are USD.

    A 0 is no price: it may as well mean that the server does not know.
    """
    usd = _told_usd(usage)
    return usd if usd and usd <= MAX_USD else None


def _told_usd(usage: Part) -> float | None:
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return _money(cost.get("total_cost"))
    if usage.get("is_byok") is True:  # OpenRouter: `cost` is its fee alone, and the key's owner pays the provider
        details = usage.get("cost_details")
        rest = _money(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
        fee = _money(cost)
        return None if rest is None or fee is None else fee + rest
    return _money(usage.get("cost_in_usd_ticks"), TICKS) if cost is None else _money(cost)


def _money(value: object, parts: float = 1.0) -> float | None:
    """USD, of a value that counts so many parts of one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value / parts if 0 <= value <= MAX_USD * parts else None
