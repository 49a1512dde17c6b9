"""Records as a gateway writes them over some weeks, many and fast: for benchmarks and tests of what reads them.

A few thousand calls are made up with all that records can have; each record is one of these under an id, at a time and
at a cost of its own. They are written by the ledger's own means, so that blocks and sums are there as they would be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sin
from pathlib import Path

from gateway.ledger import wide
from gateway.ledger.retention import MINUTES_KEPT
from gateway.ledger.rows import COLUMNS, Row, row
from gateway.ledger.schema import open_ledger
from gateway.ledger.store import INTO, account
from gateway.ledger.sums import DAY, HOUR, SPANS, Sums
from gateway.trace import (
    BYPASS,
    COALESCED,
    EXACT,
    HELD_OUT,
    MISS,
    NO_PART,
    STALE,
    TREATED,
    Attempt,
    Bill,
    Extra,
    Source,
    Trace,
    Usage,
)  # fmt: skip

_VARIANTS = 4000
_BATCH = 5000
_MODELS = {
    "gpt-large": ("openai", "gpt-5.1", 1.25, 10.0),
    "gpt-small": ("openai", "gpt-5-mini", 0.25, 2.0),
    "claude": ("anthropic", "claude-sonnet", 3.0, 15.0),
    "own-8b": ("vllm", "llama-8b-int8", 0.02, 0.09),
    "embed": ("engine", "all-minilm-l6-v2", 0.001, 0.0),
}
_TENANTS = {"acme": ("web", "batch", "search"), "globex": ("app", "lab"), "initech": ("bot",)}
_TEAMS = {"web": "shop", "batch": "data", "search": "shop", "app": "core", "lab": "research", "bot": ""}
_TAGS = ((), (), ("prod",), ("prod", "chat"), ("eval",))
_FAILURES = ("upstream_failed", "timeout", "client_left", "model_not_found", "rate_limited")
_STATUS = {"upstream_failed": 502, "timeout": 504, "client_left": 499, "model_not_found": 404, "rate_limited": 429}
_ID, _AT = COLUMNS.index("id"), COLUMNS.index("at")
_MONEY = COLUMNS.index("cost_usd"), COLUMNS.index("baseline_usd")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How many records, and the `days` before `until` (Unix time) over which they lie."""

    count: int
    until: float
    days: float = 30.0
    seed: int = 1


def seed(path: Path, recipe: Recipe, tell: Callable[[int], None] | None = None) -> None:
    """Write the records to the ledger at `path`; `tell` hears how many are written after each batch.

    Sums by minute are there for the last days only, as in a file whose older ones were removed.
    """
    with closing(open_ledger(path)) as db:
        sums = Sums(db)
        for start in range(0, recipe.count, _BATCH):
            batch = list(rows(recipe, start, min(_BATCH, recipe.count - start)))
            is_new = _moment(recipe, start) >= recipe.until - MINUTES_KEPT
            db.execute("BEGIN IMMEDIATE")
            wide.insert(db, INTO, batch)
            account(db, sums, batch, spans=SPANS if is_new else (HOUR, DAY))
            db.execute("COMMIT")
            if tell is not None:
                tell(start + len(batch))


def rows(recipe: Recipe, start: int, number: int) -> Iterator[Row]:
    """Some of the recipe's records, from the one with this number on; their times rise."""
    assert (_ID, _AT) == (0, 1)  # noqa: S101 - they are put in front below
    variants = _variants(recipe.seed)
    rng = random.Random(f"{recipe.seed} {start}")
    cost, baseline = _MONEY
    for index in range(start, start + number):
        made = variants[rng.randrange(_VARIANTS)]
        id_ = f"req_{rng.getrandbits(96):024x}"
        yield (
            id_,
            _moment(recipe, index),
            *made[2:cost],
            _varied(made[cost], rng),
            made[baseline],
            *made[baseline + 1 :],
        )


def _varied(cost: object, rng: random.Random) -> float | None:
    return cost * (0.5 + rng.random()) if isinstance(cost, float) else None


def _moment(recipe: Recipe, index: int) -> float:
    """Denser by day than by night."""
    days = recipe.days * (index + 0.5) / recipe.count
    return recipe.until - DAY * (recipe.days - days + 0.1 * sin(2 * pi * days) / (2 * pi))


@lru_cache(maxsize=2)
def _variants(seed: int) -> list[Row]:
    rng = random.Random(seed)
    return [row(_call(rng)) for _ in range(_VARIANTS)]


