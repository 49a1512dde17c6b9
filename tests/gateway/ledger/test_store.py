"""Tests of gateway.ledger.store: rows get written, and every trouble of the file is survived and told once."""

from __future__ import annotations

import multiprocessing
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.ledger.retention import Retention
from gateway.ledger.rows import Row, row
from gateway.ledger.schema import MIGRATIONS, open_ledger
from gateway.ledger.store import Store
from gateway.ledger.wide import WIDE
from tests.gateway.ledger.traces import answered


def rows(number: int, start: int = 0) -> list[Row]:
    """That many calls, a second apart."""
    return [row(answered(f"req_{i}", at=1000.0 + i)) for i in range(start, start + number)]


def impatient(path: Path) -> sqlite3.Connection:
    """A connection that does not wait for locks, so that the test does not either."""
    db = open_ledger(path)
    db.execute("PRAGMA busy_timeout = 0")
    return db


@contextmanager
def store_in(folder: Path, retention: Retention | None = None) -> Iterator[Store]:
    """A store whose clock stands at 2000."""
    store = Store(folder / "ledger.sqlite", retention, connect=impatient, clock=lambda: 2000.0, steady=lambda: 2000.0)
    try:
        yield store
    finally:
        store.close()


def ids(folder: Path) -> list[str]:
    """The ids in the file, in order of writing."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        return [found for (found,) in db.execute("SELECT id FROM calls ORDER BY seq")]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log so far."""
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("number", [1, WIDE - 1, WIDE, WIDE + 1, 3 * WIDE + 5])
def test_all_rows_are_written_in_order(tmp_path: Path, number: int) -> None:
    """However many rows come at once, all are in the file, in order."""
    with store_in(tmp_path) as store:
        assert store.write(rows(number))
    assert ids(tmp_path) == [f"req_{i}" for i in range(number)]


def test_a_clients_id_overwrites_nothing(tmp_path: Path) -> None:
    """Two calls that bear the same id are two rows."""
    with store_in(tmp_path) as store:
        assert store.write([*rows(1), *rows(1)])
    assert ids(tmp_path) == ["req_0", "req_0"]


def test_one_bad_row_does_not_cost_the_others(tmp_path: Path) -> None:
    """A name with a lone surrogate and a number over 64 bits are mended; a row that nothing can mend is left out."""
    strange = row(answered("strange\ud800", request_bytes=2**80))
    hopeless = row(answered("hopeless", status=None))
    with store_in(tmp_path) as store:
        assert store.write([*rows(WIDE), strange, hopeless])
        assert store.bad_rows == 1
        assert str(store.health) == "ok"
    assert ids(tmp_path) == [*(f"req_{i}" for i in range(WIDE)), "strange?"]


def test_a_locked_file_costs_one_log_line_and_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While another process holds the lock writes fail and say why; after it they succeed by themselves."""
    with store_in(tmp_path) as store, closing(open_ledger(tmp_path / "ledger.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert [store.write(rows(1)) for _ in range(3)] == [False, False, False]
        assert str(store.health) == "failing: locked by another process"
        other.execute("ROLLBACK")
        assert store.write(rows(1))
    assert ids(tmp_path) == ["req_0"]
    assert messages(caplog) == [
        "ledger: failing: locked by another process; calls go on",
        "ledger: works again (was: locked by another process)",
    ]


@pytest.mark.parametrize("garbage", [b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_corrupt_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, garbage: bytes) -> None:
    """The bad file is kept under another name, a new one is begun with this very write, and the log says so once."""
    (tmp_path / "ledger.sqlite").write_bytes(garbage)
    with store_in(tmp_path) as store:
        assert store.write(rows(2))
        assert str(store.health) == "ok"
    kept = list(tmp_path.glob("ledger.sqlite.corrupt-*"))
    assert [path.read_bytes() for path in kept] == [garbage]
    assert ids(tmp_path) == ["req_0", "req_1"]
    assert messages(caplog) == [f"ledger: corrupt; moved to {kept[0].name}, a new one is begun"]


def overwrite(path: Path) -> None:
    """Put garbage in the place of every byte, those in the WAL too."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.write(b"\xee" * path.stat().st_size)


