"""The file on disk: private, bounded, repaired, shared with the command line, and no trouble in it is ours."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from caching.errors import StoreUnavailable
from caching.forms import Answer
from caching.stores import Selection
from caching.stores.file import connect
from caching.stores.sqlite import SqliteStore
from tests.fakes.stores import START, Clock, entry, key, same

BOUND = 16 << 20


@asynccontextmanager
async def opened(
    path: Path, clock: Clock, bound: int = BOUND, retention: float = 86400.0
) -> AsyncIterator[SqliteStore]:
    """A store over this file, closed again."""
    store = SqliteStore(path, bound, retention=retention, clock=clock)
    yield store
    await store.close()


async def so(condition: Callable[[], object]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in a folder that is not there yet."""
    return tmp_path / "state" / "cache.db"


async def test_outlives_a_restart(path: Path) -> None:
    """What was kept is there after the file was closed and opened again, and the filter knows it."""
    async with opened(path, Clock()) as store:
        await store.put([entry(number) for number in range(100)])
    async with opened(path, Clock()) as store:
        await so(lambda: not store.may_hold(key("never")))
        assert all(store.may_hold(key(number)) for number in range(100))
        assert same(await store.get(key(42)), entry(42))
        assert (await store.usage())[0] == 100


async def test_private(path: Path) -> None:
    """The file and what SQLite lays beside it are for their owner only, and so is the folder."""
    async with opened(path, Clock()) as store:
        await store.put([entry()])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert set(modes.values()) == {0o600}
        assert {"cache.db", "cache.db-wal", "cache.db-shm"} <= set(modes)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(("bound", "batch"), [(8 << 20, 64), (BOUND, 256)])
async def test_bound(path: Path, bound: int, batch: int) -> None:
    """Many times what there is room for: none is refused, the files stay inside, and look-ups go on working."""
    rng = random.Random(1)
    most = 0
    async with opened(path, Clock(), bound) as store:
        for first in range(0, 12_800, batch):
            answers = [Answer.of_plain(rng.randbytes(rng.randint(200, 5000))) for _ in range(batch)]
            made = [
                entry(first + at, answer=answer, seconds=rng.choice([0.1, 1.0, 10.0]))
                for at, answer in enumerate(answers)
            ]
            await store.put(made)
            most = max(most, sum(file.stat().st_size for file in path.parent.iterdir()))
        entries, size = await store.usage()
        assert entries > bound // 10_000
        assert size <= bound
        assert most <= 1.2 * bound
        found = [await store.get(key(number)) is not None for number in range(12_800 - 500, 12_800)]
        assert sum(found) > 50


async def test_small_entries_in_a_tight_bound(path: Path) -> None:
    """The rows of what stays lie thinly: room is made by pages, and what is new is kept even so."""
    rng = random.Random(2)
    async with opened(path, Clock(), 8 << 20) as store:
        for first in range(0, 30_000, 250):
            made = [
                entry(first + at, answer=Answer.of_plain(bytes(rng.randint(10, 600))), seconds=rng.random())
                for at in range(250)
            ]
            await store.put(made)
            assert sum(file.stat().st_size for file in path.parent.iterdir()) <= 1.2 * (8 << 20)
        assert (await store.usage())[0] > 5000
        assert sum([await store.get(key(number)) is not None for number in range(29_900, 30_000)]) > 50


async def test_worth_most_stays(path: Path) -> None:
    """When room is made, what is cheap to make again goes first, and what is asked for often stays."""
    async with opened(path, Clock(), bound=1 << 20) as store:
        answer = Answer.of_plain(bytes(4000))
        await store.put([entry(f"dear {number}", seconds=60.0, answer=answer) for number in range(20)])
        await store.put([entry(f"often {number}", seconds=1.0, answer=answer) for number in range(20)])
        for _ in range(20):
            await asyncio.gather(*(store.get(key(f"often {number}")) for number in range(20)))
        for number in range(600):
            await store.put([entry(f"cheap {number}", seconds=1.0, answer=answer)])
        assert [await store.get(key(f"dear {number}")) is not None for number in range(20)].count(True) == 20
        assert [await store.get(key(f"often {number}")) is not None for number in range(20)].count(True) == 20
        assert await store.get(key("cheap 0")) is None


