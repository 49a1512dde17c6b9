"""Why one call cost what it cost: its tokens at their prices, and what stands out in its record, in words."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.data import Json

LONG_PROMPT = 8000  # tokens from which on a prompt is worth a remark
LARGE = 0.2  # of the cost: worth a sentence


@dataclass(frozen=True, slots=True)
class Item:
    """Tokens of one kind: how many, what a million of them costs, what that comes to."""

    name: str
    tokens: int
    rate: float | None
    usd: float | None


def lines_of(record: Json, prices: list[Json]) -> Json | None:
    """The lines, in USD per million tokens, of whoever answered the call; None where none are known."""
    tries = record["story"]["attempts"]
    upstream, model = (tries[-1]["upstream"], tries[-1]["model"]) if tries else (None, None)
    for price in prices:
        if price["upstream"] == upstream and price["model"] == model:
            lines: Json | None = price.get("lines")
            return lines
    return None


def made_of(record: Json, prices: list[Json]) -> list[Item]:
    """The call's tokens by kind, each at its price in force."""
    lines = lines_of(record, prices) or {}
    prompt, answer = record["prompt_tokens"] or 0, record["completion_tokens"] or 0
    cached, reasoning = record["cached_tokens"] or 0, record["reasoning_tokens"] or 0
    written = record.get("cache_write_tokens") or 0
    kinds = [
        ("Prompt, new", prompt - cached - written, ("input",)),
        ("Prompt, from the upstream's cache", cached, ("cached_input", "input")),
        ("Prompt, written to its cache", written, ("cache_write", "input")),
        ("Answer", answer - reasoning, ("output",)),
        ("Answer, reasoning", reasoning, ("reasoning", "output")),
    ]
    return [_item(name, max(0, tokens), lines, names) for name, tokens, names in kinds if tokens > 0]


def _item(name: str, tokens: int, lines: Json, names: tuple[str, ...]) -> Item:
    rate = next((lines[line] for line in names if lines.get(line) is not None), None)
    return Item(name, tokens, rate, None if rate is None else rate * tokens / 1e6)


def reasons(record: Json, prices: list[Json]) -> list[str]:
    """What made the call as dear as it was, in sentences, the weightiest first."""
    if record["cache"] in {"exact", "stale", "coalesced"} and not record["story"]["attempts"]:
        return [f"It cost nothing: no upstream was asked ({record['cache']})."]
    cost = record.get("cost_usd")
    if cost is None:
        return ["Nobody knows: there is no price for what answered. Add one under prices in the policy."]
    found = _parts(made_of(record, prices), cost) + _tries(record) + _tokens(record)
    return found or ["Nothing stands out: it is a plain call at the usual price."]


def _parts(items: list[Item], cost: float) -> list[str]:
    whole = sum(item.usd or 0 for item in items)
    if not whole:
        return []
    large = sorted((item for item in items if (item.usd or 0) >= LARGE * whole), key=lambda item: -(item.usd or 0))
    found = [
        f"{f.share(item.usd or 0, whole)} is {item.name.lower()}: {f.count(item.tokens)} tokens at ${item.rate:g} "
        "a million."
        for item in large
    ]
    if cost > 1.05 * whole:
        found.append(
            f"It was billed {f.usd(cost)}, and these tokens come to {f.usd(whole)} at today's price: the rest is other "
            "attempts, a dearer tier or step, or a price that has changed since."
        )
    return found


def _tries(record: Json) -> list[str]:
    tries = record["story"]["attempts"]
    failed = [tried for tried in tries if tried["fault"]]
    found = []
    if len(tries) > 1:
        names = ", ".join(f"{tried['upstream']} ({tried['fault']})" for tried in failed)
        found.append(f"{len(tries)} upstreams were asked; failed: {names or 'none'}.")
    paid = [tried for tried in failed if tried.get("usage")]
    if paid:
        found.append(f"{f.plural(len(paid), 'attempt')} that failed had used tokens, which are paid, too.")
    own = sum(tried.get("seconds") or 0 for tried in tries)
    if own:
        found.append(f"It took {f.duration(own * 1000)} of an own machine's time.")
    return found


def _tokens(record: Json) -> list[str]:
    prompt, answer = record["prompt_tokens"] or 0, record["completion_tokens"] or 0
    cached, reasoning = record["cached_tokens"] or 0, record["reasoning_tokens"] or 0
    found = []
    if prompt >= LONG_PROMPT and cached < prompt / 2:
        part = f.share(cached, prompt) if cached else "none"
        found.append(f"The prompt is long, {f.count(prompt)} tokens, and {part} of it came from the upstream's cache.")
    if reasoning and reasoning >= answer / 2:
        found.append(f"{f.share(reasoning, answer)} of the answer's tokens are reasoning that the caller does not see.")
    if record.get("tier"):
        found.append(f"It was answered in the service tier {record['tier']}, which has its own price.")
    if record["answered_model"] and record["answered_model"] != record["model"]:
        found.append(f"{record['model']} was asked for; {record['answered_model']} answered.")
    return found
