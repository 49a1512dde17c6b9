"""Tests of gateway.ledger.taking: each record gets to the ledger and the counts once, whatever ends in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admin.workers import read_workers
from gateway.ledger.desk import Desk
from gateway.ledger.frames import HEAD, frame
from gateway.ledger.journal import Journal
from gateway.ledger.reader import LedgerReader
from gateway.ledger.record import pack
from gateway.ledger.rows import Row
from gateway.ledger.schema import open_ledger
from gateway.ledger.spool import Spool, segments
from gateway.ledger.store import Store
from gateway.ledger.taking import Taking
from gateway.metrics import CALLS, DROPPED, Counts, Status
from gateway.state import State
from tests.gateway.ledger.traces import answered


class Killed(BaseException):
    """The recorder ends here, as by a kill."""


class Mortal(Store):
    """A store whose process may be killed just before or just after it writes."""

    dies = ""

    def write_chosen(self, choose: Callable[[sqlite3.Connection], Sequence[Row]], contents: Sequence[Any] = ()) -> bool:
        """As a store does, if it lives."""
        if self.dies == "before":
            raise Killed
        done = super().write_chosen(choose, contents)
        if self.dies == "after":
            raise Killed
        return done


def impatient(path: Path) -> sqlite3.Connection:
    """A connection that does not wait for locks, so that the test does not either."""
    db = open_ledger(path)
    db.execute("PRAGMA busy_timeout = 0")
    return db


def take(taking: Taking) -> None:
    """Take all there is."""
    while taking.turn():
        pass


def ids(state: State) -> list[str]:
    """The ids of all records, sorted."""
    return sorted(record["id"] for record in LedgerReader(state.ledger).recent(100_000))


def counts(state: State, worker: int = 0) -> tuple[float, float]:
    """Calls counted, and records lost."""
    found = Counts.read(orjson.loads(state.worker(worker).read_bytes())).counters
    return sum(found[CALLS.name].values()), found[DROPPED.name].get((), 0)


STEP = st.sampled_from(["write", "take", "die_before", "die_after", "tear", "rotate", "publish"])


class World:
    """One worker and its recorder, step by step."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder)
        self.written: list[str] = []
        self.torn = 0
        self.spool = Spool(self.state.spool, 0)
        self.taking = Taking(self.state)

    def write(self) -> None:
        """The worker hands over three records."""
        names = [f"{len(self.written) + n:05d}" for n in range(3)]
        assert self.spool.append([pack(answered(name)) for name in names])
        self.written += names

    def take(self) -> None:
        """The recorder takes what there is."""
        take(self.taking)

    def tear(self) -> None:
        """The worker is killed while it writes a frame of two records."""
        found = segments(self.state.spool)
        if found and not found[-1].has_ended():
            with found[-1].path.open("ab") as file:
                file.write(frame([b"x" * 50, b"y"], 99, 0)[:40])
            self.torn += 2
        self.spool.close()

    def rotate(self) -> None:
        """The worker ends its segment."""
        self.spool.close()

    def publish(self) -> None:
        """The recorder has time to publish."""
        self.taking._publish_at = 0.0
        self.taking.turn()

    def die_before(self) -> None:
        """The recorder is killed before it writes; if it has nothing to write, it lives."""
        self._die("before")

    def die_after(self) -> None:
        """The recorder is killed when it has written and has told nobody."""
        self._die("after")

    def _die(self, when: str) -> None:
        store = self.taking._store = Mortal(self.state.ledger)
        store.dies = when
        try:
            self.taking.turn()
        except Killed:
            self.taking = Taking(self.state)
        store.dies = ""


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_every_record_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """However writing, reading, kills of either side and torn frames follow each other, none is lost or doubled."""
    world = World(tmp_path_factory.mktemp("state"))
    for step in (*steps, "rotate", "take"):
        getattr(world, step)()
    world.taking.close()
    if world.written:
        assert ids(world.state) == world.written
        assert counts(world.state) == (len(world.written), world.torn)
    assert segments(world.state.spool) == []


def written(state: State, *names: str, worker: int = 0) -> None:
    """Have a worker write these records and end."""
    spool = Spool(state.spool, worker)
    spool.append([pack(answered(name)) for name in names])
    spool.close()


