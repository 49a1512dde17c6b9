"""Tests of gateway.ledger.following: rows of other gateways are in the file exactly once, whatever ends in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from caching.errors import StoreUnavailable
from gateway.ledger.following import BATCH, START, Follower, order
from gateway.ledger.packing import Entry, Fields, pack
from gateway.ledger.rows import row
from gateway.ledger.schema import open_ledger
from gateway.ledger.store import Store
from tests.gateway.ledger.traces import answered

OWN, OTHER, THIRD = "a" * 32, "b" * 32, "c" * 32
NOW = 1_800_000_000.0


class FakeStream:
    """A stream as Redis has it, in memory; its clock tells the entries' positions."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Fields]] = []
        self.now = NOW
        self.is_gone = False
        self.is_closed = False
        self.reads = 0

    def add(self, *ids: str, gateway: str = OTHER, run: str = "run", number: int = 1) -> None:
        """Put one entry of these calls; each began when it is put."""
        self.now += 0.001
        [packed] = pack([row(answered(name, at=self.now)) for name in ids])
        self.put({n.encode(): v for n, v in Entry(gateway, run, number, packed.data).fields().items()})

    def put(self, fields: Fields) -> None:
        """Put anything."""
        self.entries.append((f"{round(self.now * 1000)}-{len(self.entries)}", fields))

    def read(self, after: str, most: int) -> list[tuple[str, Fields]]:
        """As Redis does."""
        self.reads += 1
        if self.is_gone:
            raise StoreUnavailable("Redis cannot be reached")
        return [entry for entry in self.entries if order(entry[0]) > order(after)][:most]

    def newest(self) -> str:
        """As Redis does."""
        return self.entries[-1][0] if self.entries else START

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


def impatient(path: Path) -> sqlite3.Connection:
    """A connection that does not wait for locks, so that the test does not either."""
    db = open_ledger(path)
    db.execute("PRAGMA busy_timeout = 0")
    return db


@contextmanager
def following(folder: Path, stream: FakeStream, name: str = "redis://one") -> Iterator[Follower]:
    """A follower of this stream that writes to the folder's ledger."""
    store = Store(folder / "ledger.sqlite", connect=impatient)
    try:
        yield Follower(OWN, stream, store, stream=name, clock=lambda: stream.now)
    finally:
        store.close()


def copy(folder: Path, stream: FakeStream, name: str = "redis://one") -> Follower:
    """A new follower, as after a restart, copies what there is."""
    with following(folder, stream, name) as follower:
        for _ in range(3):
            while follower.turn():
                pass
        return follower


def write(folder: Path, *ids: str, at: float) -> None:
    """The worker of this gateway writes calls."""
    with closing(Store(folder / "ledger.sqlite", connect=impatient)) as store:
        assert store.write([row(answered(name, at=at)) for name in ids])


def found(folder: Path, columns: str = "id") -> list[Sequence[str]]:
    """What the file holds, in order of writing."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        rows = db.execute(f"SELECT {columns} FROM calls ORDER BY seq").fetchall()  # noqa: S608 - the test's own
        return [told[0] if len(told) == 1 else told for told in rows]


def test_others_rows_are_copied(tmp_path: Path) -> None:
    """Rows of other gateways are in the file, with the gateway that wrote them; one's own are not copied."""
    stream = FakeStream()
    stream.add("one", "two")
    stream.add("mine", gateway=OWN, run="mine")
    stream.add("three", gateway=THIRD, run="third")
    follower = copy(tmp_path, stream)
    assert found(tmp_path, "id, gateway") == [("one", OTHER), ("two", OTHER), ("three", THIRD)]
    assert follower.status() == {"state": "ok", "reason": "", "copied": 3, "skipped": 0, "mended": 0, "missed": 0}


def test_sums_count_copies(tmp_path: Path) -> None:
    """The pages' sums count a copied call as they count one's own."""
    stream = FakeStream()
    stream.add("one", "two")
    copy(tmp_path, stream)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        assert db.execute("SELECT sum(calls) FROM sums WHERE span = 60").fetchone() == (2,)


def test_a_restart_copies_nothing_twice(tmp_path: Path) -> None:
    """A follower goes on where the last one ended."""
    stream = FakeStream()
    stream.add("one")
    copy(tmp_path, stream)
    stream.add("two", number=2)
    assert copy(tmp_path, stream).status()["copied"] == 1
    assert found(tmp_path) == ["one", "two"]


def test_many_entries(tmp_path: Path) -> None:
    """A long stream is copied whole, batch by batch."""
    stream = FakeStream()
    for number in range(5 * BATCH):
        stream.add(f"req_{number}", number=number + 1)
    copy(tmp_path, stream)
    assert found(tmp_path) == [f"req_{number}" for number in range(5 * BATCH)]


def test_an_entry_that_was_sent_twice(tmp_path: Path) -> None:
    """An entry that lies twice in the stream, under two positions, is copied once."""
    stream = FakeStream()
    stream.add("one")
    stream.put(stream.entries[0][1])
    copy(tmp_path, stream)
    stream.put(stream.entries[0][1])
    copy(tmp_path, stream)
    assert found(tmp_path) == ["one"]


def test_a_stream_that_is_read_again(tmp_path: Path) -> None:
    """The same stream under another name, as when a Sentinel was added to the URL, is read again and copied once."""
    stream = FakeStream()
    stream.add("one")
    copy(tmp_path, stream)
    stream.now += 3600
    stream.add("mine", gateway=OWN, run="mine")
    write(tmp_path, "mine", at=stream.now)
    stream.now += 3600
    copy(tmp_path, stream, name="redis://two")
    assert found(tmp_path) == ["one", "mine"]


