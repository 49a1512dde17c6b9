"""The fleet's ledger on a real Redis: every gateway's file holds every row once, whatever happens to Redis."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from caching.errors import StoreUnavailable
from gateway.ledger.fleet import DEADLINE, Publisher, gateway_id
from gateway.ledger.following import Follower
from gateway.ledger.packing import Entry, pack, sums
from gateway.ledger.rows import Row, row
from gateway.ledger.store import Store
from gateway.ledger.stream import RedisStream
from gateway.trace import Bill
from tests.gateway.ledger.traces import answered
from tests.redis_servers import Server, redis_server

SLACK = 0.25  # seconds that a busy machine may add
BILL = Bill(cost=0.25, baseline=1.0, own=0.0, saved=0.75, basis="measured")
HOUR = 3600


class Machine:
    """One gateway of the fleet: a state directory, a worker that publishes, an admin process that follows."""

    def __init__(self, folder: Path, url: str, prefix: str) -> None:
        self.folder = folder
        self._name = gateway_id(folder)
        self._store = Store(folder / "ledger.sqlite")
        self._store.prune()  # makes the file, as the journal does
        self.publisher = Publisher(self._name, RedisStream(url, prefix=prefix))
        copies, source = Store(folder / "ledger.sqlite"), RedisStream(url, prefix=prefix)
        self.follower = Follower(self._name, source, copies, stream="redis")

    def call(self, *ids: str) -> None:
        """Calls end here."""
        rows = calls(*ids)
        assert self._store.write(rows)
        self.publisher.publish(rows)

    def ids(self) -> Counter[str]:
        """The calls in this machine's file."""
        with closing(sqlite3.connect(self.folder / "ledger.sqlite")) as db:
            return Counter(name for (name,) in db.execute("SELECT id FROM calls"))

    def close(self) -> None:
        """Stop it, as a shutdown does."""
        self.publisher.close()
        self.follower.close()
        self._store.close()


def calls(*ids: str) -> list[Row]:
    """Calls that end now."""
    return [row(answered(name, at=time.time(), bill=BILL)) for name in ids]


@contextmanager
def machine(folder: Path, url: str, prefix: str) -> Iterator[Machine]:
    """A machine that runs."""
    made = Machine(folder, url, prefix)
    made.follower.start()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def fleet(folder: Path, url: str, prefix: str) -> Iterator[tuple[Machine, Machine]]:
    """Two machines on one Redis."""
    with ExitStack() as stack:
        one, two = (stack.enter_context(machine(folder / name, url, prefix)) for name in ("one", "two"))
        yield one, two


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def names(what: str, count: int) -> list[str]:
    """So many ids."""
    return [f"{what}-{number}" for number in range(count)]


def counted(url: str, prefix: str, what: str) -> float:
    """A sum over this hour and the last, by all tenants and models."""
    stream = RedisStream(url, prefix=prefix)
    try:
        hours = [time.strftime("%Y%m%d%H", time.gmtime(time.time() - ago)) for ago in (0, HOUR)]
        found = [item for hour in hours for item in stream.sums(hour).items()]
        return sum(float(value) for field, value in found if field.startswith(b'["%s"' % what.encode()))
    finally:
        stream.close()


def test_every_row_once(tmp_path: Path, url: str, prefix: str) -> None:
    """On each kind of Redis two machines hold all rows of both, each once, and the sums agree."""
    with fleet(tmp_path, url, prefix) as (one, two):
        for number in range(10):
            one.call(*names(f"one-{number}", 50))
            two.call(*names(f"two-{number}", 30))
        until(lambda: _is_sent(one) and _is_sent(two))
        until(lambda: sum(one.ids().values()) == sum(two.ids().values()) == 800)
        time.sleep(1.5)  # another look at the stream changes nothing
        assert one.ids() == two.ids()
        assert set(one.ids().values()) == {1}
    assert counted(url, prefix, "calls") == 800
    assert counted(url, prefix, "cost_usd") == pytest.approx(200)
    assert counted(url, prefix, "saved_usd") == pytest.approx(600)


def test_a_new_disk(tmp_path: Path, url: str, prefix: str) -> None:
    """A machine that lost its disk gets back the rows of all, its own of before included."""
    with fleet(tmp_path, url, prefix) as (one, two):
        one.call(*names("one", 300))
        two.call(*names("two", 300))
    with machine(tmp_path / "new", url, prefix) as new:
        until(lambda: len(new.ids()) == 600)
        assert set(new.ids().values()) == {1}


def test_sent_twice(tmp_path: Path, url: str, prefix: str) -> None:
    """An entry that is sent again, as after a deadline, is in the stream once and counted once."""
    rows = calls("one")
    [packed] = pack(rows)
    stream = RedisStream(url, prefix=prefix)
    for _ in range(3):
        stream.append(Entry("a" * 32, "run", 1, packed.data), sums(rows), 2.0)
    assert len(stream.read("0-0", 10)) == 1
    stream.close()
    assert counted(url, prefix, "calls") == 1


def test_restart(tmp_path: Path, prefix: str) -> None:
    """Redis is killed while machines work, and comes back empty: what was called meanwhile and later reaches all."""
    with redis_server(tmp_path / "redis") as server, fleet(tmp_path, server.url, prefix) as (one, two):
        one.call(*names("before", 100))
        until(lambda: len(two.ids()) == 100)
        server.kill()
        one.call(*names("meanwhile", 100))
        two.call(*names("meanwhile-two", 100))
        assert one.publisher.status()["backlog"] == 100
        server.start()
        until(lambda: _is_sent(one) and _is_sent(two))
        one.call(*names("after", 100))
        until(lambda: len(one.ids()) == len(two.ids()) == 400)
        assert one.ids() == two.ids()
        assert set(one.ids().values()) == {1}
        assert one.publisher.status()["dropped"] == 0