def test_a_segment_is_read_while_it_grows(tmp_path: Path) -> None:
    """Records are in the ledger long before their segment ends; then it is removed."""
    state = State(tmp_path)
    spool, taking = Spool(state.spool, 0), Taking(state)
    for name in ("a", "b", "c"):
        spool.append([pack(answered(name))])
        take(taking)
        assert ids(state)[-1] == name
    assert taking.behind() == 0
    assert len(segments(state.spool)) == 1
    spool.close()
    take(taking)
    assert segments(state.spool) == []
    taking.close()


def test_a_locked_ledger_costs_no_record_and_no_count(tmp_path: Path) -> None:
    """Calls are counted while the file is locked; their rows follow when it is free."""
    state, now = State(tmp_path), [0.0]
    taking = Taking(state, store=Store(state.ledger, connect=impatient), clock=lambda: now[0])
    written(state, "a")
    take(taking)
    with closing(open_ledger(state.ledger)) as other:
        other.execute("BEGIN EXCLUSIVE")
        written(state, "b", "c")
        for _ in range(5):
            now[0] += 1
            take(taking)
        assert taking.health() == "failing: locked by another process"
        assert counts(state) == (3, 0)
        assert taking.behind() > 0
        other.execute("ROLLBACK")
    now[0] += 1
    take(taking)
    assert taking.health() == "ok"
    taking.close()
    assert ids(state) == ["a", "b", "c"]
    assert counts(state) == (3, 0)


def test_a_ledger_that_is_locked_at_the_start(tmp_path: Path) -> None:
    """Until one knows what the file has, nothing is written to it; calls are counted."""
    state, now = State(tmp_path), [0.0]
    written(state, "a")
    first = Taking(state)
    first.turn()  # killed before the segment was removed
    taking = Taking(state, store=Store(state.ledger, connect=impatient), clock=lambda: now[0])
    with closing(open_ledger(state.ledger)) as other:
        other.execute("BEGIN EXCLUSIVE")
        take(taking)
        other.execute("ROLLBACK")
    now[0] += 2
    take(taking)
    taking.close()
    assert (ids(state), counts(state)) == (["a"], (1, 0))


def test_a_corrupt_ledger_is_begun_anew(tmp_path: Path) -> None:
    """What is not yet taken goes into the new file."""
    state = State(tmp_path)
    state.ledger.write_bytes(b"no database" * 100)
    written(state, "a")
    taking = Taking(state)
    take(taking)
    taking.close()
    assert ids(state) == ["a"]


def test_workers_are_counted_apart(tmp_path: Path) -> None:
    """Each has its own counts, whichever of them live."""
    state = State(tmp_path)
    written(state, "a", worker=0)
    written(state, "b", "c", worker=7)
    taking = Taking(state)
    take(taking)
    taking.close()
    assert (counts(state, 0), counts(state, 7)) == ((1, 0), (2, 0))
    assert ids(state) == ["a", "b", "c"]


def test_counts_survive_a_restart(tmp_path: Path) -> None:
    """The next recorder goes on counting."""
    state = State(tmp_path)
    for name in "abc":
        written(state, name)
        taking = Taking(state)
        take(taking)
        taking.close()
    assert counts(state) == (3, 0)


@pytest.mark.parametrize(
    "before",
    [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 99}', b'{"format":1,"counters":3}',
     b'{"format":1,"counters":{},"histograms":{},"spool":[]}',
     b'{"format":1,"counters":{},"histograms":{},"spool":{"a":1}}'],
)  # fmt: skip
def test_a_spoilt_metrics_file_is_begun_anew(tmp_path: Path, before: bytes) -> None:
    """Half a file, or one of another release, stops nothing: counts begin at zero."""
    state = State(tmp_path)
    state.worker(0).write_bytes(before)
    written(state, "a")
    taking = Taking(state)
    take(taking)
    taking.close()
    assert counts(state) == (1, 0)


