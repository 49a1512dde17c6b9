"""What the file's table decides: how much a body takes, who goes first, and whose file it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from caching.forms import Answer
from caching.stores import Selection
from caching.stores.file import PAGE, ROW_BYTES, Bounds, OtherVersion, Table, coarse, connect, disk_bytes, number
from tests.fakes.stores import START, entry, key


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An open file with nothing in it."""
    with closing(connect(tmp_path / "cache.db", 0.1)) as db:
        yield db


def order(db: sqlite3.Connection) -> list[bytes]:
    """All keys, who would go first first."""
    return [row[0] for row in db.execute("SELECT key FROM entries ORDER BY priority")]


@pytest.mark.parametrize("length", [0, 200, 2500, 4000, 5000, 8000, 9000, 16_000, 30_000, 100_000])
def test_disk_bytes(db: sqlite3.Connection, length: int) -> None:
    """What a body is counted as is what it takes of the file, by half too much at most: rows thin out."""
    table = Table(db, Bounds(1 << 30, 1e9))
    before = number(db, "PRAGMA page_count")
    made = [entry(at, answer=Answer.of_plain(bytes(length))) for at in range(256)]
    table.put(made, START)
    taken = (number(db, "PRAGMA page_count") - before) * PAGE
    counted = table.sums()[1]
    assert counted > 256 * length
    assert 0.8 * taken < counted < 1.5 * taken


def test_disk_bytes_of_small_bodies() -> None:
    """A body that shares its page takes its share; one that has a page for itself takes all of it."""
    assert disk_bytes(100) < ROW_BYTES + 120
    assert PAGE < disk_bytes(3000) < PAGE + ROW_BYTES


def test_order(db: sqlite3.Connection) -> None:
    """Of equal size the cheap goes before the dear, and of equal cost the large before the small."""
    table = Table(db, Bounds(1 << 24, 1e9))
    small, large = Answer.of_plain(bytes(300)), Answer.of_plain(bytes(30_000))
    table.put([entry("dear", seconds=9.0, answer=small), entry("cheap", seconds=1.0, answer=small)], START)
    table.put([entry("large", seconds=1.0, answer=large)], START)
    assert order(db) == [key("large"), key("cheap"), key("dear")]


def test_hits_raise(db: sqlite3.Connection) -> None:
    """What was asked for rises with the next write."""
    table = Table(db, Bounds(1 << 24, 1e9))
    table.put([entry("a"), entry("b")], START)
    for _ in range(3):
        table.get(key("a"), START)
    table.put([entry("c")], START)
    assert order(db)[-1] == key("a")


def test_age_rises(db: sqlite3.Connection) -> None:
    """What is new comes in above the priority of what last went out, so that old fame fades; also after a restart."""
    bounds = Bounds(1 << 20, 1e9)
    table = Table(db, bounds)
    for at in range(300):
        table.put([entry(at, answer=Answer.of_plain(bytes(4000)))], START)
    lowest = db.execute("SELECT min(priority) FROM entries").fetchone()[0]
    again = Table(db, bounds)
    again.put([entry("new", seconds=0.0)], START)
    new = db.execute("SELECT priority FROM entries WHERE key = ?", (key("new"),)).fetchone()[0]
    assert new >= lowest > entry().cost / disk_bytes(4500)


def test_sums_are_kept(db: sqlite3.Connection) -> None:
    """The sums are those of the rows, whatever was put again, dropped or purged."""
    table = Table(db, Bounds(1 << 24, 1e9))
    table.put([entry(at) for at in range(50)], START)
    table.put([entry(at, text="longer " * 50) for at in range(25)], START)
    table.drop([key(at) for at in range(10)])
    table.purge(Selection(tenant="nobody"), 0, START, dry_run=False)
    assert table.sums() == db.execute("SELECT count(*), sum(size) FROM entries").fetchone()


def test_ids_are_not_used_twice(db: sqlite3.Connection) -> None:
    """An entry put after the newest was dropped has a higher id: other processes look for new ones by it."""
    table = Table(db, Bounds(1 << 24, 1e9))
    table.put([entry(at) for at in range(3)], START)
    table.drop([key(2)])
    table.put([entry("new")], START)
    assert table.younger(3) == ([key("new")], 4)


def test_dead_ones_go(db: sqlite3.Connection) -> None:
    """What is past its end goes in time, wherever it lies among the living."""
    table = Table(db, Bounds(1 << 24, 1e9))
    table.put([entry(at, dies=START + 10 if at % 3 else START + 1000) for at in range(300)], START)
    for at in range(200):
        table.put([entry(("new", at), dies=START + 1000)], START + 20)
    assert table.sums()[0] == 100 + 200


def test_coarse() -> None:
    """Rounding keeps the order, and is off by a quarter at most."""
    values = [1.1**at / 1e6 for at in range(300)]
    rounded = [coarse(value) for value in values]
    assert rounded == sorted(rounded)
    assert all(0.75 < one / other < 1.26 for one, other in zip(rounded, values, strict=True))
    assert coarse(0.0) == 0.0


def test_smaller_bound(tmp_path: Path) -> None:
    """A file from a larger bound gives its pages back with the writes, also where it has far too many entries."""
    with closing(connect(tmp_path / "cache.db", 0.1)) as db:
        Table(db, Bounds(1 << 26, 1e9)).put(
            [entry(at, answer=Answer.of_plain(bytes(3000))) for at in range(3000)], START
        )
        table = Table(db, Bounds(1 << 20, 1e9))
        for at in range(100):
            table.put([entry(("new", at))], START)
        assert table.sums()[1] <= 1 << 20
        assert number(db, "PRAGMA page_count") <= Bounds(1 << 20, 1e9).pages


def test_purge_in_slices(db: sqlite3.Connection) -> None:
    """A purge goes through the entries slice by slice and says where it stands; a slice holds the file briefly."""
    table = Table(db, Bounds(1 << 24, 1e9))
    table.put([entry(at) for at in range(300)], START)
    after, slices, gone = 0, 0, 0
    while after or not slices:
        count, _, after = table.purge(Selection(), after, START, dry_run=False)
        gone, slices = gone + count, slices + 1
    assert (gone, slices) == (300, 3)


def test_numbers_of_purges_rise(tmp_path: Path) -> None:
    """Purges are numbered upwards, also in a file that was begun anew since."""
    numbers: list[int] = []
    for name in ("old.db", "new.db"):
        with closing(connect(tmp_path / name, 0.1)) as db:
            table = Table(db, Bounds(1 << 24, 1e9))
            numbers += [table.note_purge(Selection(), START + len(numbers)) for _ in range(2)]
            assert [seq for seq, _, _ in table.purges(numbers[-2])] == numbers[-1:]
    assert numbers == sorted(set(numbers))


def test_other_version(tmp_path: Path) -> None:
    """A file of another release is not opened."""
    with closing(connect(tmp_path / "cache.db", 0.1)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(OtherVersion):
        connect(tmp_path / "cache.db", 0.1)
