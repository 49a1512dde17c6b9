"""Sums of calls by time and by flow, kept up in the transaction that writes the calls: pages read these, not the calls.

Laws of this module:

* A flow is what calls have in common that pages tell apart: tenant, team, key, endpoint, model, who answered, outcome.
  Whatever a client may invent is no part of it: a model's name counts only where the policy knew it.
* In a day at most `MOST` flows are told apart; calls of others are summed under "other", by outcome and cache.
* What is summed for a minute is summed for its hour and its day too, under the same flow: the three agree.
* A call without a known cost adds nothing to the cost, and one to `unknown`.
* Who answered at which time of the clock is the record's word: a clock that jumps moves calls, it loses none.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import orjson

from gateway.ledger import spread, wide
from gateway.ledger.rows import COLUMNS, LATEST, Row
from gateway.ledger.story import OVERHEAD, OWN
from gateway.trace import HITS

MINUTE, HOUR, DAY = SPANS = (60, 3600, 86_400)
MOST = 500  # flows told apart in a day
OTHER = "other"
FLOW = (
    "tenant", "team", "key", "endpoint", "model", "answered_model", "upstream", "outcome", "cache", "held_out",
)  # fmt: skip
NUMBERS = (
    "calls", "errors", "unknown", "estimated", "prompt_tokens", "completion_tokens", "cached_tokens",
    "reasoning_tokens", "saved_tokens", "cost_usd", "square_usd", "baseline_usd", "own_usd", "saved_usd",
)  # fmt: skip

_AT = COLUMNS.index("at")
_TIMES = itemgetter(*(COLUMNS.index(f"{name}_ms") for name in spread.MEASURES))
_ALIKE = itemgetter(*(COLUMNS.index(name) for name in (*FLOW, "rule", "status", "basis")))
_ADDED_UP = itemgetter(
    *(COLUMNS.index(name) for name in ("cost_usd", "lines", *NUMBERS[4:9], "baseline_usd", "own_usd", "saved_usd"))
)
_FLOWS = len(FLOW)
_MODEL, _CACHE, _OUTCOME = FLOW.index("model"), FLOW.index("cache"), FLOW.index("outcome")
_COST = NUMBERS.index("cost_usd")
_NAMES = FLOW[:_MODEL] + FLOW[_MODEL + 1 : FLOW.index("outcome")]

_ADD = ", ".join(f"{name} = {name} + excluded.{name}" for name in NUMBERS)
_INTO_SUMS = ("sums", f"ON CONFLICT DO UPDATE SET {_ADD}")
TOTALS = ("calls", "errors", "hits", "cost_usd", "saved_usd")
_INTO_TOTALS = ("totals", f"ON CONFLICT DO UPDATE SET {', '.join(f'{n} = {n} + excluded.{n}' for n in TOTALS)}")
_INTO_TECHNIQUES = (
    "techniques",
    "ON CONFLICT DO UPDATE SET measured = measured + excluded.measured, estimated = estimated + excluded.estimated",
)
_INTO_SPREADS = ("spreads", "ON CONFLICT DO UPDATE SET calls = calls + excluded.calls")
_FIND = f"SELECT id FROM flows WHERE {' AND '.join(f'{name} = ?' for name in FLOW)}"  # noqa: S608 - our own names
_MAKE = f"INSERT INTO flows ({', '.join(FLOW)}) VALUES ({', '.join('?' * _FLOWS)})"  # noqa: S608 - the same

Flow = tuple[Any, ...]
Numbers = list[float]


class Sums:
    """Adds rows to the sums of one connection. To be thrown away with it, or when a transaction failed."""

    def __init__(self, db: sqlite3.Connection, most: int = MOST) -> None:
        self._db = db
        self._most = most
        self._day = -1.0  # the one that `_ids` are of
        self._ids: dict[Flow, int] = {}

    def add(self, rows: Sequence[Row], spans: Sequence[int] = SPANS) -> None:
        """Add what was just written, in the same transaction. Rows of long ago need no sums by minute."""
        batch = _Batch(spans)
        for minute, part in _by_minute(rows).items():
            batch.time(minute, part)
            groups: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
            for row in part:
                groups[_ALIKE(row)].append(_ADDED_UP(row))
            for alike, measures in groups.items():
                batch.add(minute, self._flow(minute // DAY, alike), alike, measures)
        batch.write(self._db)

    def _flow(self, day: int, alike: tuple[Any, ...]) -> int:
        """The id under which calls of this day that are so much alike are summed."""
        flow = alike[:_FLOWS]
        if not alike[_FLOWS]:  # no rule was chosen: the name is the client's own invention
            flow = (*flow[:_MODEL], "", *flow[_MODEL + 1 :])
        if day != self._day:
            self._day, self._ids = day, {}
        known = self._ids.get(flow)
        if known is None:
            known = self._ids[flow] = self._found(day, flow)
        return known

    def _found(self, day: int, flow: Flow) -> int:
        """Look this flow up, or make it; once the day has too many it is another's."""
        found = self._db.execute(_FIND, flow).fetchone()
        at = day * DAY
        if (
            found is not None
            and self._db.execute(
                "SELECT 1 FROM sums WHERE span = ? AND at = ? AND flow = ?", (DAY, at, found[0])
            ).fetchone()
        ):
            return int(found[0])
        told_apart = self._db.execute("SELECT count(*) FROM sums WHERE span = ? AND at = ?", (DAY, at)).fetchone()[0]
        if max(told_apart, len(set(self._ids.values()))) >= self._most:
            return self._made(other(flow))
        return int(found[0]) if found is not None else self._made(flow)

    def _made(self, flow: Flow) -> int:
        found = self._db.execute(_FIND, flow).fetchone()
        return int(found[0] if found is not None else self._db.execute(_MAKE, flow).lastrowid or 0)


