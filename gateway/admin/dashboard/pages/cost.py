"""Why one call cost what it cost: what stands out in its record, in words, the weightiest first."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages.rates import Item, Rates, cost_of, items_of, rates_of, said, total, used_by
from gateway.trace import HITS

LONG_PROMPT = 8000  # tokens from which on a prompt is worth a remark
LARGE = 0.2  # of the cost: worth a sentence
ALIKE = 0.05  # two amounts that differ by less are the same for a reader
_CACHE = {
    "miss": "No cache had the answer",
    "bypass": "The caches were passed by",
    "stale": "An old answer was served",
    "not kept": "Its answer was not kept for the next call",
}


def answer_of(record: Json) -> Json | None:
    """The attempt that answered, or else the last one."""
    tries: list[Json] = record["story"]["attempts"]
    return tries[-1] if tries else None


def made_of(record: Json, prices: Sequence[Json]) -> tuple[list[Item], Rates]:
    """The tokens of the answer by kind, each at its price in force, and which price that is."""
    tried = answer_of(record)
    used = used_by(tried, record)
    if used is None or (tried is None and record["prompt_tokens"] is None):
        return [], Rates()
    rates = rates_of(prices, tried, used) if tried else Rates()
    return items_of(used, rates), rates


def reasons(record: Json, prices: Sequence[Json]) -> list[str]:
    """What made the call as dear as it was, in sentences."""
    if not record["story"]["attempts"]:
        return _unasked(record) + _caches(record)
    if record.get("cost_usd") is None:
        return [
            "Nobody knows: there is no price for what answered. Add one under prices in the policy.",
            *_tries(record, prices),
            *_caches(record),
        ]
    found = _parts(record, prices) + _instead(record, prices) + _tries(record, prices)
    return found + _tokens(record) + _guessed(record) + _caches(record)


def _unasked(record: Json) -> list[str]:
    if record["cache"] in HITS:
        return [f"It cost nothing: no upstream was asked ({record['cache']})."]
    return [f"It was refused before any upstream was asked ({record['outcome']}): it cost nothing."]


def _parts(record: Json, prices: Sequence[Json]) -> list[str]:
    """What of the answer made up most of the cost, at which price."""
    items, rates = made_of(record, prices)
    others = sum(cost_of(tried, record, prices) or 0.0 for tried in record["story"]["attempts"][:-1])
    whole = (total(items) or 0.0) + others
    if not whole:
        return []
    large = sorted((item for item in items if (item.usd or 0) >= LARGE * whole), key=lambda item: -(item.usd or 0))
    found = [f"{f.share(item.usd or 0, whole)} is {_lower(item.name)}: {said(item, rates)}." for item in large]
    return found + _lines(items, rates) + _compared(record["cost_usd"], whole)


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _lines(items: Sequence[Item], rates: Rates) -> list[str]:
    """That other lines hold than for an ordinary call."""
    usual, now = rates.plain.get("input"), rates.of(("input",))
    if not rates.where or usual is None or now is None or not items:
        return []
    return [f"Other prices hold {rates.where}: a new prompt token costs {f.rate(now)} a million, {f.rate(usual)} else."]


def _compared(cost: float, whole: float) -> list[str]:
    """What was billed against what today's price makes of it."""
    if abs(cost - whole) <= ALIKE * max(cost, whole):
        return []
    return [
        f"It was billed {f.usd(cost)}, and these tokens come to {f.usd(whole)} at today's price: the price has changed "
        "since, or an attempt told nothing of its tokens."
    ]


def _instead(record: Json, prices: Sequence[Json]) -> list[str]:
    """What another upstream or model than the one asked for made of the cost."""
    bill = record["story"].get("bill") or {}
    names = {name for name, *_ in bill.get("lines") or ()}
    would, tried = bill.get("baseline"), answer_of(record)
    answered = None if tried is None else cost_of(tried, record, prices)
    if not names & {"failover", "route"} or not would or tried is None:
        return []
    cost = bill["cost"] if answered is None else answered
    if not cost or abs(cost - would) <= ALIKE * max(cost, would):
        return []
    times = cost / would if cost > would else would / cost
    what = f"{times:.3g} times that" if cost > would else f"a {_part(times)} of that"
    who = tried["model"] if tried["upstream"] == _first(record) else tried["upstream"]
    return [f"It would have cost {f.usd(would)}{_at(record, tried, prices, would)}; {who} answered: {what}."]