async def test_touched(path: Path) -> None:
    """Hits that memory served keep an entry as hits of its own would."""
    async with opened(path, Clock(), bound=1 << 20) as store:
        answer = Answer.of_plain(bytes(4000))
        await store.put([entry("popular", answer=answer), entry("forgotten", answer=answer)])
        await store.tidy({key("popular"): 50})
        for number in range(400):
            await store.put([entry(number, answer=answer)])
        assert await store.get(key("popular")) is not None
        assert await store.get(key("forgotten")) is None


async def test_no_room(path: Path) -> None:
    """A store without room keeps nothing and looks for nothing, and still tells of others' purges."""
    async with opened(path, Clock(), bound=0) as store, opened(path, Clock()) as other:
        await store.put([entry()])
        assert await other.usage() == (0, 0)
        await other.put([entry()])
        await store.ping()
        assert not store.may_hold(key("a"))
        for number in range(50):
            await other.purge(Selection(tenant=str(number)), dry_run=False)
        assert [selection.tenant for _, selection in await store.purges(0)] == [str(number) for number in range(50)]


async def test_newest_first(path: Path) -> None:
    """Entries are told in the order in which they were put, the last one first; one put again counts as new."""
    async with opened(path, Clock()) as store:
        await store.put([entry(number) for number in range(200)])
        await store.put([entry(7, "again")])
        found = await store.newest(150)
        assert [one.key for one in found] == [key(7), *(key(number) for number in range(199, 50, -1))]


async def test_too_big(path: Path) -> None:
    """An entry that would push out almost all of the rest is not kept, and pushes out none of it."""
    async with opened(path, Clock(), bound=1 << 20) as store:
        await store.put([entry("big", answer=Answer.of_plain(bytes(800_000))), entry("small")])
        assert await store.get(key("big")) is None
        assert await store.get(key("small")) is not None