def _is_sent(machine: Machine) -> bool:
    """Let the journal's next round come."""
    machine.publisher.publish([])
    return bool(machine.publisher.status()["backlog"] == 0)


@pytest.mark.parametrize("pause", [0.1, 1.0])
def test_silence(tmp_path: Path, prefix: str, pause: float) -> None:
    """Redis falls silent under load, again and again: nothing is lost or doubled, though sends were cut off."""
    with redis_server(tmp_path / "redis") as server, fleet(tmp_path, server.url, prefix) as (one, two):
        for number in range(6):
            server.pause()
            resuming = threading.Timer(pause, server.resume)
            resuming.start()
            for part in range(3):
                one.call(*names(f"one-{number}-{part}", 20))
            resuming.join()
            two.call(*names(f"two-{number}", 20))
        until(lambda: _is_sent(one) and _is_sent(two), 40)
        until(lambda: len(one.ids()) == len(two.ids()) == 480)
        assert set(one.ids().values()) == set(two.ids().values()) == {1}
        until(lambda: counted(server.url, prefix, "calls") == 480)


def test_black_hole(tmp_path: Path, prefix: str) -> None:
    """A Redis that accepts and never answers costs a round its deadline, and most rounds nothing."""
    with redis_server(tmp_path / "redis") as server:
        publisher = Publisher("a" * 32, RedisStream(server.url, prefix=prefix))
        server.pause()
        took = [_timed(publisher, calls(*names(str(number), 500))) for number in range(8)]
        assert max(took) < DEADLINE + SLACK
        assert sum(took) < DEADLINE + 2 * SLACK
        assert publisher.status()["backlog"] == 4000
        server.resume()
        publisher.close()


def test_nobody_listens(tmp_path: Path, prefix: str) -> None:
    """A Redis whose machine drops all packets costs a round its deadline."""
    publisher = Publisher("a" * 32, RedisStream("redis://192.0.2.1:6379", prefix=prefix))
    assert _timed(publisher, calls("one")) < DEADLINE + SLACK
    assert publisher.status()["state"] == "failing"
    publisher.close()


def _timed(publisher: Publisher, rows: list[Row]) -> float:
    """How long the journal is held up by these."""
    began = time.monotonic()
    publisher.publish(rows)
    return time.monotonic() - began


def test_bounded_stream(tmp_path: Path, prefix: str) -> None:
    """The stream does not outgrow its room by much, however much is published."""
    with redis_server(tmp_path / "redis") as server:
        room = 2_000_000
        publisher = Publisher("a" * 32, RedisStream(server.url, prefix=prefix, room=room), deadline=5.0)
        for number in range(60):
            publisher.publish(calls(*names(str(number), 128)))
        held = int(server.tell("MEMORY", "USAGE", f"{prefix}:ledger:{{fleet}}", "SAMPLES", "0"))
        assert room / 4 < held < 2 * room
        publisher.close()


def test_full_redis(tmp_path: Path, prefix: str) -> None:
    """A Redis at its memory limit takes neither entry nor sums; the rows wait, and the reason is told."""
    with redis_server(tmp_path / "redis", "--maxmemory", "100kb", "--maxmemory-policy", "noeviction") as server:
        publisher = Publisher("a" * 32, RedisStream(server.url, prefix=prefix))
        publisher.publish(calls("one"))
        assert publisher.status()["reason"] == "Redis is at its memory limit"
        assert publisher.status()["backlog"] == 1
        server.tell("CONFIG", "SET", "maxmemory", "0")
        publisher.close()
        assert publisher.status()["backlog"] == 0


def test_keys_of_another_kind(tmp_path: Path, prefix: str) -> None:
    """A key of ours that holds something else costs its own sums, or makes the publisher wait; nothing breaks."""
    with redis_server(tmp_path / "redis") as server:
        rows = calls("one")
        for hour in sums(rows):
            server.tell("SET", f"{prefix}:sums:{{fleet}}:{hour}", "nonsense")
        publisher = Publisher("a" * 32, RedisStream(server.url, prefix=prefix))
        publisher.publish(rows)
        assert publisher.status()["state"] == "ok"
        server.tell("SET", f"{prefix}:ledger:{{fleet}}", "nonsense")
        publisher.publish(rows)
        assert publisher.status()["state"] == "failing"
        source = RedisStream(server.url, prefix=prefix)
        with pytest.raises(StoreUnavailable):
            source.read("0-0", 1)
        source.close()
        publisher.close()


def test_nothing_stays_for_ever(prefix: str, single_url: str) -> None:
    """All but the stream, which is bounded, goes by itself."""
    server = Server(Path(), 0, single_url, ())
    publisher = Publisher("a" * 32, RedisStream(single_url, prefix=prefix))
    publisher.publish(calls("one"))
    publisher.close()
    left = {name: server.tell("TTL", name) for name in server.tell("KEYS", f"{prefix}:*")}
    assert {name.split(b":")[1]: ttl > 0 for name, ttl in left.items()} == {
        b"ledger": False,
        b"last": True,
        b"sums": True,
    }
