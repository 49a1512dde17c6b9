"""How each flow of calls behaves: its speed, its tail, its price, its contexts and how many of its calls are at once.

It reads stretches of neighbouring records, evenly spread over the range, `SAMPLE` at most: `sampled` is the share of
the range's records that were read. What is said of a flow is said of its records in the sample:

* `output_tokens_per_s`: tokens of answers that an upstream gave, for each second those calls took in all; None where
  there were none, as of embeddings. Hits count in the latencies only.
* `ttft_ms`: until the first byte, of streamed calls; a plain answer has none.
* `usd_per_million_tokens`: of calls whose cost is known, prompt and completion counted alike; `unknown` are the others.
* `concurrency`: of each stretch, from its first start to its last end. `mean` is the time its calls took in all,
  over the time that passed; `peak` the most that were under way at once.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from gateway.ledger import blocks

By = Literal["model", "tenant", "team", "key", "tag", "upstream"]
Record = dict[str, Any]

SAMPLE = 50_000  # records read
TOP = 100  # flows told
_COLUMNS = (
    "at", "total_ms", "first_byte_ms", "streamed", "prompt_tokens", "completion_tokens", "cost_usd", "upstream",
)  # fmt: skip
_AT, _MS, _FIRST, _STREAMED, _PROMPT, _COMPLETION, _COST, _UPSTREAM = range(len(_COLUMNS))

Call = tuple[Any, ...]  # in the order of `_COLUMNS`


def profile(db: sqlite3.Connection, since: float, until: float, by: By, sample: int = SAMPLE) -> list[Record]:
    """Tell each flow of the range, those with most calls first."""
    stretches = blocks.within(db, since, until)
    chosen = blocks.spread_out(stretches, sample)
    flows: defaultdict[str, list[list[Call]]] = defaultdict(list)  # by name, a list a stretch
    for stretch in chosen:
        for name, calls in _read(db, stretch, since, until, by).items():
            flows[name].append(calls)
    share = _rows(chosen) / max(_rows(stretches), 1)
    ordered = sorted(flows, key=lambda name: (-sum(map(len, flows[name])), name))
    return [{"flow": name, **_told(flows[name]), "sampled": round(share, 4)} for name in ordered[:TOP]]


def _rows(stretches: Iterable[blocks.Stretch]) -> int:
    return sum(stretch.last - stretch.first + 1 for stretch in stretches)


def _read(db: sqlite3.Connection, stretch: blocks.Stretch, since: float, until: float, by: By) -> dict[str, list[Call]]:
    name = "tags" if by == "tag" else "CASE WHEN rule = '' THEN '' ELSE model END" if by == "model" else by
    sql = f"SELECT {name}, {', '.join(_COLUMNS)} FROM calls WHERE seq BETWEEN ? AND ? AND at >= ? AND at < ?"  # noqa: S608 - our own names
    found: defaultdict[str, list[Call]] = defaultdict(list)
    for flow, *call in db.execute(sql, (stretch.first, stretch.last, since, until)):
        for each in flow.strip(",").split(",") if by == "tag" else (flow,):  # a call without tags has the flow ""
            found[each].append(tuple(call))
    return found


def _told(stretches: Sequence[Sequence[Call]]) -> Record:
    calls = [call for stretch in stretches for call in stretch]
    answered = [c for c in calls if c[_UPSTREAM] and c[_COMPLETION] is not None and c[_MS]]
    priced = [c for c in calls if c[_COST] is not None]
    tokens = sum((c[_PROMPT] or 0) + (c[_COMPLETION] or 0) for c in priced)
    seconds, made = sum(c[_MS] for c in answered) / 1e3, sum(c[_COMPLETION] for c in answered)
    return {
        "calls": len(calls),
        "output_tokens_per_s": round(made / seconds, 3) if seconds and made else None,
        "ttft_ms": _percentiles([c[_FIRST] for c in calls if c[_STREAMED] and c[_FIRST] is not None]),
        "total_ms": _percentiles([c[_MS] for c in calls if c[_MS] is not None]),
        "usd_per_million_tokens": sum(c[_COST] for c in priced) / tokens * 1e6 if tokens else None,
        "unknown": len(calls) - len(priced),
        "context_tokens": _contexts([c[_PROMPT] for c in calls if c[_PROMPT] is not None]),
        "concurrency": _concurrency(stretches),
    }


def _percentiles(values: list[float], at: Sequence[int] = (50, 95, 99)) -> dict[str, float] | None:
    """By nearest rank."""
    if not values:
        return None
    values.sort()
    return {f"p{p}": round(values[max(0, -(-len(values) * p // 100) - 1)], 3) for p in at}


def _contexts(tokens: list[float]) -> dict[str, float] | None:
    found = _percentiles(tokens, (50, 95))
    return None if found is None else {**found, "max": tokens[-1]}


def _concurrency(stretches: Sequence[Sequence[Call]]) -> Record:
    busy = passed = 0.0
    peak = 0
    for stretch in stretches:
        spans = [(c[_AT], c[_AT] + (c[_MS] or 0.0) / 1e3) for c in stretch]
        busy += sum(end - start for start, end in spans)
        passed += max(end for _, end in spans) - min(start for start, _ in spans)
        peak = max(peak, *_under_way(spans))
    return {"mean": round(busy / passed, 3) if passed else 0.0, "peak": peak}


def _under_way(spans: Iterable[tuple[float, float]]) -> Iterator[int]:
    """How many are under way after each start; one that ends as another starts is over."""
    now = 0
    for _, change in sorted(event for start, end in spans for event in ((start, 1), (end + 1e-9, -1))):
        now += change
        if change > 0:
            yield now
