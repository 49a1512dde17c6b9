"""Tokens at the prices in force: which lines hold for one attempt, and what each kind of its tokens came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.data import Json

BYTES_PER_TOKEN = 4  # where an upstream told no usage; as the bill reckons it

_WRITTEN = (
    ("Prompt, written to its cache for an hour", "cache_write_1h", ("cache_write_1h", "cache_write", "input")),
    ("Prompt, written to its cache", "cache_write", ("cache_write", "input")),
    ("Prompt, sound", "audio_input", ("audio_input", "input")),
    ("Prompt, pictures", "image_input", ("image_input", "input")),
)
_MADE = (
    ("Answer, sound", "audio_output", ("audio_output", "output")),
    ("Answer, pictures", "image_output", ("image_output", "output")),
    ("Answer, reasoning", "reasoning", ("reasoning", "output")),
)
_Kind = tuple[str, str, tuple[str, ...]]  # its name, its count in the usage, the lines that may price it


@dataclass(frozen=True, slots=True)
class Item:
    """Tokens of one kind: how many, what a million of them costs, what that comes to."""

    name: str
    tokens: int | None  # None: not tokens, but the call itself
    rate: float | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """The lines, in USD per million tokens, that hold for a tier of service and a length of prompt."""

    lines: Json = field(default_factory=dict)
    plain: Json = field(default_factory=dict)  # those of an ordinary call
    above: float | None = None  # prompt tokens above which they hold
    tier: str = ""
    machine: Json | None = None

    @property
    def where(self) -> str:
        """When these lines hold; "" for those of an ordinary call."""
        tier = [f"in the tier {self.tier}"] if self.tier else []
        step = [f"above {self.above:,.0f} tokens"] if self.above is not None else []
        return " ".join([*tier, *step])

    def of(self, names: Sequence[str]) -> float | None:
        """The first of these lines that is given."""
        return next((self.lines[name] for name in names if self.lines.get(name) is not None), None)


def price_of(prices: Sequence[Json], upstream: str, model: str) -> Json | None:
    """The price in force of a model at an upstream."""
    return next((price for price in prices if price["upstream"] == upstream and price["model"] == model), None)


def rates_of(prices: Sequence[Json], tried: Json, used: Json) -> Rates:
    """The lines that hold for an attempt that used these tokens."""
    price = price_of(prices, tried["upstream"], tried["model"])
    if price is None:
        return Rates()
    named = used.get("tier") or ""
    tiers = price.get("tiers") or {}
    tier = named if tiers.get(named) else ""
    scale = tiers[tier] if tier else price
    reached = [step for step in scale.get("steps") or [] if used["prompt"] > step["above"]]
    step = max(reached, key=lambda step: float(step["above"]), default=None)
    lines = (step or scale).get("lines") or {}
    above = None if step is None else step["above"]
    return Rates(lines, price.get("lines") or {}, above, tier, price.get("machine"))


def used_by(tried: Json | None, record: Json) -> Json | None:
    """The tokens of an attempt; None where it gave no answer. Of one that told no usage they are guessed.

    An upstream that fails and tells nothing asks for nothing.
    """
    usage: Json | None = (tried or {}).get("usage")
    if usage is not None:
        return usage
    if tried is not None and (tried["fault"] or (tried["status"] or 0) >= 400):
        return None
    if record["prompt_tokens"] is not None:
        names = {"prompt": "prompt_tokens", "completion": "completion_tokens", "cached": "cached_tokens",
                 "reasoning": "reasoning_tokens", "cache_write": "cache_write_tokens", "tier": "tier"}  # fmt: skip
        return {**{name: record.get(column) for name, column in names.items()}, "estimated": record.get("estimated")}
    answer = 0 if record["endpoint"] == "embeddings" else (record["response_bytes"] or 0) // BYTES_PER_TOKEN
    return {"prompt": (record["request_bytes"] or 0) // BYTES_PER_TOKEN, "completion": answer, "estimated": True}


def items_of(used: Json, rates: Rates) -> list[Item]:
    """These tokens by kind, each at its price. Parts are never more than the whole they are of."""
    if used.get("usd") is not None:
        return [Item("What the upstream itself says it costs", None, None, used["usd"])]
    cached = used.get("cached") or 0
    found = _split("Prompt, new", max(0, (used["prompt"] or 0) - cached), "input", _WRITTEN, used, rates)
    found += [_item("Prompt, from the upstream's cache", cached, ("cached_input", "input"), rates)]
    found += _split("Answer", used["completion"] or 0, "output", _MADE, used, rates)
    request = rates.of(("request",))
    found += [Item("The call itself", None, None, request)] if request else []
    return [item for item in found if item.tokens is None or item.tokens > 0]


def _split(name: str, whole: int, line: str, kinds: Sequence[_Kind], used: Json, rates: Rates) -> list[Item]:
    """So many tokens, less those parts of them that have a line of their own."""
    left, parts = whole, []
    for kind, counted, lines in kinds:
        taken = min(max(0, used.get(counted) or 0), left)
        left -= taken
        parts.append(_item(kind, taken, lines, rates))
    return [_item(name, left, (line,), rates), *parts]


def _item(name: str, tokens: int, lines: Sequence[str], rates: Rates) -> Item:
    rate = rates.of(lines)
    return Item(name, tokens, rate, None if rate is None else rate * tokens / 1e6)


def cost_of(tried: Json, record: Json, prices: Sequence[Json]) -> float | None:
    """What one attempt cost at the prices in force; None where that cannot be reckoned from them."""
    used = used_by(tried, record)
    rates = rates_of(prices, tried, used or {"prompt": 0})
    if rates.machine is not None:
        return _of_machine(rates.machine, tried.get("seconds"))
    if used is None:
        return 0.0
    return total(items_of(used, rates))


def _of_machine(machine: Json, seconds: float | None) -> float | None:
    """Of a machine whose idle time is shared out the load of that moment would have to be known."""
    if seconds is None or machine["account"] != "marginal":
        return None
    return float(machine["usd_per_hour"]) / 3600 * seconds


def total(items: Sequence[Item]) -> float | None:
    """What all of them come to; None where a price is missing."""
    found = [item.usd for item in items]
    return None if not found or None in found else sum(usd or 0.0 for usd in found)


def said(item: Item, rates: Rates) -> str:
    """How many tokens at which price, in words."""
    if item.tokens is None or item.rate is None:
        return f.usd(item.usd)
    where = f", the price {rates.where}" if rates.where else ""
    return f"{f.count(item.tokens)} tokens at {f.rate(item.rate)} a million{where}"