def other(flow: Flow) -> Flow:
    """What stands for this flow where too many are to be told apart."""
    return tuple(OTHER if name in _NAMES or name == "model" else value for name, value in zip(FLOW, flow, strict=True))


def _by_minute(rows: Sequence[Row]) -> dict[int, Sequence[Row]]:
    """Rows by the minute in which their calls began; nearly always all rows of a batch share one or two."""
    times: list[float] = [row[_AT] for row in rows]  # type: ignore[misc] # what this column holds
    if min(times) < 0 or max(times) > LATEST:
        times = [min(max(time, 0.0), LATEST) for time in times]
    first, last = int(min(times) // MINUTE), int(max(times) // MINUTE)
    if first == last:
        return {first * MINUTE: rows}
    parts: defaultdict[int, list[Row]] = defaultdict(list)
    for time, row in zip(times, rows, strict=True):
        parts[int(time // MINUTE) * MINUTE].append(row)
    return dict(parts)


class _Batch:
    """What one transaction adds, by span."""

    def __init__(self, spans: Sequence[int]) -> None:
        self._spans = spans
        self._sums: dict[tuple[int, int, int], Numbers] = {}
        self._totals: dict[tuple[int, int], Numbers] = {}
        self._techniques: dict[tuple[int, int, int, str], Numbers] = {}
        self._spreads: dict[tuple[int, int, int, int], int] = {}

    def time(self, minute: int, rows: Sequence[Row]) -> None:
        """Count how long calls took."""
        for measure, values in enumerate(zip(*map(_TIMES, rows), strict=True)):
            for bucket, calls in spread.counted(values).items():
                for span in self._spans:
                    key = (span, minute // span * span, measure, bucket)
                    self._spreads[key] = self._spreads.get(key, 0) + calls

    def add(self, minute: int, flow: int, alike: tuple[Any, ...], measures: Sequence[tuple[Any, ...]]) -> None:
        """Add calls that are alike in all that pages tell apart."""
        costs, lines, *rest = zip(*measures, strict=True)
        numbers = _numbers(alike, costs, rest)
        techniques = _techniques(lines, rest[-2])
        total = [*numbers[:2], numbers[0] if alike[_CACHE] in HITS else 0, numbers[_COST], numbers[-1]]
        for span in self._spans:
            at = minute // span * span
            key = (span, at, flow)
            _plus(self._sums, key, numbers)
            _plus(self._totals, (span, at), total)
            for technique, amounts in techniques.items():
                _plus(self._techniques, (*key, technique), amounts)

    def write(self, db: sqlite3.Connection) -> None:
        """Add all of it to what the file holds."""
        for (into, otherwise), table in (
            (_INTO_SUMS, self._sums),
            (_INTO_TOTALS, self._totals),
            (_INTO_TECHNIQUES, self._techniques),
        ):
            wide.insert(db, into, [(*key, *values) for key, values in sorted(table.items())], otherwise)
        into, otherwise = _INTO_SPREADS
        wide.insert(db, into, [(*key, calls) for key, calls in sorted(self._spreads.items())], otherwise)


def _plus(table: dict[Any, Numbers], key: Any, numbers: Numbers) -> None:
    there = table.get(key)
    table[key] = list(numbers) if there is None else [a + b for a, b in zip(there, numbers, strict=True)]


def _numbers(alike: tuple[Any, ...], costs: Sequence[float | None], rest: Sequence[Sequence[Any]]) -> Numbers:
    """In the order of `NUMBERS`."""
    outcome = alike[_OUTCOME]
    _, status, basis = alike[_FLOWS:]
    calls = len(costs)
    known = [cost for cost in costs if cost is not None]
    *tokens, baseline, own, saved = map(_sum, rest)
    return [
        calls,
        calls if (status >= 400 and status != 499) or outcome.startswith("upstream_") else 0,
        calls - len(known),
        calls if basis == "estimated" else 0,
        *tokens,
        _sum(known),
        _sum([cost * cost for cost in known]),
        baseline,
        own,
        saved,
    ]


def _sum(values: Iterable[float | None]) -> float:
    """The sum of those that are known; infinities, which only a foreign hand can have written, count nothing."""
    total = float(sum(filter(None, values)))
    return total if math.isfinite(total) else 0.0


def _techniques(lines: Sequence[str], own: Sequence[float]) -> dict[str, Numbers]:
    """USD by technique, measured and estimated."""
    told: dict[str, Numbers] = {}
    number = lines.count(OWN)
    if number:
        told[OVERHEAD] = [0.0, -_sum(own if number == len(lines) else _of_own(lines, own))]
    text = ",".join([line for line in lines if line and line != OWN]) if number < len(lines) else ""
    for call in orjson.loads(f"[{text}]") if text else ():
        for technique, usd, how in call:
            amounts = told.setdefault(technique, [0.0, 0.0])
            amounts[how != "measured"] += usd
    return told


def _of_own(lines: Sequence[str], own: Sequence[float]) -> list[float]:
    return [usd for line, usd in zip(lines, own, strict=True) if line == OWN]