@pytest.mark.parametrize(("bound", "length"), [(200_000, 100_000), (1 << 20, 1 << 19), (BOUND, BOUND // 2)])
async def test_large(path: Path, bound: int, length: int) -> None:
    """An answer of half the bound is kept however full of small ones the file is, which grows by it at most."""
    async with opened(path, Clock(), bound=bound) as store:
        for first in range(0, bound // 1000, 64):
            await store.put([entry(first + at, answer=Answer.of_plain(bytes(500))) for at in range(64)])
        for name in ("large", "as large", "larger"):
            parts = tuple((f"messages.{number}.content", "0a1b2c3d") for number in range(100))
            await store.put([entry(name, answer=Answer.of_plain(bytes(length)), parts=parts)])
            assert await store.get(key(name)) is not None
            files = [file.stat().st_size for file in path.parent.iterdir()]
            assert sum(files) <= max(1.2 * bound + 1.1 * length, 1_500_000)
        assert (await store.usage())[1] <= bound


async def test_dead_without_writes(path: Path) -> None:
    """What has died is deleted although nobody writes any more, and what lives stays."""
    clock = Clock()
    async with opened(path, clock) as store:
        await store.put([entry(number) for number in range(1000)])
        await store.put([entry(f"living {number}", dies=START + 9000) for number in range(1000)])
        await store.put([entry(f"late {number}") for number in range(1000)])
        clock.now = START + 4000
        for _ in range(8):
            await store.tidy({})
        assert (await store.usage())[0] == 1000
        assert await store.get(key("living 7")) is not None


async def test_shorter_retention(path: Path) -> None:
    """A retention that became shorter counts for what was put under the longer one."""
    clock = Clock()
    async with opened(path, clock) as store:
        await store.put([entry()])
    clock.now = START + 101
    async with opened(path, clock, retention=100) as store:
        await store.tidy({})
        assert (await store.usage())[0] == 0


async def test_nothing_to_tidy(path: Path) -> None:
    """Where nothing has died nothing is written."""
    async with opened(path, Clock()) as store:
        await store.put([entry(number) for number in range(100)])
        log = path.with_name("cache.db-wal")
        before = log.read_bytes()
        await store.tidy({})
        assert log.read_bytes() == before


async def test_room_taken_away(path: Path) -> None:
    """Without room whatever is in the file is deleted, overwritten and given back, and so is a file moved aside."""
    secret = b"a word that only the answers hold"
    async with opened(path, Clock()) as store:
        await store.put([entry(number, answer=Answer.of_plain(secret * 50)) for number in range(3000)])
    path.with_name("cache.db.corrupt").write_bytes(secret)
    async with opened(path, Clock(), bound=0) as store:
        for _ in range(10):
            await store.tidy({})
        assert await store.usage() == (0, 0)
        assert secret not in b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert sum(file.stat().st_size for file in path.parent.iterdir()) < 300_000


async def test_smaller_bound(path: Path) -> None:
    """A file that was made under a larger bound shrinks to the new one as it is written to."""
    async with opened(path, Clock()) as store:
        for batch in range(10):
            await store.put([entry((batch, at), answer=Answer.of_plain(bytes(4000))) for at in range(100)])
    async with opened(path, Clock(), bound=1 << 20) as store:
        await store.put([entry("new")])
        assert (await store.usage())[1] <= 1 << 20
        assert await store.get(key("new")) is not None


async def test_retention(path: Path) -> None:
    """Nothing is given or lies in the file longer than the retention, whatever its own end."""
    clock = Clock()
    async with opened(path, clock, retention=100) as store:
        await store.put([entry("a"), entry("too old", created=START - 101)])
        assert await store.get(key("a")) is not None
        assert await store.get(key("too old")) is None
        clock.now = START + 101
        await store.put([entry("b", created=clock.now)])
        assert (await store.usage())[0] == 1
        assert await store.get(key("a")) is None


async def test_filter(path: Path) -> None:
    """Once filled, the filter denies what is not there, knows at once what is put, and is rebuilt when it is full."""
    async with opened(path, Clock(), bound=256 << 20) as store:
        assert store.may_hold(key("never"))
        await so(lambda: not store.may_hold(key("never")))
        for batch in range(0, 40_000, 2000):
            await store.put([entry(batch + at) for at in range(2000)])
            assert store.may_hold(key(batch + 7))
        await store.ping()
        assert all(store.may_hold(key(number)) for number in range(40_000))
        wrong = sum(store.may_hold(key(f"never {number}")) for number in range(2000))
        await so(lambda: sum(store.may_hold(key(f"never {number}")) for number in range(2000)) <= max(60, wrong // 2))


async def test_another_process_purges(path: Path) -> None:
    """The command line purges the file a worker serves from: the worker gives nothing of it, and hears of the purge."""
    clock = Clock()
    async with opened(path, clock) as worker, opened(path, clock) as command:
        await worker.put([entry("a"), entry("b", tenant="umbrella")])
        assert await worker.get(key("a")) is not None
        clock.now = START + 5
        assert (await command.purge(Selection(tenant="acme"), dry_run=False)).entries == 1
        assert await worker.get(key("a")) is None
        assert await worker.get(key("b")) is not None
        found = await worker.purges(0)
        assert [selection for _, selection in found] == [Selection(tenant="acme")]
        assert await worker.purges(found[-1][0]) == []
        assert await command.purges(0) == []
        await worker.put([entry("late")])
        assert await worker.get(key("late")) is None


async def test_purge_that_was_cut_off(path: Path) -> None:
    """A purge holds from its first moment: what it did not come to remove is not given either."""
    clock = Clock()
    async with opened(path, clock) as store:
        await store.put([entry()])
    with sqlite3.connect(path) as db:
        db.execute("""INSERT INTO purges VALUES (7, ?, '{"tenant": "acme"}')""", (START + 1,))
    db.close()
    clock.now = START + 2
    async with opened(path, clock) as store:
        assert await store.get(key("a")) is None


async def test_purge_in_words_not_known(path: Path) -> None:
    """A purge a later release recorded counts as one of everything: rather too much than too little."""
    clock = Clock()
    async with opened(path, clock) as store:
        await store.put([entry()])
    with sqlite3.connect(path) as db:
        db.execute("""INSERT INTO purges VALUES (7, ?, '{"colour": "red"}')""", (START + 1,))
    db.close()
    async with opened(path, clock) as store:
        assert await store.get(key("a")) is None


async def test_another_process_puts(path: Path) -> None:
    """What another process puts is known to the filter after the next look at its purges."""
    clock = Clock()
    async with opened(path, clock) as one, opened(path, clock) as other:
        await so(lambda: not one.may_hold(key("a")))
        await other.put([entry()])
        await one.purges(0)
        assert one.may_hold(key("a"))


async def test_purged_bytes_are_gone(path: Path) -> None:
    """After a purge neither the file nor what lies beside it holds a word of what was purged, and the file is small."""
    secret = b"a word that only the purged answers hold"
    async with opened(path, Clock()) as store:
        for batch in range(20):
            await store.put([entry((batch, at), answer=Answer.of_plain(secret * 50)) for at in range(50)])
        await store.purge(Selection(tenant="acme"), dry_run=False)
        left = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert secret not in left
        assert path.stat().st_size < 200_000  # of two million bytes


@pytest.mark.parametrize(
    "damage", [b"this is no database at all, but long enough to be read as one" * 100, b"\0" * 5000]
)
async def test_corrupt_file(path: Path, damage: bytes) -> None:
    """A corrupt file is moved aside once and a new one begun; a purge removes what was moved."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(damage)
    async with opened(path, Clock()) as store:
        assert await store.get(key("a")) is None
        await store.put([entry()])
        assert same(await store.get(key("a")), entry())
        aside = path.with_name("cache.db.corrupt")
        assert aside.read_bytes() == damage
        await store.purge(Selection(tag="x"), dry_run=False)
        assert not aside.exists()


@pytest.mark.parametrize("damage", [b"this is no database at all" * 200, b"\0" * 5000])
async def test_corrupt_file_that_is_not_repaired(path: Path, damage: bytes) -> None:
    """Who only looks is told that the file is corrupt, and it stays as and where it is."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(damage)
    store = SqliteStore(path, BOUND, repairs=False)
    with pytest.raises(StoreUnavailable, match="corrupt"):
        await store.usage()
    await store.close()
    assert path.read_bytes() == damage
    assert not path.with_name("cache.db.corrupt").exists()


async def test_corrupted_while_open(path: Path) -> None:
    """Pages that are overwritten under an open store cost its entries, not the calls: the file is begun anew."""
    clock = Clock()
    async with opened(path, clock) as store:
        await store.put([entry(number, answer=Answer.of_plain(bytes(3000))) for number in range(500)])
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))
    async with opened(path, clock) as store:
        for number in range(20):
            await store.get(key(number))
        await store.put([entry("new")])
        assert same(await store.get(key("new")), entry("new"))


async def test_corrupt_again(path: Path) -> None:
    """A file that is corrupt again within a minute stays: a disk that makes every file so is not fed with more."""
    clock = Clock()
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"no database" * 1000)
    async with opened(path, clock) as store:
        await store.ping()
        for file in path.parent.glob("cache.db*"):
            file.unlink()
        path.write_bytes(b"no database" * 1000)
        with pytest.raises(StoreUnavailable, match="corrupt"):
            await store.ping()
        clock.now += 61
        await store.ping()


async def test_other_release(path: Path) -> None:
    """A file of another version of ours is begun anew."""
    async with opened(path, Clock()) as store:
        await store.put([entry()])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    async with opened(path, Clock()) as store:
        assert await store.get(key("a")) is None
        assert (await store.usage())[0] == 0


async def test_another_programs_file(path: Path) -> None:
    """A database that is not ours is neither used nor moved."""
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE calls (id)")
    db.close()
    before = path.read_bytes()
    async with opened(path, Clock()) as store:
        with pytest.raises(StoreUnavailable, match="another program"):
            await store.put([entry()])
    assert path.read_bytes() == before


async def test_locked(path: Path) -> None:
    """While another process holds the file, reading goes on and writing is refused; afterwards all is well."""
    async with opened(path, Clock()) as store:
        await store.put([entry()])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert await store.get(key("a")) is not None
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.put([entry("b")])
        other.execute("ROLLBACK")
        other.close()
        await store.put([entry("b")])
        assert await store.get(key("b")) is not None


async def test_removed_while_open(path: Path) -> None:
    """A file that is deleted under an open store is begun anew, and nothing of the old one is given."""
    async with opened(path, Clock()) as store:
        await store.put([entry()])
        for file in path.parent.glob("cache.db*"):
            file.unlink()
        assert await store.get(key("a")) is None
        await store.put([entry("b")])
        assert await store.get(key("b")) is not None
        assert path.exists()


async def test_removed_and_purged(path: Path) -> None:
    """A purge of a file that was deleted under a worker begins it anew, and the worker hears of that purge."""
    clock = Clock()
    async with opened(path, clock) as worker:
        await worker.put([entry()])
        await worker.purge(Selection(tag="x"), dry_run=False)
        last = max([seq for seq, _ in await worker.purges(0)], default=0)
        for file in path.parent.glob("cache.db*"):
            file.unlink()
        clock.now += 1
        async with opened(path, clock) as command:
            await command.purge(Selection(), dry_run=False)
        assert [selection for _, selection in await worker.purges(last)] == [Selection()]
        assert await worker.get(key("a")) is None


async def test_full_disk(path: Path) -> None:
    """A disk that takes no more is said so, and the store works again when there is room."""
    pages = [40]

    def limited(path: Path, busy: float) -> sqlite3.Connection:
        db = connect(path, busy)
        db.execute(f"PRAGMA max_page_count = {pages[0]}")
        return db

    store = SqliteStore(path, BOUND, clock=Clock(), connect=limited)
    big = entry("big", answer=Answer.of_plain(bytes(800_000)))
    await store.put([entry()])
    with pytest.raises(StoreUnavailable, match="disk full"):
        await store.put([big])
    pages[0] = 4000
    assert await store.get(key("big")) is None
    await store.put([big])
    assert await store.get(key("big")) is not None
    await store.close()


async def test_full_disk_with_entries(path: Path) -> None:
    """On a disk that takes no more, what is worth least makes room for what comes."""

    def limited(path: Path, busy: float) -> sqlite3.Connection:
        db = connect(path, busy)
        db.execute("PRAGMA max_page_count = 300")
        return db

    store = SqliteStore(path, BOUND, clock=Clock(), connect=limited)
    for first in range(0, 3000, 50):
        await store.put([entry(first + at, answer=Answer.of_plain(bytes(1000))) for at in range(50)])
    assert await store.get(key(2999)) is not None
    assert (await store.usage())[0] > 100
    await store.close()


async def test_no_folder(tmp_path: Path) -> None:
    """Where no folder can be made, every call is told and the way in is tried again."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    async with opened(blocked / "cache.db", Clock()) as store:
        with pytest.raises(StoreUnavailable):
            await store.put([entry()])
        blocked.unlink()
        await store.put([entry()])
        assert await store.get(key("a")) is not None


async def test_many_ask_at_once(path: Path) -> None:
    """A thousand callers that ask in the same moment each get their own answer; one that leaves costs no other."""
    async with opened(path, Clock()) as store:
        await store.put([entry(number, text=str(number)) for number in range(1000)])
        looks = [asyncio.create_task(store.get(key(number))) for number in range(1000)]
        await asyncio.sleep(0)
        looks[500].cancel()
        found = await asyncio.gather(*looks, return_exceptions=True)
        assert isinstance(found[500], asyncio.CancelledError)
        del found[500]
        assert all(not isinstance(each, BaseException) and each is not None for each in found)
        assert same(await store.get(key(999)), entry(999, text="999"))


async def test_closed_while_asked(path: Path) -> None:
    """A caller that waits while the store closes is answered: with the entry, or that the store is gone."""
    store = SqliteStore(path, BOUND, clock=Clock())
    await store.put([entry()])
    look = asyncio.create_task(store.get(key("a")))
    await asyncio.sleep(0)
    await store.close()
    found = (await asyncio.gather(look, return_exceptions=True))[0]
    assert isinstance(found, StoreUnavailable) or same(found, entry())  # type: ignore[arg-type]  # no other came
