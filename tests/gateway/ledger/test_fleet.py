"""Tests of gateway.ledger.fleet: rows reach the log in order, and no trouble of Redis costs the journal much."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from caching.errors import StoreUnavailable
from gateway.ledger.fleet import DEADLINE, LONGEST, LONGEST_REST, Publisher, gateway_id, known_id
from gateway.ledger.packing import ENTRY_ROWS, Entry, Sums, Unpacker, columns
from gateway.ledger.rows import Row, row
from tests.gateway.ledger.traces import answered

GATEWAY = "a" * 32


class FakeLog:
    """A log whose appending takes as long as is said, on a clock that stands still otherwise; or fails."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.calls = 0
        self.seconds = 0.0  # of one append
        self.reason = ""  # why it fails, if it does
        self.now = 1000.0
        self.is_closed = False

    def append(self, entry: Entry, sums: Sums, seconds: float) -> None:
        """Take the entry, unless it takes longer than may be."""
        self.calls += 1
        self.now += min(self.seconds, seconds)
        if self.reason or self.seconds > seconds:
            raise StoreUnavailable(self.reason or "Redis did not answer in time")
        self.entries.append(entry)

    def close(self) -> None:
        """Note it."""
        self.is_closed = True

    def ids(self) -> list[str]:
        """The calls that arrived."""
        unpacker = Unpacker(columns())
        fields = [{name.encode(): value for name, value in entry.fields().items()} for entry in self.entries]
        return [str(told[0]) for each in fields for told in unpacker.unpack(each, 0, 1e11).rows]


def rows(number: int, start: int = 0) -> list[Row]:
    """That many calls."""
    return [row(answered(f"req_{i}")) for i in range(start, start + number)]


def publisher(log: FakeLog, room: int = 10_000_000) -> Publisher:
    """A publisher on the log's clock."""
    return Publisher(GATEWAY, log, room=room, clock=lambda: log.now)


def test_all_rows_arrive_in_order() -> None:
    """Many rows travel in few entries, numbered without a gap, and all arrive in order."""
    log = FakeLog()
    with_many = publisher(log)
    with_many.publish(rows(2 * ENTRY_ROWS + 1))
    with_many.publish(rows(1, start=2 * ENTRY_ROWS + 1))
    assert [entry.number for entry in log.entries] == [1, 2, 3, 4]
    assert log.ids() == [f"req_{i}" for i in range(2 * ENTRY_ROWS + 2)]


def test_two_workers_are_two_runs() -> None:
    """Two publishers of one gateway number their entries apart."""
    log = FakeLog()
    publisher(log).publish(rows(1))
    publisher(log).publish(rows(1))
    first, second = log.entries
    assert (first.gateway, first.number) == (second.gateway, second.number)
    assert first.run != second.run


def test_backlog_follows() -> None:
    """What Redis did not take is sent, unchanged and first, once it takes entries again."""
    log = FakeLog()
    it = publisher(log)
    log.reason = "Redis cannot be reached"
    it.publish(rows(2))
    assert it.status() == {"state": "failing", "reason": log.reason, "backlog": 2, "dropped": 0}
    log.reason = ""
    log.now += LONGEST_REST
    it.publish(rows(1, start=2))
    assert log.ids() == ["req_0", "req_1", "req_2"]
    assert it.status() == {"state": "ok", "reason": "", "backlog": 0, "dropped": 0}


def test_backlog_follows_without_new_rows() -> None:
    """The backlog does not wait for the next call."""
    log = FakeLog()
    it = publisher(log)
    log.reason = "Redis cannot be reached"
    it.publish(rows(1))
    log.reason = ""
    log.now += LONGEST_REST
    it.publish([])
    assert log.ids() == ["req_0"]


def test_silent_redis_costs_the_deadline() -> None:
    """A Redis that never answers costs one deadline, and then nothing until it is tried again."""
    log = FakeLog()
    log.seconds = 3600
    it = publisher(log)
    it.publish(rows(5 * ENTRY_ROWS))
    assert log.now == pytest.approx(1000 + DEADLINE)
    it.publish(rows(1))
    assert log.calls == 1


def test_rest_grows() -> None:
    """The longer Redis is gone, the seldomer it is tried, up to a bound."""
    log = FakeLog()
    log.reason = "Redis cannot be reached"
    it = publisher(log)
    it.publish(rows(1))
    began = log.now
    while log.now < began + 600:
        log.now += 0.25
        it.publish([])
    assert 600 / LONGEST_REST <= log.calls <= 600 / LONGEST_REST + 6