def _part(times: float) -> str:
    return {2: "half", 3: "third", 4: "quarter"}.get(round(times), f"{round(times)}th part")


def _first(record: Json) -> str:
    """The upstream that would have been asked if all had been well, as far as the record tells."""
    for layer, text in record["story"]["notes"]:
        if layer == "failover" and text.startswith("passed over "):
            return str(text.removeprefix("passed over ").partition(": ")[0])
    return str(record["story"]["attempts"][0]["upstream"])


def _at(record: Json, tried: Json, prices: Sequence[Json], would: float) -> str:
    """Where it would have cost this: told only if the price there comes to it, for a policy may name another."""
    name = _first(record)
    used = used_by(tried, record)
    if used is None or name == tried["upstream"]:
        return f" with {record['model']}" if record["model"] != tried["model"] else ""
    there = [price for price in prices if price["upstream"] == name]
    costs = [total(items_of(used, rates_of(prices, price, used))) for price in there]
    return f" at {name}" if any(cost and abs(cost - would) <= ALIKE * would for cost in costs) else ""


def _tries(record: Json, prices: Sequence[Json]) -> list[str]:
    tries = record["story"]["attempts"]
    found = []
    if len(tries) > 1:
        names = ", ".join(f"{tried['upstream']} ({tried['fault']})" for tried in tries if tried["fault"])
        found.append(f"{_asked(tries)}; failed: {names or 'none'}.")
    for tried in tries[:-1]:
        found += _paid(tried, cost_of(tried, record, prices))
    own = sum(tried.get("seconds") or 0 for tried in tries)
    if own:
        found.append(f"It took {f.duration(own * 1000)} of an own machine's time.")
    return found


def _asked(tries: Sequence[Json]) -> str:
    names = {tried["upstream"] for tried in tries}
    if len(names) == len(tries):
        return f"{len(tries)} upstreams were asked"
    return f"{f.plural(len(names), 'upstream was', 'upstreams were')} asked {len(tries)} times"


def _paid(tried: Json, cost: float | None) -> list[str]:
    """That an attempt whose answer nobody got is paid, too."""
    used = tried.get("usage")
    if not used:
        return []
    tokens = f"{f.count(used['prompt'])} tokens in and {f.count(used['completion'])} out"
    price = f", {f.usd(cost)}" if cost is not None else ""
    return [f"The attempt at {tried['upstream']} that did not answer had used {tokens}, which are paid, too{price}."]


def _tokens(record: Json) -> list[str]:
    prompt, answer = record["prompt_tokens"] or 0, record["completion_tokens"] or 0
    cached, reasoning = record["cached_tokens"] or 0, record["reasoning_tokens"] or 0
    found = []
    if prompt >= LONG_PROMPT and cached < prompt / 2:
        part = f.share(cached, prompt) if cached else "none"
        found.append(f"The prompt is long, {f.count(prompt)} tokens, and {part} of it came from the upstream's cache.")
    if reasoning and reasoning >= answer / 2:
        found.append(f"{f.share(reasoning, answer)} of the answer's tokens are reasoning that the caller does not see.")
    if record["answered_model"] and record["answered_model"] != record["model"]:
        found.append(f"{record['model']} was asked for; {record['answered_model']} answered.")
    return found


def _guessed(record: Json) -> list[str]:
    """That nobody told how many tokens there were."""
    tried = answer_of(record)
    used = used_by(tried, record) if tried else None
    if used is None or not used.get("estimated"):
        return []
    return ["The upstream did not tell all of its usage: tokens were guessed from bytes, so the cost is an estimate."]


def _caches(record: Json) -> list[str]:
    """What the caches had to do with it, and why they did not help."""
    found = []
    for layer, text in record["story"]["notes"]:
        what, colon, why = text.partition(": ")
        if layer == "cache" and colon and what in _CACHE:
            found.append(f"{_CACHE[what]}: {why}.")
    if not found and record["cache"] == "miss":
        found.append("No cache had the answer.")
    return found
