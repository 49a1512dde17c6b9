"""Tests of gateway.ledger.retention: what goes, what stays, and what no clock may cost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger.reader import LedgerReader
from gateway.ledger.retention import Retention, SteadyClock
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from tests.gateway.ledger.traces import answered

NOW = 1_800_000_000.0
DAY = 86_400.0


def count(path: Path, table: str) -> int:
    """Rows in a table."""
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our own names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger lies."""
    return tmp_path / "ledger.sqlite"


def store(path: Path, keep: Retention, now: float | None = NOW) -> Store:
    """A store at this time of a clock that is trusted, or of one that is not."""
    return Store(path, keep, steady=lambda: now)


def test_a_clock_is_trusted_once_it_ran_evenly() -> None:
    """After a start, and after each jump, age counts only when so many seconds have passed evenly."""
    wall, passed = [NOW], [0.0]
    clock = SteadyClock(lambda: wall[0], lambda: passed[0], hold=600)

    def later(seconds: float, jump: float = 0.0) -> float | None:
        passed[0] += seconds
        wall[0] += seconds + jump
        return clock()

    assert clock() is None
    assert later(599) is None
    assert later(1) == NOW + 600
    assert later(1, jump=10 * 365 * DAY) is None
    assert later(1, jump=-10 * 365 * DAY) is None
    assert later(700) == NOW + 1302


def test_while_the_clock_is_not_trusted_nothing_is_too_old(path: Path) -> None:
    """A gateway that wakes with its clock years ahead keeps its records."""
    writer = store(path, Retention(seconds=DAY), now=None)
    writer.write([row(answered("a", at=5.0))])
    writer.prune()
    assert count(path, "calls") == 1


def test_a_record_of_the_future_keeps_no_other_and_removes_none(path: Path) -> None:
    """What is old goes and what is new stays, whatever lies between them."""
    writer = store(path, Retention(seconds=DAY))
    times = {"old": NOW - 2 * DAY, "future": NOW + 9999 * DAY, "older": NOW - 3 * DAY, "new": NOW - 5}
    writer.write([row(answered(name, at=at)) for name, at in times.items()])
    for _ in range(3):
        writer.prune()
    assert [r["id"] for r in LedgerReader(path).recent()] == ["new", "future"]


def test_contents_go_with_their_calls(path: Path) -> None:
    """No request outlives its record, whether that was too old or one too many."""
    writer = store(path, Retention(seconds=DAY, records=1000))
    old = [row(answered(str(i), at=NOW - 2 * DAY)) for i in range(10)]
    writer.write(old, [(b"secret", b"answer")] * 10)
    writer.prune()
    assert (count(path, "calls"), count(path, "contents"), count(path, "blocks")) == (0, 0, 0)
    writer.write([row(answered(str(i), at=NOW)) for i in range(1010)], [(b"secret", b"answer")] * 1010)
    writer.prune()
    assert (count(path, "calls"), count(path, "contents")) == (1000, 1000)


def test_rows_written_after_all_newer_ones_went_are_found(path: Path) -> None:
    """Numbers that are used again lead to the new call, not to the one that was removed."""
    writer = store(path, Retention(seconds=DAY))
    writer.write([row(answered("stays", at=NOW)), row(answered("goes", at=5.0))])
    writer.prune()
    writer.write([row(answered("new", at=NOW))])
    reader = LedgerReader(path)
    assert [bool(reader.one(name)) for name in ("stays", "goes", "new")] == [True, False, True]
    assert [r["id"] for r in reader.search(order="slowest")] == ["new", "stays"]


def test_sums_outlive_records_and_go_in_their_time(path: Path) -> None:
    """Sums by minute are kept for days, by hour and day as the policy says; flows without sums go too."""
    writer = store(path, Retention(seconds=DAY, sums=30 * DAY))
    writer.write([row(answered(str(days), at=NOW - days * DAY, tenant=f"t{days}")) for days in (1, 5, 20, 40)])
    for _ in range(3):
        writer.prune()
    with closing(sqlite3.connect(path)) as db:
        assert dict(db.execute("SELECT span, count(*) FROM sums GROUP BY span").fetchall()) == {
            60: 1,
            3600: 3,
            86400: 3,
        }
        assert {name for (name,) in db.execute("SELECT tenant FROM flows")} == {"t1", "t5", "t20"}
    assert LedgerReader(path).overview(NOW - 25 * DAY, NOW)["totals"]["calls"] == 3