def test_a_file_that_turns_corrupt_while_open_is_moved_aside(tmp_path: Path) -> None:
    """Bytes overwritten under running workers cost the old rows; new ones go to one new file, whoever comes first."""
    path = tmp_path / "ledger.sqlite"
    with store_in(tmp_path) as one, store_in(tmp_path) as two:
        assert one.write(rows(500))
        assert two.write(rows(500))
        overwrite(path)
        assert [store.write(rows(1, start=900)) for store in (one, two, one, two)][-2:] == [True, True]
    assert {"req_900"} == set(ids(tmp_path))
    assert len([p for p in tmp_path.iterdir() if ".corrupt-" in p.name and p.name[-1].isdigit()]) == 1


def test_corruption_over_and_over_does_not_fill_the_disk(tmp_path: Path) -> None:
    """A second corrupt file within a minute stays where it is: the disk is at fault, and the health says so."""
    path = tmp_path / "ledger.sqlite"
    with store_in(tmp_path) as store:
        for _ in range(5):
            store.close()
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            path.write_bytes(b"garbage" * 1000)
            store.write(rows(1))
        assert str(store.health) == "failing: corrupt"
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


def test_a_deleted_file_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows do not vanish into a file that has no name any more."""
    with store_in(tmp_path / "state") as store:
        assert store.write(rows(1))
        for path in (tmp_path / "state").iterdir():
            path.unlink()
        (tmp_path / "state").rmdir()
        assert store.write(rows(1, start=5))
    assert ids(tmp_path / "state") == ["req_5"]
    assert messages(caplog) == ["ledger: its file was removed or replaced; a new one is begun where it is missing"]


def test_a_full_disk_ends_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite's own "full" fails writes until there is room; nothing of a failed write is in the file."""
    pages = [12]

    def small(path: Path) -> sqlite3.Connection:
        db = impatient(path)
        db.execute(f"PRAGMA max_page_count = {pages[0]}")
        return db

    store = Store(tmp_path / "ledger.sqlite", connect=small)
    assert store.write(rows(1))
    assert [store.write(rows(2000)) for _ in range(3)] == [False] * 3
    assert str(store.health) == "failing: disk full"
    pages[0] = 100_000
    assert store.write(rows(2000, start=1))
    store.close()
    assert len(ids(tmp_path)) == 2001
    assert len(messages(caplog)) == 2


def test_a_read_only_file_is_told(tmp_path: Path) -> None:
    """A file that cannot be written fails writes and says so."""
    open_ledger(tmp_path / "ledger.sqlite").close()

    def read_only(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)

    store = Store(tmp_path / "ledger.sqlite", connect=read_only)
    assert not store.write(rows(1))
    assert str(store.health) == "failing: read-only"
    store.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where the state directory should be lies a file: writes fail, nothing is raised."""
    (tmp_path / "state").touch()
    with store_in(tmp_path / "state") as store:
        assert not store.write(rows(1))
        assert str(store.health).startswith("failing: ")


def test_a_later_releases_file_is_told(tmp_path: Path) -> None:
    """After a downgrade the newer file is left alone and the health says why."""
    with closing(open_ledger(tmp_path / "ledger.sqlite")) as db:
        db.execute("UPDATE schema_version SET version = ?", (len(MIGRATIONS) + 1,))
    with store_in(tmp_path) as store:
        assert not store.write(rows(1))
        assert str(store.health) == "failing: LedgerTooNew"


def test_old_rows_are_removed(tmp_path: Path) -> None:
    """Rows older than the days kept go; the others stay."""
    with store_in(tmp_path, Retention(seconds=990.5, batch=3, batches=2)) as store:
        store.write(rows(20))
        store.prune()
        assert len(ids(tmp_path)) == 14, "only so many batches at a time"
        store.prune()
    assert ids(tmp_path) == [f"req_{i}" for i in range(10, 20)]


def test_rows_over_the_bound_are_removed(tmp_path: Path) -> None:
    """The oldest go when there are too many."""
    with store_in(tmp_path, Retention(records=5, batch=4, batches=10)) as store:
        store.write(rows(20))
        store.prune()
    assert ids(tmp_path) == [f"req_{i}" for i in range(15, 20)]


def write_many(path: Path, worker: int) -> None:
    """One worker's writes, a transaction each hundred; ends with status 1 if one fails."""
    store = Store(path)
    ok = all(store.write(rows(100, start=worker * 10_000 + i * 100)) for i in range(10))
    store.close()
    sys.exit(0 if ok else 1)


def test_several_workers_write_one_file(tmp_path: Path) -> None:
    """Processes that start together and write at the same time lose nothing and fail never."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(tmp_path / "ledger.sqlite", n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(set(ids(tmp_path))) == 3000
