"""The figures of the dashboard's first page: what was spent and saved, by whom, how fast, and how sure that is."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from gateway.ledger import figures, spread
from gateway.ledger.figures import Figures, Flow, Numbers
from gateway.ledger.filters import Filters
from gateway.ledger.ranges import Range
from gateway.ledger.sums import FLOW, NUMBERS, OTHER, TOTALS
from gateway.trace import HELD_OUT, HITS, REFRESH, TREATED

Record = dict[str, Any]

TOP = 100  # names told apart; the rest are summed under "other"
LEAST = 30  # calls held out, below which nothing is estimated from them
_Z95 = 1.959964  # two-sided 95 % quantile of the normal distribution

_BY = ("model", "upstream", "tenant", "team", "key")
_MONEY = frozenset({"cost_usd", "square_usd", "baseline_usd", "own_usd", "saved_usd"})
_N = {name: place for place, name in enumerate(NUMBERS)}
_F = {name: place for place, name in enumerate(FLOW)}


def overview(db: sqlite3.Connection, since: float, until: float, filters: Filters) -> Record:
    """Sum the calls that began within the range, whose ends become ends of minutes or hours; see LedgerReader."""
    range_ = Range.of(db, since, until)
    found = figures.of_sums(db, range_, filters) or figures.of_rows(db, range_, filters)
    flows = {flow: _without_calls(numbers) if _is_nobodys(flow) else numbers for flow, numbers in found.flows.items()}
    return {
        "since": range_.since,
        "until": range_.until,
        "bucket_s": found.width,
        "totals": _totals(flows),
        "series": _series(range_, found),
        "techniques": {
            name: {"usd": measured + estimated, "measured": measured, "estimated": estimated}
            for name, (measured, estimated) in sorted(found.techniques.items())
        },
        "kinds": _kinds(flows),
        "by": {name: _by(flows, _F[name]) for name in _BY},
        "routes": _routes(flows),
        "outcomes": _outcomes(flows),
        "latency_ms": {name: spread.percentiles(counts) for name, counts in found.times.items()},
        "holdout": _holdout(flows),
    }


def _is_nobodys(flow: Flow) -> bool:
    """Say whether these were fetched behind callers' backs: they cost something, and are no calls."""
    return bool(flow[_F["cache"]] == REFRESH)


def _without_calls(numbers: Numbers) -> Numbers:
    return [
        0.0 if name in {"calls", "errors", "unknown", "estimated"} else numbers[place] for name, place in _N.items()
    ]


def _number(name: str, value: float) -> float:
    return value if name in _MONEY else int(value)


def _totals(flows: Mapping[Flow, Numbers]) -> Record:
    sums = [math.fsum(column) for column in zip(*flows.values(), strict=True)] or [0.0] * len(NUMBERS)
    return {
        **{name: _number(name, sums[place]) for name, place in _N.items() if name != "square_usd"},
        "held_out": _calls(flows, lambda flow: flow[_F["held_out"]] == HELD_OUT),
        "hits": _calls(flows, lambda flow: flow[_F["cache"]] in HITS),
    }


def _calls(flows: Mapping[Flow, Numbers], fits: Callable[[Flow], bool]) -> int:
    return int(sum(numbers[0] for flow, numbers in flows.items() if fits(flow)))


def _series(range_: Range, found: Figures) -> list[Record]:
    """Every bucket of the range, those without calls too."""
    first = range_.since // found.width * found.width
    nothing = (0.0,) * len(TOTALS)
    return [
        {
            "at": at,
            **{name: _number(name, value) for name, value in zip(TOTALS, found.series.get(at, nothing), strict=True)},
        }
        for at in range(first, range_.until, found.width)
    ]


def _grouped(flows: Mapping[Flow, Numbers], key: Callable[[Flow], Any]) -> dict[Any, list[float]]:
    groups: dict[Any, list[float]] = {}
    for flow, numbers in flows.items():
        name = key(flow)
        there = groups.get(name)
        groups[name] = list(numbers) if there is None else [a + b for a, b in zip(there, numbers, strict=True)]
    return groups


def _by(flows: Mapping[Flow, Numbers], place: int) -> list[Record]:
    """By one name, the dearest first, then those with most calls."""
    groups = _grouped(flows, lambda flow: flow[place])
    ordered = sorted(groups, key=lambda name: (-groups[name][_N["cost_usd"]], -groups[name][0], name))
    named, rest = ordered[: TOP - 1] if len(ordered) > TOP else ordered, ordered[TOP - 1 :]
    told = {name: groups[name] for name in named}
    if len(ordered) > TOP:
        others = [groups[name] for name in rest] + [told.pop(OTHER, [0.0] * len(NUMBERS))]
        told[OTHER] = [math.fsum(column) for column in zip(*others, strict=True)]
    return [_told(name, numbers) for name, numbers in told.items()]


