"""Tests of gateway.ledger.sums, with what reads them: whatever is summed equals what a look at every call gives."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger import figures
from gateway.ledger.filters import Filters
from gateway.ledger.ranges import Range
from gateway.ledger.reader import LedgerReader
from gateway.ledger.rows import row
from gateway.ledger.schema import open_ledger
from gateway.ledger.store import INTO, account
from gateway.ledger.sums import DAY, HOUR, MINUTE, MOST, OTHER, SPANS, Sums
from gateway.ledger.wide import insert
from gateway.trace import EXACT, MISS, Bill, Trace, Usage
from tests.gateway.ledger.traces import answered, hit, refused

START = 1_800_000_000 // DAY * DAY


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new ledger."""
    with closing(open_ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def write(db: sqlite3.Connection, traces: list[Trace], most: int = MOST) -> None:
    """Write these calls and their sums."""
    rows = [row(trace) for trace in traces]
    insert(db, INTO, rows)
    account(db, Sums(db, most), rows)


def anything(rng: random.Random) -> Trace:
    """A call of some days, of few tenants and models, of any kind, price and fate."""
    at = START + rng.random() * 3 * DAY
    if rng.random() < 0.1:
        return refused(model=f"invented-{rng.random()}") if rng.random() < 0.5 else refused()
    made = hit if rng.random() < 0.3 else answered
    cost = rng.choice((None, 0.0, rng.random()))
    own = rng.choice((0.0, 1e-8))
    lines = ((EXACT, 0.25 + own, rng.choice(("measured", "estimated"))),) if made is hit else ()
    if own:
        lines = (*lines, ("overhead", -own, "estimated"))
    bill = Bill(
        cost, 0.25, own, None if cost is None else 0.25 - cost - own, rng.choice(("measured", "estimated")), lines
    )
    return made(
        at=at,
        tenant=rng.choice("ab"),
        team=rng.choice(("", "t")),
        tags=rng.choice(((), ("x",), ("x", "y"))),
        model=rng.choice(("m", "n")),
        status=rng.choice((200, 200, 499, 500)),
        outcome=rng.choice(("ok", "cut")),
        holdout=rng.choice((0, 0, 0, 1, 2)),
        usage=rng.choice((None, Usage(rng.randrange(1000), rng.randrange(99), 5, 1, estimated=True))),
        bill=rng.choice((None, bill, bill)),
    )


def plain(found: figures.Figures) -> Any:
    """What two ways of counting must agree on."""
    flows = {flow: pytest.approx(list(numbers)) for flow, numbers in found.flows.items()}
    series = {at: pytest.approx(list(numbers)) for at, numbers in found.series.items()}
    return flows, {name: pytest.approx(usd) for name, usd in found.techniques.items()}, series


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("asked", [Filters(), Filters(tenant="a", model="m"), Filters(cache=EXACT), Filters(model="")])
def test_sums_equal_a_look_at_every_call(db: sqlite3.Connection, seed: int, asked: Filters) -> None:
    """Over any range of whole minutes, and for any flows, sums and calls say the same."""
    rng = random.Random(seed)
    for _ in range(4):
        write(db, [anything(rng) for _ in range(100)])
    db.row_factory = sqlite3.Row
    for _ in range(5):
        since = START + rng.randrange(3 * DAY // MINUTE) * MINUTE
        range_ = Range.of(db, since, since + rng.choice((HOUR, 7 * HOUR, 2 * DAY, 4 * DAY)))
        summed, counted = figures.of_sums(db, range_, asked), figures.of_rows(db, range_, asked)
        assert summed is not None
        flows, techniques, series = plain(counted)
        assert summed.flows == flows
        assert summed.techniques == techniques
        if summed.width == counted.width:
            assert summed.series == series


def test_minutes_hours_and_days_agree(db: sqlite3.Connection) -> None:
    """Each span holds every call once."""
    rng = random.Random(1)
    write(db, [anything(rng) for _ in range(200)])
    for table in ("sums", "totals"):
        sql = f"SELECT span, sum(calls) FROM {table} GROUP BY span"  # noqa: S608 - our own names
        assert dict(db.execute(sql).fetchall()) == dict.fromkeys(SPANS, 200)


def test_an_unknown_cost_is_not_zero(tmp_path: Path, db: sqlite3.Connection) -> None:
    """A call without a price adds nothing to the cost and one to those that are unknown."""
    write(
        db,
        [
            answered("a", bill=Bill(0.5, 0.5, 0.0, 0.0, "measured")),
            answered("b", bill=Bill(None, None, 0.0, None, "unknown")),
        ],
    )
    totals = LedgerReader(tmp_path / "ledger.sqlite").overview(1_799_999_000, 1_800_001_000)["totals"]
    assert (totals["calls"], totals["cost_usd"], totals["unknown"]) == (2, 0.5, 1)


def test_what_clients_invent_is_no_flow(db: sqlite3.Connection) -> None:
    """A thousand models that no policy knows are one flow."""
    write(db, [refused(str(i), f"invented-{i}") for i in range(1000)])
    assert db.execute("SELECT count(*), max(model) FROM flows").fetchone() == (1, "")


def test_too_many_flows_are_summed_as_other(tmp_path: Path, db: sqlite3.Connection) -> None:
    """Beyond so many in a day the names are lost, no call is; what they did with the cache is still told apart."""
    write(db, [answered(str(i), key=f"k{i}", cache=MISS) for i in range(20)], most=5)
    write(db, [answered(str(i), key=f"k{i}", cache=MISS) for i in range(20)], most=5)
    assert db.execute("SELECT count(*) FROM flows").fetchone() == (6,)
    found = LedgerReader(tmp_path / "ledger.sqlite").overview(1_799_999_000, 1_800_001_000)
    assert found["totals"]["calls"] == 40
    assert {told["name"]: told["calls"] for told in found["by"]["key"]}[OTHER] == 30
    assert found["kinds"]["miss"]["calls"] == 40


def test_one_name_among_too_many_is_counted_from_the_calls(tmp_path: Path, db: sqlite3.Connection) -> None:
    """Where sums have lost a name, a question for it is answered from the calls."""
    write(db, [answered(str(i), key=f"k{i}") for i in range(20)], most=5)
    found = LedgerReader(tmp_path / "ledger.sqlite").overview(1_799_999_000, 1_800_001_000, Filters(key="k19"))
    assert found["totals"]["calls"] == 1


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -5.0, 1e300])
def test_an_absurd_time_loses_no_call(tmp_path: Path, db: sqlite3.Connection, at: float) -> None:
    """A call whose clock says nonsense is written and summed, now."""
    rows = [row(answered("odd", at=at), now=lambda: 1_800_000_100.0), row(answered("even"))]
    insert(db, INTO, rows)
    account(db, Sums(db), rows)
    assert LedgerReader(tmp_path / "ledger.sqlite").overview(1_799_999_000, 1_800_001_000)["totals"]["calls"] == 2


def test_a_clock_that_jumps_breaks_no_total(tmp_path: Path, db: sqlite3.Connection) -> None:
    """Calls years ahead or behind stand in their own days; the days of the others are right."""
    write(db, [answered("a"), answered("future", at=4e9), answered("past", at=5.0), answered("b")])
    reader = LedgerReader(tmp_path / "ledger.sqlite")
    assert reader.overview(1_799_999_000, 1_800_001_000)["totals"]["calls"] == 2
    assert reader.overview(0, 5e9)["totals"]["calls"] == 4


def test_sums_that_are_no_numbers_count_nothing(tmp_path: Path, db: sqlite3.Connection) -> None:
    """A bill with infinities or what is no number spoils no sum; its cost is unknown."""
    for cost in (float("nan"), float("inf")):
        write(db, [answered(bill=Bill(cost, 1.0, float("nan"), cost, "measured"))])
    totals = LedgerReader(tmp_path / "ledger.sqlite").overview(1_799_999_000, 1_800_001_000)["totals"]
    assert (totals["calls"], totals["unknown"], totals["cost_usd"], totals["own_usd"]) == (2, 2, 0.0, 0.0)