def test_far_redis_is_reached() -> None:
    """A Redis that takes longer than the deadline to be connected to is reached by a later, more patient try."""
    log = FakeLog()
    log.seconds = 1.5 * DEADLINE
    it = publisher(log)
    it.publish(rows(1))
    log.now += LONGEST_REST
    it.publish([])
    assert log.ids() == ["req_0"]


def test_patience_is_bounded() -> None:
    """However long Redis is silent, no round takes longer than is said."""
    log = FakeLog()
    log.seconds = 3600
    it = publisher(log)
    for _ in range(20):
        log.now += LONGEST_REST
        began = log.now
        it.publish(rows(1))
        assert log.now - began <= LONGEST


def test_slow_redis_costs_the_deadline() -> None:
    """A Redis that takes every entry, but slowly, gets as many as fit into the deadline, and the rest later."""
    log = FakeLog()
    log.seconds = DEADLINE / 5
    it = publisher(log)
    it.publish(rows(10 * ENTRY_ROWS))
    assert log.now <= 1000 + DEADLINE
    assert 0 < log.calls < 10
    while it.status()["backlog"]:
        it.publish([])
    assert len(log.ids()) == 10 * ENTRY_ROWS


def test_full_backlog_drops_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    """Over the bound the oldest rows are dropped and counted, and the log says so once, not once a row."""
    log = FakeLog()
    log.reason = "Redis cannot be reached"
    it = publisher(log, room=20_000)
    for number in range(200):
        it.publish(rows(1, start=number))
    told = it.status()
    assert told["backlog"] + told["dropped"] == 200
    assert told["dropped"] > 0
    assert sum("dropped" in record.getMessage() for record in caplog.records) == 1
    log.reason = ""
    it.close()
    assert log.ids() == [f"req_{number}" for number in range(told["dropped"], 200)]


def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is two log lines, however long it lasts."""
    log = FakeLog()
    it = publisher(log)
    log.reason = "Redis cannot be reached"
    for _ in range(100):
        log.now += LONGEST_REST
        it.publish(rows(1))
    log.reason = ""
    log.now += LONGEST_REST
    it.publish([])
    assert [record.getMessage() for record in caplog.records] == [
        "fleet ledger: failing: Redis cannot be reached; calls go on",
        "fleet ledger: works again (was: Redis cannot be reached)",
    ]


def test_strange_rows_travel() -> None:
    """A name with a lone surrogate is mended, and a row that no entry can hold costs no other."""
    log = FakeLog()
    it = publisher(log)
    huge = row(answered("huge", notes=[("note", "x" * 1_000_000)]))
    it.publish([*rows(1), row(answered("strange\ud800", request_bytes=2**80)), huge, *rows(1, start=1)])
    assert log.ids() == ["req_0", "strange?", "req_1"]
    assert it.status()["dropped"] == 1


def test_close_tries_once_more() -> None:
    """At the end the backlog is tried at once, however short ago Redis failed, and the log is closed."""
    log = FakeLog()
    it = publisher(log)
    log.reason = "Redis cannot be reached"
    it.publish(rows(1))
    log.reason = ""
    it.close()
    assert log.ids() == ["req_0"]
    assert log.is_closed


def test_gateway_id_is_made_once(tmp_path: Path) -> None:
    """A state directory has one id, for its owner's eyes only, and another directory has another."""
    first = gateway_id(tmp_path / "one")
    assert gateway_id(tmp_path / "one") == first
    assert gateway_id(tmp_path / "two") != first
    path = tmp_path / "one" / "gateway.id"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["gateway.id"]


@pytest.mark.parametrize("text", ["", "nonsense\n", "A" * 32])
def test_broken_gateway_id_is_made_anew(tmp_path: Path, text: str) -> None:
    """A file that holds no id, as after a crash, is replaced by one that does."""
    (tmp_path / "gateway.id").write_text(text)
    found = gateway_id(tmp_path)
    assert len(found) == 32
    assert gateway_id(tmp_path) == found


def test_no_room_for_an_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A state directory that can hold no id is told of, and nothing is published: calls go on."""
    (tmp_path / "gateway.id").mkdir()
    assert known_id(tmp_path) == ""
    assert "this gateway's id cannot be kept" in caplog.text