def _told(name: str, numbers: Numbers) -> Record:
    return {
        "name": name,
        "calls": int(numbers[_N["calls"]]),
        "errors": int(numbers[_N["errors"]]),
        "cost_usd": numbers[_N["cost_usd"]],
        "saved_usd": numbers[_N["saved_usd"]],
        "unknown": int(numbers[_N["unknown"]]),
        "tokens": int(numbers[_N["prompt_tokens"]] + numbers[_N["completion_tokens"]]),
    }


def _kinds(flows: Mapping[Flow, Numbers]) -> dict[str, Record]:
    groups = _grouped(flows, lambda flow: flow[_F["cache"]])
    return {
        kind: {"calls": int(numbers[0]), "saved_tokens": int(numbers[_N["saved_tokens"]])}
        for kind, numbers in groups.items()
        if numbers[0] or numbers[_N["saved_tokens"]]
    }


def _routes(flows: Mapping[Flow, Numbers]) -> list[Record]:
    """Which model was asked for, and who answered with which."""
    names = ("model", "upstream", "answered_model")
    groups = _grouped(flows, lambda flow: tuple(flow[_F[name]] for name in names))
    ordered = sorted(groups.items(), key=lambda group: (-group[1][0], group[0]))
    return [{**dict(zip(names, route, strict=True)), "calls": int(numbers[0])} for route, numbers in ordered[:TOP]]


def _outcomes(flows: Mapping[Flow, Numbers]) -> dict[str, int]:
    groups = _grouped(flows, lambda flow: flow[_F["outcome"]])
    return {
        name: int(groups[name][0])
        for name in sorted(groups, key=lambda name: (-groups[name][0], name))
        if groups[name][0]
    }


def _holdout(flows: Mapping[Flow, Numbers]) -> Record | None:
    """What a treated call costs less than one that was held out, with a 95 % interval for it.

    Only calls of rules that hold some out are compared, and only like with like: the differences of means are made by
    tenant, endpoint and model and weighted with how many treated calls each of these has (post-stratification, with
    Welch's variances). What is fetched behind callers' backs is a cost of the treated, and no call.
    """
    arms = {name: _strata(flows, part) for name, part in (("held_out", HELD_OUT), ("treated", TREATED))}
    both = [key for key, mean in arms["held_out"].items() if mean.calls > 1 and key in arms["treated"]]
    held, treated = ([arm[key] for key in both] for arm in arms.values())
    calls = sum(mean.calls for mean in treated)
    if sum(mean.calls for mean in held) < LEAST or calls < LEAST:
        return None
    weights = [mean.calls / calls for mean in treated]
    means = [math.fsum(w * mean.mean for w, mean in zip(weights, arm, strict=True)) for arm in (held, treated)]
    errors = [math.fsum(w * w * mean.error for w, mean in zip(weights, arm, strict=True)) for arm in (held, treated)]
    saved, reach = means[0] - means[1], _Z95 * math.sqrt(sum(errors))
    return {
        "held_out": {"calls": sum(mean.calls for mean in held), "mean_usd": means[0]},
        "treated": {"calls": calls, "mean_usd": means[1]},
        "saved_per_call_usd": saved,
        "low": saved - reach,
        "high": saved + reach,
        "saved_usd": saved * calls,
    }


def _strata(flows: Mapping[Flow, Numbers], part: int) -> dict[Any, _Mean]:
    groups = _grouped(
        {flow: numbers for flow, numbers in flows.items() if flow[_F["held_out"]] == part},
        lambda flow: tuple(flow[_F[name]] for name in ("tenant", "endpoint", "model")),
    )
    return {key: mean for key, numbers in groups.items() if (mean := _Mean.of(numbers)).calls}


class _Mean:
    """Of the cost of those calls whose cost is known."""

    def __init__(self, calls: float, total: float, squares: float) -> None:
        self.calls = max(0, int(calls))
        self.mean = total / calls if calls > 0 else 0.0
        variance = max(0.0, squares - total * self.mean) / (calls - 1) if calls > 1 else 0.0
        self.error = variance / calls if calls > 0 else 0.0  # of the mean, squared

    @classmethod
    def of(cls, numbers: Numbers) -> _Mean:
        calls, unknown, total, squares = (numbers[_N[name]] for name in ("calls", "unknown", "cost_usd", "square_usd"))
        return cls(calls - unknown, total, squares)