def test_redis_that_forgot(tmp_path: Path) -> None:
    """A Redis that lost the stream, and whose clock is behind, is read from its beginning."""
    stream = FakeStream()
    stream.now += 1000
    stream.add("one", number=5)
    copy(tmp_path, stream)
    del stream.entries[:]
    stream.now -= 900
    stream.add("two", number=6)
    copy(tmp_path, stream)
    assert found(tmp_path) == ["one", "two"]


def test_gaps_are_counted(tmp_path: Path) -> None:
    """Entries that were gone before they were read are counted by their numbers."""
    stream = FakeStream()
    stream.add("one", number=3)
    stream.add("two", number=7)
    assert copy(tmp_path, stream).status()["missed"] == 3


def test_a_lost_disk(tmp_path: Path) -> None:
    """A new disk gets what the stream holds, the rows that this gateway wrote under its old id included."""
    stream = FakeStream()
    stream.add("one")
    stream.add("mine", gateway=THIRD, run="mine")
    copy(tmp_path / "old", stream)
    copy(tmp_path / "new", stream)
    assert found(tmp_path / "new") == ["one", "mine"]


def test_a_lost_file(tmp_path: Path) -> None:
    """When only the file was lost, a gateway's old rows come back as its own; those it wrote since are not doubled."""
    stream = FakeStream()
    stream.add("old", gateway=OWN, run="old")
    stream.add("one")
    stream.now += 3600
    write(tmp_path, "new", at=stream.now)
    stream.add("new", gateway=OWN, run="new")
    copy(tmp_path, stream)
    assert found(tmp_path, "id, gateway") == [("new", ""), ("old", ""), ("one", OTHER)]


def test_a_late_follower(tmp_path: Path) -> None:
    """An admin plane that comes up long after the workers does not double their rows."""
    stream = FakeStream()
    write(tmp_path, "mine", at=stream.now)
    stream.add("mine", gateway=OWN, run="mine")
    stream.now += 86_400
    copy(tmp_path, stream)
    assert found(tmp_path) == ["mine"]


def test_a_file_that_is_replaced(tmp_path: Path) -> None:
    """A file that is deleted while it is followed is filled from the beginning."""
    stream = FakeStream()
    stream.add("one")
    with following(tmp_path, stream) as follower:
        while follower.turn():
            pass
        assert found(tmp_path) == ["one"]
        for part in tmp_path.glob("ledger.sqlite*"):
            part.unlink()
        stream.add("two", number=2)
        for _ in range(5):
            follower.turn()
    assert found(tmp_path) == ["one", "two"]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """While the file is locked nothing is lost and nothing counted; after it all is copied, once."""
    stream = FakeStream()
    stream.add("one")
    with following(tmp_path, stream) as follower, closing(impatient(tmp_path / "ledger.sqlite")) as other:
        follower.turn()
        other.execute("BEGIN IMMEDIATE")
        assert not follower.turn()
        assert follower.status()["copied"] == 0
        other.execute("ROLLBACK")
        follower.turn()
        follower.turn()
    assert found(tmp_path) == ["one"]


def test_two_followers_of_one_file(tmp_path: Path) -> None:
    """Two admin processes, as one comes before the other has gone, copy each row once."""
    stream = FakeStream()
    with following(tmp_path, stream) as first, following(tmp_path, stream) as second:
        for number in range(10):
            stream.add(f"req_{number}", number=number + 1)
            for _ in range(3):
                first.turn()
                second.turn()
    assert found(tmp_path) == [f"req_{number}" for number in range(10)]


def test_redis_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While Redis is gone the status says so; the log says it once; after it the copying goes on."""
    stream = FakeStream()
    stream.add("one")
    stream.is_gone = True
    with following(tmp_path, stream) as follower:
        for _ in range(10):
            assert not follower.turn() or stream.reads == 0
        assert follower.status()["state"] == "failing"
        stream.is_gone = False
        follower.turn()
        assert follower.status()["state"] == "ok"
    assert found(tmp_path) == ["one"]
    assert [record.getMessage() for record in caplog.records] == [
        "fleet ledger, reading: failing: Redis cannot be reached; calls go on",
        "fleet ledger, reading: works again (was: Redis cannot be reached)",
    ]


def test_hostile_entries(tmp_path: Path) -> None:
    """Entries that nobody of ours wrote are skipped and counted, and what comes after them is copied."""
    stream = FakeStream()
    stream.put({})
    stream.put({b"v": b"1", b"gateway": b"../..", b"run": b"x", b"n": b"1"})
    stream.put({b"v": b"1", b"gateway": OTHER.encode(), b"run": b"x", b"n": b"1", b"columns": b"[]", b"rows": b"[[]]"})
    stream.add("one")
    assert copy(tmp_path, stream).status()["skipped"] == 3
    assert found(tmp_path) == ["one"]


def test_old_calls_are_left(tmp_path: Path) -> None:
    """Calls that the file would not keep are not copied."""
    stream = FakeStream()
    stream.add("old")
    stream.now += 31 * 86_400
    stream.add("new", number=2)
    copy(tmp_path, stream)
    assert found(tmp_path) == ["new"]


def test_thread(tmp_path: Path) -> None:
    """The thread ends when it is told to, and closes what it had opened."""
    stream = FakeStream()
    with following(tmp_path, stream) as follower:
        follower.start()
        follower.close()
    assert stream.is_closed