def _call(rng: random.Random) -> Trace:
    tenant = rng.choices(list(_TENANTS), (6, 3, 1))[0]
    key = rng.choice(_TENANTS[tenant])
    model = rng.choices(list(_MODELS), (20, 35, 10, 25, 10))[0]
    trace = Trace(
        id="", at=0.0, started=100.0, endpoint="embeddings" if model == "embed" else "chat", tenant=tenant, key=key,
        team=_TEAMS[key], tags=rng.choice(_TAGS), model=model, rule=rng.choice(("default", "chat", "cheap")),
        policy="0123456789ab", streamed=model != "embed" and rng.random() < 0.5, request_bytes=rng.randint(300, 20_000),
        status=200, outcome="ok", holdout=HELD_OUT if rng.random() < 0.02 else TREATED,
    )  # fmt: skip
    kind = BYPASS if trace.is_held_out else rng.choices((MISS, EXACT, STALE, COALESCED, BYPASS), (60, 25, 1, 4, 10))[0]
    trace.cache = kind
    if rng.random() < 0.03:
        return _failed(trace, rng)
    return _served(trace, rng) if kind in {EXACT, STALE, COALESCED} else _asked(trace, rng)


def _used(rng: random.Random, model: str) -> Usage:
    prompt = int(rng.lognormvariate(6.5, 1.1)) + 10
    completion = 0 if model == "embed" else int(rng.lognormvariate(5.0, 0.9)) + 1
    extra = Extra(cache_write=prompt // 2) if model == "claude" and rng.random() < 0.3 else None
    cached = prompt // 2 if rng.random() < 0.3 else 0
    return Usage(prompt, completion, cached, completion // 3 if model == "gpt-large" else 0, rng.random() < 0.02, extra)


def _asked(trace: Trace, rng: random.Random) -> Trace:
    upstream, name, per_prompt, per_token = _MODELS[trace.model]
    used = _used(rng, trace.model)
    first = rng.lognormvariate(-1.2, 0.6)
    ended = first + used.completion * rng.uniform(0.004, 0.02)
    start = 100.0002
    if rng.random() < 0.02:
        trace.attempts.append(Attempt("azure", name, start, ended=start + 0.4, status=500, fault="http_500"))
        trace.note("failover", "azure failed: http_500")
        start += 0.41
    begun = start + (first if trace.streamed else ended)
    trace.attempts.append(Attempt(upstream, name, start, begun, start + ended, 200, usage=used))
    trace.first_byte, trace.ended, trace.usage = begun + 0.0003, start + ended + 0.0005, used
    trace.response_bytes = 200 + 4 * used.completion
    if trace.cache == MISS:
        trace.note("cache", "miss: no call like it came before")
    cost = None if rng.random() < 0.02 else (used.prompt * per_prompt + used.completion * per_token) / 1e6
    basis = "unknown" if cost is None else "estimated" if used.estimated else "measured"
    trace.bill = _bill(cost, cost, (), basis)
    return trace


def _served(trace: Trace, rng: random.Random) -> Trace:
    upstream, name, per_prompt, per_token = _MODELS[trace.model]
    used = _used(rng, trace.model)
    trace.source = Source(name, upstream, used.prompt + used.completion, used.completion, used.cached)
    trace.age, trace.usage = rng.randint(1, 86_400), used
    trace.waited = rng.lognormvariate(-1.2, 0.6) if trace.cache == COALESCED else 0.0
    trace.first_byte = 100.0004 + trace.waited
    trace.ended = trace.first_byte + 0.0002
    would = (used.prompt * per_prompt + used.completion * per_token) / 1e6
    trace.bill = _bill(0.0, would, ((trace.cache, would, "measured"),), "measured")
    return trace


def _bill(cost: float | None, baseline: float | None, lines: tuple[tuple[str, float, str], ...], basis: str) -> Bill:
    own = 7e-9
    if cost is None or baseline is None:
        return Bill(None, None, own, None, basis)
    return Bill(cost, baseline, own, baseline - cost - own, basis, (*lines, ("overhead", -own, "estimated")))


def _failed(trace: Trace, rng: random.Random) -> Trace:
    trace.outcome = rng.choice(_FAILURES)
    trace.status, trace.cache, trace.holdout = _STATUS[trace.outcome], BYPASS, NO_PART
    trace.first_byte = trace.ended = 100.0 + rng.uniform(0.001, 2.0)
    if trace.outcome == "model_not_found":
        trace.rule, trace.model = "", f"invented-{rng.randrange(1000)}"
    elif trace.outcome != "rate_limited":
        upstream, name, *_ = _MODELS[trace.model]
        fault = "timeout" if trace.outcome == "timeout" else "http_502"
        trace.attempts.append(Attempt(upstream, name, 100.001, ended=trace.ended, fault=fault))
    trace.bill = _bill(0.0, 0.0, (), "measured")
    return trace