def test_a_metrics_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The ledger works and the file of counts does not: health says so, and the segment stays until it does."""
    state = State(tmp_path)
    state.worker(0).mkdir()
    written(state, "a")
    taking = Taking(state)
    take(taking)
    assert taking.health() == "failing: input/output error"
    assert ids(state) == ["a"]
    assert len(segments(state.spool)) == 1
    state.worker(0).rmdir()
    take(taking)
    assert segments(state.spool) == []
    taking.close()
    assert counts(state) == (1, 0)


def test_a_record_that_is_none_costs_no_other(tmp_path: Path) -> None:
    """What cannot be read or made a row is counted as lost; its neighbours are written."""
    state = State(tmp_path)
    spool = Spool(state.spool, 0)
    wrong = pack(answered("wrong", model=None))
    spool.append([pack(answered("a")), b"junk", wrong, pack(answered("b"))])
    spool.close()
    taking = Taking(state)
    take(taking)
    taking.close()
    assert ids(state) == ["a", "b"]
    assert counts(state)[1] == 2


def test_damage_is_passed_over_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A frame whose bytes have changed is lost with its records; the next one is read."""
    state = State(tmp_path)
    spool = Spool(state.spool, 0)
    for name in ("a", "b", "c"):
        spool.append([pack(answered(name)), pack(answered(name + name))])
    (segment,) = segments(state.spool)
    data = bytearray(segment.path.read_bytes())
    data[data.index(b"bb") + 1] ^= 1
    with segment.path.open("r+b") as file:
        file.write(data)
    taking = Taking(state)
    for _ in range(3):
        take(taking)
    spool.close()
    take(taking)
    taking.close()
    assert ids(state) == ["a", "aa", "c", "cc"]
    assert counts(state) == (4, 2)
    assert [r.getMessage() for r in caplog.records] == [f"spool: 2 records in {segment.path.name} are damaged and lost"]


def test_a_segment_of_another_release_is_left_alone(tmp_path: Path) -> None:
    """It is kept under another name for whoever can read it, and counted."""
    state = State(tmp_path)
    state.spool.mkdir()
    (state.spool / "0-5.log").write_bytes(b"sluice spool 999\n" + b"x" * 500)
    written(state, "a")
    taking = Taking(state)
    take(taking)
    taking.close()
    assert ids(state) == ["a"]
    assert counts(state) == (1, 1)
    assert [path.name for path in state.spool.iterdir()] == ["0-5.unread"]


def test_big_records_are_read(tmp_path: Path) -> None:
    """A record far bigger than a piece that is read at once."""
    state = State(tmp_path)
    spool = Spool(state.spool, 0)
    spool.append([pack(answered("big", content=(b"x" * 3_000_000, b"y" * 2_000_000)))])
    spool.append([pack(answered("small"))])
    spool.close()
    taking = Taking(state)
    take(taking)
    taking.close()
    assert ids(state) == ["big", "small"]


def test_retention_follows_the_policy(tmp_path: Path) -> None:
    """How many records are kept is what the workers' policy says."""
    state = State(tmp_path)
    told: Status = {"retention": {"seconds": 86_400.0, "records": 1000, "sums": 86_400.0}}
    journal = Journal(state, status=lambda: told)
    for i in range(1500):
        journal.add(answered(f"req_{i}"))
    journal.tick()
    taking = Taking(state)
    take(taking)
    taking._publish_at = 0.0
    taking.turn()
    taking.close()
    journal.close()
    assert len(ids(state)) == 1000


def test_what_waits_is_told(tmp_path: Path) -> None:
    """A worker's page says how many bytes the ledger has not taken in, also where no recorder runs."""
    state = State(tmp_path)
    journal = Journal(state)
    journal.add(answered())
    journal.tick()
    journal.publish()
    (worker,) = read_workers(state)
    assert worker["behind"] == segments(state.spool)[0].size() - len(HEAD) > 0
    taking = Taking(state)
    take(taking)
    taking.close()
    (worker,) = read_workers(state)
    assert worker["behind"] == 0
    journal.close()


def test_a_desk_without_news_writes_nothing(tmp_path: Path) -> None:
    """The file of counts is left alone while there is nothing to tell."""
    state = State(tmp_path)
    desk = Desk(state, 0)
    assert desk.publish("ok")
    first = state.worker(0).stat().st_ino
    assert desk.publish("ok")
    assert state.worker(0).stat().st_ino == first
    desk.drop(1)
    assert desk.publish("ok")
    assert state.worker(0).stat().st_ino != first
