"""Tests of gateway.admin.caches: the store seen from beside the workers."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

from pathlib import Path

import pytest

from caching.errors import StoreUnavailable
from caching.stores import Selection
from caching.stores.sqlite import SqliteStore
from gateway.admin.caches import opened, where
from tests.gateway.admin.answers import entry, keep


async def test_a_purge_is_seen_by_whoever_has_the_file_open(tmp_path: Path) -> None:
    """A worker reads from the store what was purged beside it, and finds the entry gone."""
    worker = SqliteStore(tmp_path / "cache.sqlite", 10_000_000)
    mine, other = entry("a"), entry("b", tenant="other")
    await worker.put([mine, other])
    async with opened(tmp_path) as store:
        purged = await store.purge(Selection(tenant="acme"), dry_run=False)
    assert purged.entries == 1
    assert [selection for _, selection in await worker.purges(0)] == [Selection(tenant="acme")]
    assert await worker.get(mine.key) is None
    assert await worker.get(other.key) is not None
    await worker.close()


async def test_what_workers_keep_is_left_alone(tmp_path: Path) -> None:
    """Looking at a store does not apply bounds of its own: an old entry that the policy keeps stays."""
    old = entry("old", age=20 * 86400)
    await keep(tmp_path, old)
    async with opened(tmp_path) as store:
        assert await store.get(old.key) is not None
        assert (await store.usage())[0] == 1


async def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A mistyped directory is not an empty cache, and nothing is made there."""
    with pytest.raises(StoreUnavailable, match=r"no cache\.sqlite"):
        async with opened(tmp_path / "nowhere"):
            pass
    assert not (tmp_path / "nowhere").exists()


async def test_a_purge_begins_a_deleted_file(tmp_path: Path) -> None:
    """Where a gateway was, a purge finds no file and makes it: a worker that serves from memory hears of the purge."""
    worker = SqliteStore(tmp_path / "cache.sqlite", 10_000_000)
    await worker.put([entry("a")])
    for file in tmp_path.glob("cache.sqlite*"):
        file.unlink()
    (tmp_path / "serve.lock").touch()
    with pytest.raises(StoreUnavailable, match=r"no cache\.sqlite"):
        async with opened(tmp_path):
            pass
    async with opened(tmp_path, purging=True) as store:
        assert (await store.purge(Selection(), dry_run=False)).entries == 0
    assert [selection for _, selection in await worker.purges(0)] == [Selection()]
    await worker.close()


async def test_a_purge_where_no_gateway_was(tmp_path: Path) -> None:
    """A purge makes no file in a directory that no gateway used."""
    with pytest.raises(StoreUnavailable, match=r"no cache\.sqlite"):
        async with opened(tmp_path, purging=True):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_a_corrupt_file_is_left_to_the_workers(tmp_path: Path) -> None:
    """Who looks is told; a purge begins the file anew, and leaves nothing of the corrupt one."""
    file = tmp_path / "cache.sqlite"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable, match="corrupt"):
        async with opened(tmp_path) as store:
            await store.usage()
    assert file.read_bytes() == b"no database" * 1000
    async with opened(tmp_path, purging=True) as store:
        await store.purge(Selection(), dry_run=False)
        assert await store.usage() == (0, 0)
    assert not list(tmp_path.glob("*.corrupt*"))


async def test_a_redis_url_that_is_none_is_told() -> None:
    """The reason says what a URL looks like and nothing of the password."""
    with pytest.raises(StoreUnavailable, match="begins with one of") as told:
        async with opened(Path("."), "http://me:secret@somewhere"):
            pass
    assert "secret" not in str(told.value)


def test_where_it_is_holds_no_password(tmp_path: Path) -> None:
    """A file by its path, Redis by its URL without user and password."""
    assert where(tmp_path) == str(tmp_path / "cache.sqlite")
    assert where(tmp_path, "redis://me:secret@somewhere/2") == "redis://somewhere:6379/2"
