"""Tests of gateway.ledger.search and filters: the newest, the dearest and the slowest of those that fit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.filters import Filters
from gateway.ledger.reader import LedgerReader
from gateway.ledger.rows import row
from gateway.ledger.search import Order
from gateway.ledger.store import Store
from gateway.trace import HELD_OUT, Bill, Trace
from tests.gateway.ledger.traces import answered, refused


def priced(id: str, cost: float | None, **fields: Any) -> Trace:  # noqa: A002 - the field's name
    """A call that cost so much."""
    return answered(id, bill=Bill(cost, cost, 0.0, None, "measured"), **fields)


def ledger(folder: Path, *traces: Trace) -> LedgerReader:
    """A reader of a ledger that holds these calls."""
    assert Store(folder / "ledger.sqlite").write([row(trace) for trace in traces])
    return LedgerReader(folder / "ledger.sqlite")


@pytest.mark.parametrize("order", ["dearest", "slowest"])
def test_ranks_are_those_of_a_full_sort(tmp_path: Path, order: Order) -> None:
    """Page after page, over many blocks, with ties and unknown prices: no call is left out and none told twice."""
    rng = random.Random(1)
    traces = [
        priced(str(i), rng.choice((None, round(rng.random(), 2))), ended=50.2 + rng.randrange(100)) for i in range(3500)
    ]
    reader = ledger(tmp_path, *traces)
    column = {"dearest": "cost_usd", "slowest": "total_ms"}[order]
    every = [r for r in reader.recent(5000) if r[column] is not None]
    expected = sorted(every, key=lambda r: (r[column], r["seq"]), reverse=True)
    found, before = [], None
    for _ in range(5):
        page = reader.search(100, before, None, order)
        found += page
        before = page[-1]["seq"]
    assert [r["id"] for r in found] == [r["id"] for r in expected[:500]]


def test_every_filter_holds(tmp_path: Path) -> None:
    """Team, key, tag, endpoint, cost, time and word each leave the calls that fit, alone and together."""
    reader = ledger(
        tmp_path,
        priced("cheap", 0.1, team="red", tags=("a", "b")),
        priced("dear", 9.0, key="other", tags=("ab",), at=1_800_000_100.0),
        refused("lost", model="no-such-model"),
    )

    def ids(**asked: object) -> list[str]:
        return [r["id"] for r in reader.search(filters=Filters(**asked))]  # type: ignore[arg-type] # each test names its own

    assert ids(team="red") == ids(tag="a") == ["cheap"]
    assert ids(key="other") == ids(min_cost_usd=1.0) == ids(since=1_800_000_050.0) == ["dear"]
    assert ids(until=1_800_000_001.0) == ["cheap"]
    assert ids(q="NO-SUCH") == ids(q="not_found") == ["lost"]
    assert ids(q="dea") == ids(q="dear") == ["dear"]
    assert ids(tag="a", key="other") == ids(q="%") == ids(tag="' OR 1=1 --") == []
    assert ids(endpoint="chat") == ["lost", "dear", "cheap"]


def test_records_are_told_in_words(tmp_path: Path) -> None:
    """Tags are a list and flags are true or false; the story is not there."""
    (found,) = ledger(tmp_path, priced("a", 1.0, tags=("x", "y"), holdout=HELD_OUT)).search()
    assert (found["tags"], found["held_out"], found["streamed"]) == (["x", "y"], True, False)
    assert not {"story", "lines"} & set(found)
